"""One batch of images under a suite: candidates of every attack, judged by every network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medrobust.attacks import Ball
from medrobust.attacks.ball import Norm
from medrobust.attacks.gradient import Look, frozen, full_precision
from medrobust.attacks.suite import Member, is_wrong
from medrobust.attacks.worst import Worst
from medrobust.randomness import image_keys, key
from medrobust.watching import watched

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Assault:
    """What attacks what, and who judges.

    Args:
        members: the suite.
        attacked: the name of the network the attacks are made on, one of `deployed`.
        deployed: networks by name.
        cuts: (K,) for each network: a finding is positive where its score reaches the cut.
        radii: ascending.
        norm: of the ball.
        task: `multilabel` or `exclusive`.
    """

    members: Sequence[Member]
    attacked: str
    deployed: Mapping[str, nn.Module]
    cuts: Mapping[str, Tensor]
    radii: Sequence[float]
    norm: Norm
    task: str


@dataclass(frozen=True)
class Shown:
    """Images to be attacked together, (N, ...)."""

    images: Tensor
    labels: Tensor
    keys: Tensor
    kept: Tensor
    """Bool: of which attacked images are kept."""
    checked: Tensor
    """Bool: which Square is shown."""


def attack_images(assault: Assault, shown: Shown, scale: float = 1.0) -> Arrays:
    """Scores and margins (R, N, ...) of every network, and the kept images.

    Radii are divided by `scale`. The first of the scores are those of the unchanged images.
    """
    name = assault.attacked
    network, found = assault.deployed[name], _Found()
    with _counted(network) as count:
        worst = _clean(assault, shown)
        found.add("score", {deployed: state.scores for deployed, state in worst.items()})
        begun = [_begin(member, network, shown) for member in assault.members]
        for radius in assault.radii:
            ball = Ball(assault.norm, radius / scale)
            for number, start in enumerate(begun):
                _attack(assault, shown, worst, start, number, ball)
            found.add("score", {deployed: state.scores for deployed, state in worst.items()})
            found.add("margin", {deployed: state.margin for deployed, state in worst.items()})
            found.add("images", {"": worst[name].images})
    arrays = found.stacked()
    images = arrays.pop("images ").astype(np.float32)
    return arrays | {"images": images, "passes": np.array([count()])}


class _Found(dict[str, list[Tensor]]):
    """What every radius gives, by kind and network."""

    def add(self, kind: str, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self.setdefault(f"{kind} {name}", []).append(tensor.cpu().clone())

    def stacked(self) -> Arrays:
        return {name: torch.stack(values).numpy() for name, values in self.items()}


_Begun = tuple[Member, Tensor, Look | None]
"""A member, the labels as it takes them, and what all radii share."""


def _begin(member: Member, network: nn.Module, shown: Shown) -> _Begun:
    labels = member.labels(network, shown.images, shown.labels)
    return member, labels, member.look(network, shown.images, labels)


def _attack(
    assault: Assault,
    shown: Shown,
    worst: Mapping[str, Worst],
    begun: _Begun,
    number: int,
    ball: Ball,
) -> None:
    """One attack at one radius: its images are candidates for everybody's worst case."""
    member, labels, first = begun
    network, cuts = assault.deployed[assault.attacked], assault.cuts[assault.attacked]
    cuts = cuts.to(shown.images.device)
    rows = _wanted(member, labels, worst[assault.attacked], shown, cuts)
    if not len(rows):
        return
    keys = shown.keys[rows]
    candidate = member.run(
        network,
        shown.images[rows],
        labels[rows],
        image_keys(key("member", number), keys) if number else keys,
        ball,
        None if first is None else (first[0][rows], first[1][rows]),
        is_wrong(assault.task, cuts, member.goal),
    )
    for deployed, other in assault.deployed.items():
        with frozen(other):
            worst[deployed].see(full_precision(other(candidate)), rows, candidate)


def _clean(assault: Assault, shown: Shown) -> dict[str, Worst]:
    """The unchanged images, as every network sees them; images are kept of the attacked one."""
    worst = {}
    for name, network in assault.deployed.items():
        with frozen(network):
            logits = full_precision(network(shown.images))
        kept = shown.kept if name == assault.attacked else torch.zeros_like(shown.kept)
        worst[name] = Worst(logits, shown.labels, assault.task, shown.images, kept)
    return worst


def _wanted(member: Member, labels: Tensor, worst: Worst, shown: Shown, cuts: Tensor) -> Tensor:
    """The images (by their places) that a member is shown: those with a label to work against."""
    wanted = ~torch.isnan(labels).all(1)
    if member.retires:
        wanted &= ~worst.broken(cuts, member.goal)
    if member.black_box:
        wanted &= shown.checked
    return torch.nonzero(wanted)[:, 0]


@contextmanager
def _counted(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Count the images that a network is shown while the block runs."""
    shown = 0

    def count(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal shown
        shown += len(given[0])

    with watched([network], count):
        yield lambda: shown
