"""A suite of attacks against one network, judged by every network that may be deployed.

What radii can share they share exactly: the clean pass, the first look at the images, and the worst
point of a smaller radius, which lies in every larger ball and so is carried forward. Each batch
that is done is kept on disk, so that an interrupted evaluation goes on where it was.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medrobust.adversarial import UNREADABLE
from medrobust.attacks import Ball
from medrobust.attacks.ball import Norm
from medrobust.attacks.gradient import Look, frozen, full_precision
from medrobust.attacks.suite import Member, is_wrong
from medrobust.attacks.worst import Worst
from medrobust.files import remove_partial, write_atomically
from medrobust.inference import Cases
from medrobust.progress import Count
from medrobust.randomness import image_keys, key

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
class Subsets:
    """Rows of the store that are treated apart."""

    kept: NDArray[np.int64]
    """Of which attacked images are kept."""
    checked: NDArray[np.int64] | None
    """Which Square is shown; None: all."""


@dataclass(frozen=True)
class Attacked:
    """The outcome for all images: by network, an array (R, N, ...) over the radii."""

    clean: dict[str, NDArray[np.float64]]
    """(N, K), of the unchanged images."""
    scores: dict[str, NDArray[np.float64]]
    margins: dict[str, NDArray[np.float64]]
    rows: NDArray[np.int64]
    """Of the kept images."""
    images: NDArray[np.float32]
    """(R, n, K or K + 1, C, ...), the kept images of the attacked network's worst cases."""
    passes: int
    """Images that the attacked network was shown by the attacks, forward or forward and back."""


def attack_all(
    assault: Assault,
    cases: Cases,
    subsets: Subsets,
    plan: Mapping[str, Any],
    folder: Path,
    ranges: NDArray[np.float64],
    progress: Count = lambda done: None,
) -> Attacked:
    """Attack every image; batches that are in `folder` from an earlier call are not made again.

    Args:
        assault: what attacks what.
        cases: the images.
        subsets: images treated apart.
        plan: whatever else decides the outcome (weights, store, seeds), to know batches by.
        folder: where batches are kept while the work goes on; see `forget`.
        ranges: (N,) by row of the store; radii are divided by an image's range.
        progress: is told how many images are done.
    """
    folder = folder / _name(plan, cases)
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial(folder)
    parts = []
    for number, (rows, images, labels, keys) in enumerate(cases.batches(assault.members[0].name)):
        path = folder / f"{number:06d}.npz"
        part = _load(path)
        if part is None:
            part = _attack_batch(assault, rows, images, labels, keys, subsets, ranges[rows])
            with write_atomically(path) as temporary:
                np.savez(temporary, **part)  # type: ignore[arg-type]
        parts.append(part)
        progress(len(rows))
    return _joined(parts, list(assault.deployed))


def forget(folder: Path) -> None:
    """Remove the batches of finished work."""
    shutil.rmtree(folder, ignore_errors=True)


def _attack_batch(
    assault: Assault,
    rows: NDArray[np.int64],
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    subsets: Subsets,
    ranges: NDArray[np.float64],
) -> Arrays:
    """One batch; images of different native range are attacked apart, each in its own ball."""
    kept = np.isin(rows, subsets.kept)
    checked = np.isin(rows, rows if subsets.checked is None else subsets.checked)
    parts, order = [], []
    for scale in np.unique(ranges):
        chosen = np.flatnonzero(ranges == scale)
        place = torch.from_numpy(chosen).to(images.device)
        shown = Shown(
            *(images[place], labels[place], keys[place]),
            kept=torch.from_numpy(kept[chosen]).to(images.device),
            checked=torch.from_numpy(checked[chosen]).to(images.device),
        )
        parts.append(
            attack_images(assault, shown, float(scale)) | {"rows": rows[chosen][kept[chosen]]}
        )
        order.append(chosen)
    back = np.argsort(np.concatenate(order))
    return {
        name: value[:, back] if name.startswith(("score", "margin")) else value
        for name, value in _concatenated(parts).items()
    }


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
        wanted &= ~worst.broken(cuts, member.goal) & shown.checked
    return torch.nonzero(wanted)[:, 0]


@contextmanager
def _counted(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Count the images that a network is shown while the block runs."""
    shown = 0

    def count(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal shown
        shown += len(given[0])

    handle = network.register_forward_hook(count)
    try:
        yield lambda: shown
    finally:
        handle.remove()


def _joined(parts: Sequence[Arrays], deployed: Sequence[str]) -> Attacked:
    whole = _concatenated(parts)
    return Attacked(
        clean={name: whole[f"score {name}"][0] for name in deployed},
        scores={name: whole[f"score {name}"][1:] for name in deployed},
        margins={name: whole[f"margin {name}"] for name in deployed},
        rows=whole["rows"],
        images=whole["images"],
        passes=int(whole["passes"].sum()),
    )


def _concatenated(parts: Sequence[Arrays]) -> Arrays:
    """Along the images: axis 1 of what has radii first, axis 0 of the rest."""
    flat = ("rows", "passes")
    return {
        name: np.concatenate([part[name] for part in parts], axis=int(name not in flat))
        for name in parts[0]
    }


def _name(plan: Mapping[str, Any], cases: Cases) -> str:
    text = json.dumps([plan, cases.batch_size, cases.rows.tolist()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load(path: Path) -> Arrays | None:
    """A batch that was done before; None if there is none that can be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except UNREADABLE:
        return None
