"""Compare the attacks with foolbox and the original AutoAttack: same networks, same images.

    git clone https://github.com/fra31/auto-attack ../auto-attack
    OMP_NUM_THREADS=1 python benchmarks/attack_comparison.py --autoattack ../auto-attack

Trains small networks on generated radiographs (kept in `--out` for the next time), attacks them
with everything and writes the tables of docs/explanation/attack-comparison.md. The lower the
robust accuracy, the stronger the attack.
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from measure import machine
from medrobust.attacks.ball import Ball
from medrobust.attacks.gradient import frozen, pgd
from medrobust.attacks.square import square
from medrobust.attacks.suite import SuiteName, suite_of
from medrobust.config import resolve
from medrobust.data.prepare import prepare
from medrobust.data.source import Task
from medrobust.data.store import Store, open_store
from medrobust.datasets.phantom import Phantom
from medrobust.inference import Cases
from medrobust.losses import class_margin_loss, margin_loss
from medrobust.models import fit_model, loss_for
from medrobust.randomness import image_keys, key
from medrobust.rundir import RunDir, run_directory
from medrobust.train import train

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
REGIMES = ("standard", "adversarial")
STEPS = 100


class OneFinding(Phantom):
    """Of the generated radiographs those with exactly one finding: five exclusive classes."""

    @property
    def task(self) -> Task:
        """A radiograph belongs to one class."""
        return "exclusive"

    def index(self) -> pd.DataFrame:
        """The rows of one finding."""
        table = super().index()
        alone = table[[f"label:{finding}" for finding in self.findings]].sum(axis=1) == 1
        return table[alone].reset_index(drop=True)


@dataclass(frozen=True)
class Victim:
    """A trained network and the images it is attacked on."""

    network: nn.Module
    task: str
    images: Tensor
    labels: Tensor
    keys: Tensor

    def only(self, wanted: Tensor) -> "Victim":
        """The same with some of the images."""
        rows = (self.images[wanted], self.labels[wanted], self.keys[wanted])
        return Victim(self.network, self.task, *rows)

    def right(self, shown: Tensor) -> Tensor:
        """(N, 1) whether the class is right, or (N, K) whether each finding is."""
        with frozen(self.network):
            return right(self.task, self.network(shown), self.labels)

    def broken(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,) whether there is nothing left to attack."""
        return ~right(self.task, logits, labels).any(1)


Candidates = Callable[[Victim, Ball], Iterator[Tensor]]
"""Attacked versions of a victim's images, one after the other."""


def main() -> None:
    given = arguments()
    attacks = attacks_with(given.autoattack)
    tables = []
    for data, source in sources(given).items():
        victims = {regime: trained(data, source, regime, given) for regime in REGIMES}
        balls = (Ball("linf", given.linf), Ball("l2", given.l2))
        heads = [f"{regime}, {ball.norm} {ball.radius:g}" for regime in REGIMES for ball in balls]
        rows = []
        for name, attack in attacks.items():
            cells = [
                attacked(victims[regime], ball, attack) for regime in REGIMES for ball in balls
            ]
            rows.append([name, *cells])
            print(data, *rows[-1], sep=" | ", flush=True)
        tables.append(f"## {data}\n\n" + table(["attack", *heads], rows))
    write_page(given, tables)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("compared"), help="stores and runs")
    parser.add_argument("--autoattack", type=Path, help="a checkout of the original")
    parser.add_argument("--pictures", type=int, default=6000, help="generated, of all splits")
    parser.add_argument("--images", type=int, default=96, help="attacked, of test")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--linf", type=float, default=0.004)
    parser.add_argument("--l2", type=float, default=0.08)
    parser.add_argument("--page", type=Path, default=Path("docs/explanation/attack-comparison.md"))
    return parser.parse_args()


def sources(given: argparse.Namespace) -> dict[str, Phantom]:
    """Exclusive classes, one sigmoid, several sigmoids."""
    drawn = {"images": given.pictures, "size": given.size}
    return {
        "5 classes": OneFinding(**drawn),
        "1 finding": Phantom(**drawn, findings=("effusion",)),
        "5 findings": Phantom(**drawn),
    }


def trained(data: str, source: Phantom, regime: str, given: argparse.Namespace) -> Victim:
    """The network of a finished run, made where it is missing, and the first test images."""
    name = data.replace(" ", "-")
    out = given.out / name
    store = open_store(out) if (out / "store.json").is_file() else prepare(source, out, size=None)
    settings = {
        "name": f"{name}-{regime}",
        "regime": regime,
        "data": {"store": str(out)},
        "network": {"name": "small", "width": given.width, "stem_stride": 2},
        "attack": {"name": "pgd", "norm": "linf", "eps": given.linf, "steps": 2},
        "train": {"epochs": given.epochs, "batch_size": 32, "lr": 5e-3, "validation_steps": 3},
    }
    config = resolve(settings, (), "comparison")
    run = RunDir(given.out / "runs" / config.name / str(config.seed))
    if not (run.path / "DONE").is_file():
        run = run_directory(config, given.out / "runs")
        train(config, store, run)
    return victim(run, store, given.images)


def victim(run: RunDir, store: Store, count: int) -> Victim:
    fitted = fit_model(run, store)
    cases = Cases(store, store.rows("test")[:count], count, torch.device("cpu"))
    _, images, labels, keys = next(cases.batches("comparison"))
    return Victim(fitted.model.branch("single"), store.info.task, images, labels, keys)


def attacked(victim: Victim, ball: Ball, attack: Candidates) -> str:
    """Robust accuracy and seconds, or why the attack can't be run."""
    begun = time.perf_counter()
    robust = victim.right(victim.images)
    try:
        for shown in attack(victim, ball):
            check_inside(shown, victim.images, ball)
            robust &= victim.right(shown)
    except NotImplementedError as reason:
        return str(reason)
    seconds = time.perf_counter() - begun
    return f"{100 * robust.double().mean():.1f} % ({seconds:.0f} s)"


def right(task: str, logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the own logit is the largest; whether a finding's is on its side of 0."""
    if task != "exclusive":
        return ((logits >= 0) == (labels == 1)) & ~labels.isnan()
    own = logits.masked_fill(labels != 1, -torch.inf).amax(1, keepdim=True)
    others = logits.masked_fill(labels == 1, -torch.inf).amax(1, keepdim=True)
    return own > others


def check_inside(shown: Tensor, images: Tensor, ball: Ball) -> None:
    """An attack that leaves ball or box is stronger than it may be."""
    order = torch.inf if ball.norm == "linf" else 2
    length = torch.linalg.vector_norm((shown - images).flatten(1).double(), order, 1)
    if (length > ball.radius * (1 + 1e-4) + 1e-6).any() or shown.min() < 0 or shown.max() > 1:
        raise AssertionError(f"left the ball: {length.max():.6f} of {ball.radius}")


def attacks_with(autoattack: Path | None) -> dict[str, Candidates]:
    """Every attack by its name in the table."""
    if autoattack is not None:
        sys.path.insert(0, str(autoattack))
    return {
        "none": lambda victim, ball: iter(()),
        f"foolbox PGD-{STEPS}": foolbox_pgd,
        f"medrobust PGD-{STEPS}": our_pgd,
        "medrobust fast": partial(suite, "fast"),
        "medrobust Square": our_square,
        "AutoAttack's Square": partial(original, autoattack, ["square"]),
        "medrobust strong": partial(suite, "strong"),
        "AutoAttack standard": partial(original, autoattack, []),
    }


def our_pgd(victim: Victim, ball: Ball) -> Iterator[Tensor]:
    """On the loss of training."""
    yield pgd(
        *(victim.network, victim.images, victim.labels, victim.keys),
        ball=ball,
        loss=loss_for(victim.task),
        steps=STEPS,
    )


def our_square(victim: Victim, ball: Ball) -> Iterator[Tensor]:
    yield square(
        *(victim.network, victim.images, victim.labels, victim.keys),
        ball=ball,
        loss=class_margin_loss if victim.task == "exclusive" else margin_loss,
        broken=victim.broken,
    )


def suite(name: SuiteName, victim: Victim, ball: Ball) -> Iterator[Tensor]:
    """Each attack of the suite on what is still right, as AutoAttack does."""
    findings, robust = victim.labels.shape[1], victim.right(victim.images)
    for member in suite_of(name, task=victim.task, findings=findings, norm=ball.norm):
        wanted = robust.any(1)
        if not wanted.any():
            return
        left = victim.only(wanted)
        given = member.labels(left.network, left.images, left.labels)
        first = member.look(left.network, left.images, given)
        keys = image_keys(key("comparison", member.name), left.keys)
        shown = victim.images.clone()
        shown[wanted] = member.run(
            left.network, left.images, given, keys, ball, first, victim.broken
        )
        yield shown
        robust &= victim.right(shown)


def foolbox_pgd(victim: Victim, ball: Ball) -> Iterator[Tensor]:
    """PGD with the same steps; findings one by one, as a choice between logits 0 and z."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from foolbox import PyTorchModel
        from foolbox.attacks import L2PGD, LinfPGD
    attack = {"linf": LinfPGD, "l2": L2PGD}[ball.norm](rel_stepsize=2.5 / STEPS, steps=STEPS)
    torch.manual_seed(0)
    with frozen(victim.network), torch.enable_grad():
        for network, classes in choices(victim):
            model = PyTorchModel(network, bounds=(0, 1))
            _, shown, _ = attack(model, victim.images, classes, epsilons=ball.radius)
            yield shown.detach()


def choices(victim: Victim) -> Iterator[tuple[nn.Module, Tensor]]:
    """Networks that choose one class, with the classes of the images."""
    if victim.task == "exclusive":
        yield victim.network, victim.labels.argmax(1)
        return
    for column in range(victim.labels.shape[1]):
        yield Choice(victim.network, column).eval(), victim.labels[:, column].long()


class Choice(nn.Module):
    """One sigmoid as a softmax over two classes."""

    def __init__(self, network: nn.Module, column: int) -> None:
        super().__init__()
        self.network, self.column = network, column

    def forward(self, images: Tensor) -> Tensor:
        """(N, 2) logits."""
        logit = self.network(images)[:, self.column]
        return torch.stack([torch.zeros_like(logit), logit], 1)


def original(
    autoattack: Path | None, only: list[str], victim: Victim, ball: Ball
) -> Iterator[Tensor]:
    """The authors' AutoAttack, or some of its attacks."""
    if victim.task != "exclusive":
        raise NotImplementedError("not defined")
    if autoattack is None:
        raise NotImplementedError("not run: no --autoattack")
    from autoattack import AutoAttack

    adversary = AutoAttack(
        *(victim.network, {"linf": "Linf", "l2": "L2"}[ball.norm], ball.radius),
        seed=0,
        device="cpu",
        verbose=False,
        version="custom" if only else "standard",
        attacks_to_run=only,
    )
    others = victim.labels.shape[1] - 1
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = others
    adversary.square.rescale_schedule = bool(only)  # as the paper; the standard version does not
    with frozen(victim.network), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classes = victim.labels.argmax(1)
        yield adversary.run_standard_evaluation(victim.images, classes, bs=len(classes))


def write_page(given: argparse.Namespace, tables: list[str]) -> None:
    """Replace what stands between the page's markers."""
    before, _, rest = given.page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [before + BEGIN, setting(given), *tables, END + after]
    given.page.write_text("\n\n".join(parts), encoding="utf-8")


def setting(given: argparse.Namespace) -> str:
    on = machine()
    theirs = f", auto-attack {commit_of(given.autoattack)}" if given.autoattack else ""
    return (
        f"{given.images} test images of {given.size} × {given.size} pixels; SmallResNet of width "
        f"{given.width}, {given.epochs} epochs, trained against PGD-2, l∞ ε = {given.linf:g}, "
        f"where adversarial. {on['processor']}, {torch.get_num_threads()} thread, Python "
        f"{on['python']}, torch {on['torch']}, foolbox {version('foolbox')}{theirs}; medrobust "
        f"{version('medrobust')}, commit {on['commit']}."
    )


def commit_of(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "of unknown commit"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
