"""Validation: the AUROC of every branch, clean and attacked, on images held back for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medrobust.attacks import pgd
from medrobust.config import Config
from medrobust.data.batches import load_images, load_labels
from medrobust.data.store import Store
from medrobust.dual import DualBN
from medrobust.errors import MedrobustError
from medrobust.folding import Fast, as_it_is
from medrobust.inference import Cases, logits_of
from medrobust.losses import rank_scores
from medrobust.models import ball_of, loss_for
from medrobust.parallel.group import ALONE, Group
from medrobust.statistics import auroc


@dataclass(frozen=True)
class Validation:
    """What a model reaches on the validation split."""

    auroc: dict[str, dict[str, float]]
    """By attack (`clean`, `pgd`) and branch; the mean over scorable findings."""
    loss: float
    """Mean loss of what `score` was measured on; breaks ties between equal scores."""
    score: float
    """What the best checkpoint is picked by; higher is better."""


def validate(
    model: DualBN,
    store: Store,
    config: Config,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]],
    group: Group = ALONE,
    fast: Fast = as_it_is,
) -> Validation:
    """AUROC of every branch on clean images and of the robust branch under PGD.

    The attack takes what `fast` makes of that branch. Of several processes each is shown every so
    manieth image, and has the result of all.

    Raises:
        MedrobustError: the logits are not finite: training has diverged.
    """
    rows = store.rows("val")
    own = rows[group.rank :: group.count]
    found = _logits(model, store, own, config, device, autocast, fast) if len(own) else {}
    parts = group.gathered(found)
    return group.on_first(lambda: _judge(_interleaved(parts), model, store, config))


_Found = dict[str, dict[str, Tensor]]
"""Logits by attack (`clean`, `pgd`) and branch."""


def _logits(
    model: DualBN,
    store: Store,
    rows: NDArray[np.int64],
    config: Config,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]],
    fast: Fast,
) -> _Found:
    cases = Cases(store, rows, config.evaluate.batch_size, device, config.seed)
    networks = {name: model.branch(name) for name in model.branches}
    robust = model.branches[-1]
    with autocast():
        found = {"clean": logits_of(networks, cases)}
        if _needs_attack(config):
            attack = partial(
                pgd,
                ball=ball_of(config.attack),
                loss=loss_for(store.info.task),
                steps=config.train.validation_steps,
            )
            only = {robust: networks[robust]}
            few = load_images(store, rows[:2], device)
            with fast(networks[robust], few) as attacked:
                found["pgd"] = logits_of(
                    only, cases, attack=attack, attacked=attacked, name="validation"
                )
    return found


def _interleaved(parts: list[_Found]) -> _Found:
    """The logits of all images in their order, of which part r has every so manieth from r on."""
    if len(parts) == 1:
        return parts[0]
    shown = [part for part in parts if part]  # there may be fewer images than processes
    whole: _Found = {attack: {} for attack in shown[0]}
    for attack, branches in shown[0].items():
        for branch in branches:
            pieces = [part[attack][branch] for part in shown]
            logits = torch.empty(sum(map(len, pieces)), *pieces[0].shape[1:], dtype=pieces[0].dtype)
            for number, piece in enumerate(pieces):
                logits[number :: len(parts)] = piece
            whole[attack][branch] = logits
    return whole


def _judge(found: _Found, model: DualBN, store: Store, config: Config) -> Validation:
    loss, labels = loss_for(store.info.task), load_labels(store, store.rows("val"), "cpu")
    _check_finite(found)
    auroc_of = {
        name: {branch: macro_auroc(labels, logits, store) for branch, logits in by_branch.items()}
        for name, by_branch in found.items()
    }
    chosen = [found[name][branch] for name, branch in _judged(config, model)]
    scores = [auroc_of[name][branch] for name, branch in _judged(config, model)]
    mean_loss = sum(float(loss(logits, labels).mean()) for logits in chosen) / len(chosen)
    return Validation(auroc_of, mean_loss, sum(scores) / len(scores))


def check_selectable(store: Store) -> None:
    """Refuse a store whose validation split can't tell one checkpoint from another.

    Raises:
        MedrobustError: no finding has both positives and negatives there.
    """
    labels = store.labels[store.rows("val")]
    if not ((labels == 1).any(0) & (labels == 0).any(0)).any():
        raise MedrobustError(
            f"{store.path}: no finding has both positives and negatives in split val, so no "
            "checkpoint can be selected; prepare the store with another split"
        )


def macro_auroc(labels: Tensor, logits: Tensor, store: Store) -> float:
    """Mean AUROC over the findings with both positives and negatives."""
    scores = rank_scores(logits, store.info.task).numpy()
    each = [
        auroc(labels[:, column].numpy(), scores[:, column]) for column in range(scores.shape[1])
    ]
    return float(np.nanmean(each))


def _check_finite(found: _Found) -> None:
    if not all(
        logits.isfinite().all() for branches in found.values() for logits in branches.values()
    ):
        raise MedrobustError(
            "validation: the network's outputs are no longer numbers; training has diverged: "
            "lower train.lr or set train.gradient_clip, under another name"
        )


def _needs_attack(config: Config) -> bool:
    return config.regime in ("adversarial", "dual") or config.train.select in ("robust", "mean")


def _judged(config: Config, model: DualBN) -> list[tuple[str, str]]:
    """What selects the checkpoint: pairs of attack and branch, of which the mean is taken."""
    clean, robust = ("clean", model.branches[0]), ("pgd", model.branches[-1])
    select = config.train.select
    if select == "auto":
        select = "robust" if config.regime in ("adversarial", "dual") else "clean"
    return {"clean": [clean], "last": [clean], "robust": [robust], "mean": [clean, robust]}[select]
