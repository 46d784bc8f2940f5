"""A suite of attacks against one network, judged by every network that may be deployed.

What radii can share they share exactly: the clean pass, the first look at the images, and the worst
point of a smaller radius, which lies in every larger ball and so is carried forward. Each batch
that is done is kept on disk, so that an interrupted evaluation goes on where it was.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medrobust.adversarial import UNREADABLE
from medrobust.assault import Arrays, Assault, Shown, attack_images
from medrobust.errors import MedrobustError
from medrobust.files import remove_partial, write_atomically
from medrobust.inference import Cases
from medrobust.parallel.group import ALONE, Group
from medrobust.progress import Count


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
    seconds: float
    """Of all batches, also of those from an earlier call."""


def attack_all(
    assault: Assault,
    cases: Cases,
    subsets: Subsets,
    folder: Path,
    ranges: NDArray[np.float64],
    progress: Count = lambda done: None,
    group: Group = ALONE,
) -> Attacked | None:
    """Attack every image; batches that are in `folder` from an earlier call are not made again.

    Of several processes each makes every so manieth batch; the first has the outcome, the others
    None.

    Args:
        assault: what attacks what.
        cases: the images.
        subsets: images treated apart.
        folder: where batches are kept while the work goes on; see `batches_folder`.
        ranges: (N,) by row of the store; radii are divided by an image's range.
        progress: is told how many images are done.
        group: the processes; all of them see `folder`.
    """
    group.on_first(lambda: _make_ready(folder))
    parts = {}
    batches = cases.batches(assault.members[0].name, (group.rank, group.count))
    for number, (rows, images, labels, keys) in enumerate(batches):
        path = _place(folder, group.rank + number * group.count)
        part = _load(path)
        if part is None:
            begun = time.monotonic()
            part = _attack_batch(assault, rows, images, labels, keys, subsets, ranges[rows])
            part["seconds"] = np.array([time.monotonic() - begun])
            with write_atomically(path) as temporary:
                np.savez(temporary, **part)  # type: ignore[arg-type]
        parts[path] = part
        progress(len(rows) * group.count)  # the others are about as far
    group.gathered(None)  # all are done
    if not group.is_first:
        return None
    paths = [_place(folder, number) for number in range(-(-len(cases.rows) // cases.batch_size))]
    return _joined([parts.get(path) or _made(path) for path in paths], list(assault.deployed))


def batches_folder(root: Path, plan: Mapping[str, Any], cases: Cases) -> Path:
    """A folder below `root` for whatever decides the outcome, and for no other work."""
    text = json.dumps([plan, cases.batch_size, cases.rows.tolist()], sort_keys=True)
    return root / hashlib.sha256(text.encode()).hexdigest()[:16]


def forget(folder: Path) -> None:
    """Remove the batches of finished work, and their parent if nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


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


def _joined(parts: Sequence[Arrays], deployed: Sequence[str]) -> Attacked:
    whole = _concatenated(parts)
    return Attacked(
        clean={name: whole[f"score {name}"][0] for name in deployed},
        scores={name: whole[f"score {name}"][1:] for name in deployed},
        margins={name: whole[f"margin {name}"] for name in deployed},
        rows=whole["rows"],
        images=whole["images"],
        passes=int(whole["passes"].sum()),
        seconds=float(whole["seconds"].sum()),
    )


def _concatenated(parts: Sequence[Arrays]) -> Arrays:
    """Along the images: axis 1 of what has radii first, axis 0 of the rest."""
    flat = ("rows", "passes", "seconds")
    return {
        name: np.concatenate([part[name] for part in parts], axis=int(name not in flat))
        for name in parts[0]
    }


def _make_ready(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial(folder)


def _place(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def _made(path: Path) -> Arrays:
    """A batch that another process has made."""
    part = _load(path)
    if part is None:
        raise MedrobustError(
            f"{path}: expected the batch that another process made, found none that can be read; "
            "all processes must see the same folder of runs"
        )
    return part


def _load(path: Path) -> Arrays | None:
    """A batch that was done before; None if there is none that can be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except UNREADABLE:
        return None
