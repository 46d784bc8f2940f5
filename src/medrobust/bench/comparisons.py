"""What is timed against what; the first job of each comparison is the plain way."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from PIL import Image
from torch import Tensor

from medrobust.assault import Assault, Shown, attack_images
from medrobust.attacks import pgd
from medrobust.attacks.suite import Budget, suite_of
from medrobust.bench import plain
from medrobust.bench.case import RADIUS, STEPS, Case, classifier
from medrobust.bench.floor import convolutions
from medrobust.bench.rivals import rivals
from medrobust.config import Config, resolve
from medrobust.data.batches import training_batches
from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.phantom import Phantom
from medrobust.dual import DualBN
from medrobust.folding import FoldedCopies, folded
from medrobust.losses import Loss, sigmoid_loss
from medrobust.optimise import Average, build_optimiser
from medrobust.parallel.group import ALONE
from medrobust.regimes import Batch
from medrobust.state import State
from medrobust.step import TrainingStep

PLAIN, OURS = "plain reference", "medrobust"
FLOORS = {"convolutions alone, channels last": True, "convolutions alone, channels first": False}
"""The faster of them is the floor."""
RADII = tuple(np.linspace(0, 0.01, 21)[1:].tolist())
"""Of a sweep; the 21st is 0, the clean images."""


@dataclass(frozen=True)
class Comparison:
    """Jobs that do the same work."""

    title: str
    jobs: Mapping[str, Callable[[], object]]
    share: Mapping[str, float] = field(default_factory=dict)
    """Of the work that a job does, where it would take too long otherwise; 1 if not named."""
    notes: tuple[str, ...] = ()


def attack(case: Case) -> Comparison:
    """Ten steps of PGD on the adversarial branch; the copy's refreshing counts."""
    network = classifier(case.model())
    copies, start, keys = FoldedCopies(), case.start, case.keys
    given = images, _ = case.images, case.labels
    ours = partial(pgd, ball=case.ball, loss=sigmoid_loss, steps=STEPS)

    def our_attack() -> Tensor:
        with copies.of(network, images) as fast:
            return ours(fast, *given, keys)

    others, left_out = rivals(case, network)
    jobs = {
        PLAIN: lambda: plain.attack(network, *given, start, RADIUS, STEPS),
        OURS: our_attack,
        **{
            name: convolutions(network, images, STEPS, channels_last=last)
            for name, last in FLOORS.items()
        },
    }
    return Comparison(f"PGD-{STEPS}: {case.title}", jobs | others, notes=tuple(left_out))


def step(case: Case) -> Comparison:
    """A whole step of dual training, attack and update."""
    jobs = {PLAIN: plain_step(case), OURS: our_step(case)}
    return Comparison(f"step of dual training with PGD-{STEPS}: {case.title}", jobs)


def plain_step(case: Case) -> Callable[[], Tensor]:
    """That of the plain reference."""
    model = case.model()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0)
    given = (case.images, case.labels, case.start)
    return lambda: plain.step(model, optimiser, *given, RADIUS, STEPS)


def our_step(case: Case, **settings: object) -> Callable[[], Tensor]:
    """That of `medrobust train`; `settings` are overrides such as `attack__folded="false"`."""
    config = resolve(
        {
            "name": "bench",
            "regime": "dual",
            "data": {"store": "none"},
            "attack": {"eps": RADIUS, "steps": STEPS},
            "augment": dict.fromkeys(("rotation", "shift", "scale", "brightness", "contrast"), 0),
            "train": {
                **{"lr": 1e-3, "weight_decay": 0, "schedule": "constant", "ema": None},
                **{"gradient_clip": None, "batch_size": case.batch},
            },
        },
        [f"{name.replace('__', '.')}={value}" for name, value in settings.items()],
        "bench",
    )
    one = training_step(config, case.model(), sigmoid_loss, case.device.partition(":")[0])
    rows = torch.arange(case.batch, device=case.device)
    batch = Batch(case.images, case.labels, case.keys, rows)
    one(batch, 1)
    return lambda: one(batch, 1)


def training_step(config: Config, model: DualBN, loss: Loss, device: str = "cpu") -> TrainingStep:
    """The step of a training with these settings, in this process."""
    fabric = Fabric(accelerator=device, devices=1, precision=config.train.precision)
    wrapped, optimiser = fabric.setup(model, build_optimiser(model, config.train))
    average = Average(model, config.train.ema) if config.train.ema else None
    state = State(model, average, optimiser.optimizer)
    return TrainingStep(fabric, config, loss, state, wrapped, optimiser, ALONE, FoldedCopies())


def sweep(case: Case, alone: int = 1) -> Comparison:
    """Twenty-one radii: ours on the whole batch, with folding; the plain way on `alone` images."""
    network = classifier(case.model()).eval()
    images, labels = case.images, case.labels
    budget = Budget(steps=STEPS)

    def ours() -> None:
        members = suite_of(
            "fast", task="multilabel", findings=case.outputs, norm="linf", budget=budget
        )
        fast, bias = {"net": folded(network, images[:2])}, {"net": torch.zeros(case.outputs)}
        assault = Assault(members, "net", fast, bias, RADII, "linf", "multilabel")
        none = torch.zeros(len(images), dtype=torch.bool)
        attack_images(assault, Shown(images, labels, case.keys, kept=none, checked=none))

    def one_by_one() -> None:
        plain.sweep(network, images[:alone], labels[:alone], RADII, STEPS)

    return Comparison(
        f"{len(RADII) + 1} radii, {STEPS} steps: {case.title}",
        {PLAIN: one_by_one, OURS: ours},
        share={PLAIN: alone / case.batch},
    )


def loader(stack: ExitStack, images: int = 512, size: int = 64, batch_size: int = 64) -> Comparison:
    """An epoch's batches of generated radiographs: from our store, and from PNG files."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="medrobust-bench-")))
    store = prepare(Phantom(images=images, size=size), folder / "store", size=None)
    pictures = _written(store, folder)

    def ours() -> None:
        batches = training_batches(
            store, batch_size=batch_size, seed=0, device=torch.device("cpu"), on_device=True
        )
        for _ in batches.epoch(0):
            pass

    def plainly() -> None:
        for _ in plain.batches(pictures, batch_size):
            pass

    return Comparison(
        f"an epoch of {len(pictures)} images of {size}x{size}", {PLAIN: plainly, OURS: ours}
    )


def _written(store: Store, folder: Path) -> plain.Pictures:
    rows = store.rows("train")
    files = [folder / f"{row}.png" for row in rows]
    for file, pixels in zip(files, store.pixels(rows), strict=True):
        Image.fromarray(pixels[0]).save(file)
    return plain.Pictures(files, torch.from_numpy(store.labels[rows]))
