"""The guard of training with one step: a collapsed network is told from a sound one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medrobust import guard
from medrobust.checkpoints import load
from medrobust.config import Config, resolve
from medrobust.data.batches import load_images, load_labels
from medrobust.data.store import Store
from medrobust.folding import FoldedCopies
from medrobust.losses import signs
from medrobust.models import build_model, training_attack
from medrobust.rundir import RunDir
from medrobust.train import train


def settings(store: Store, **changes: Any) -> Config:
    base: dict[str, Any] = {
        "name": "watched",
        "regime": "adversarial",
        "data": {"store": str(store.path)},
        "network": {"name": "small", "width": 4, "stem_stride": 2},
        "attack": {"name": "fgsm", "eps": "8/255", "steps": 3},
        "train": {"epochs": 3, "batch_size": 16, "validation_steps": 1},
    }
    overrides = [f"{name.replace('__', '.')}={value}" for name, value in changes.items()]
    return resolve(base, overrides, "test")


class Astray(nn.Module):
    """The loss of its images is greatest half-way to where one full step leads."""

    def __init__(self, store: Store, eps: float) -> None:
        super().__init__()
        rows = store.rows("val")
        self.images, self.eps = load_images(store, rows, "cpu"), eps
        self.signs = signs(load_labels(store, rows, "cpu"))

    def forward(self, images: Tensor) -> Tensor:
        moved = (images - self.images).flatten(1).mean(1, keepdim=True) / self.eps
        return self.signs * (3 - 20 * (0.6 - (moved - 0.5).abs()).clamp(min=0))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"attack__name": "n-fgsm", "regime": "dual"}, True),
        ({"attack__name": "pgd"}, False),
        ({"attack__guard": "false"}, False),
        ({"attack__eps": 0}, False),
        ({"regime": "standard"}, False),
        ({"regime": "noise"}, False),
    ],
)
def test_what_can_collapse(tiny_store: Store, changes: dict[str, Any], expected: bool) -> None:
    assert guard.is_needed(settings(tiny_store, **changes)) is expected


def test_a_fresh_network_has_not_collapsed(tiny_store: Store) -> None:
    config = settings(tiny_store)
    network = build_model(config, tiny_store).branch("single")
    how = (network, tiny_store, config, torch.device("cpu"))
    ratio = guard.excess(*how)
    assert guard.excess(*how, FoldedCopies().of) == pytest.approx(ratio, rel=0.01)
    assert 0.8 < ratio < guard.COLLAPSED


def test_a_network_that_one_step_misses_has_collapsed(tiny_store: Store) -> None:
    config = settings(tiny_store)
    network = Astray(tiny_store, config.attack.eps)
    assert guard.excess(network, tiny_store, config, torch.device("cpu")) > 5 * guard.COLLAPSED


def test_training_goes_on_with_several_steps_after_a_collapse(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    found = iter([1.1, 5.0, 1.0])
    monkeypatch.setattr(guard, "excess", lambda *given: next(found))
    run = RunDir(tmp_path / "run")
    train(settings(tiny_store), tiny_store, run, say=said.append)
    assert [line for line in said if line.startswith("after epoch")] == [
        "after epoch 2 the network resists its one step of attack only (loss 5.0 times as high "
        "under PGD): PGD of 3 steps from here on"
    ]
    assert load(run.checkpoints, "last").state["collapsed"] is True
    assert next(found) == 1.0  # nobody asks again


def test_the_attack_after_a_collapse_is_pgd(tiny_store: Store) -> None:
    config = settings(tiny_store)
    before, after = (
        training_attack(config, lambda logits, labels: logits, collapsed=collapsed)
        for collapsed in (False, True)
    )
    assert before.func.__name__ == "fgsm"  # type: ignore[attr-defined]
    assert (after.func.__name__, after.keywords["steps"]) == ("pgd", 3)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"),
    [(3, 6, [1, 1, 2, 2, 3, 3]), (10, 5, [2, 4, 6, 8, 10]), (1, 3, [1, 1, 1])],
)
def test_growing_steps(tiny_store: Store, steps: int, epochs: int, expected: list[int]) -> None:
    changes = {"attack__name": "pgd", "attack__growing": "true"}
    config = settings(tiny_store, **changes, attack__steps=steps, train__epochs=epochs)
    attacks = [training_attack(config, lambda a, b: a, epoch) for epoch in range(epochs)]
    assert [attack.keywords["steps"] for attack in attacks] == expected  # type: ignore[attr-defined]
