"""New images, without labels: probabilities, logits and decisions of one branch of a run."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor, nn

from medrobust.attacks.gradient import frozen, full_precision
from medrobust.data.batches import load_images
from medrobust.data.convert import Image, Reject, convert
from medrobust.data.isolation import Failure, isolated_map
from medrobust.data.store import Store, open_store
from medrobust.errors import MedrobustError
from medrobust.evaluate import Track, choose_device
from medrobust.loose_files import Decoding, decoding_for
from medrobust.losses import rank_scores
from medrobust.models import check_fits, restore_model
from medrobust.predictions import LOGIT
from medrobust.rundir import RunDir
from medrobust.thresholds import Thresholds, thresholds_for, training_store_of

POSITIVE = ":positive"
CLASS = "class"
"""The column of the most probable one of exclusive classes."""


@dataclass(frozen=True)
class Predicted:
    """The table of predictions, and what its reader should be told."""

    frame: pd.DataFrame
    """`file` or `image_id`, `branch`, then of every finding its probability (`<finding>`),
    `logit:<finding>` and `<finding>:positive` (1 where the probability reaches the threshold);
    for exclusive classes also `class`."""
    branch: str
    thresholds: Thresholds
    warnings: tuple[str, ...]
    """One per file that could not be used, then what was noted of the others."""


def predict(
    run: RunDir,
    paths: Sequence[Path],
    *,
    branch: str | None = None,
    checkpoint: str = "best",
    batch_size: int | None = None,
    workers: int = 0,
    device: str = "auto",
    track: Track = lambda total, title: lambda done: None,
) -> Predicted:
    """Predict image files, decoded as the training images were, or all images of a store.

    Args:
        run: a training's directory, or an imported one.
        paths: PNG, JPEG, TIFF or DICOM files; or one store.
        branch: the model's last one if not given, which of a dual model is the robust one.
        checkpoint: `best`, `last` or `epoch-NNNN`.
        batch_size: images at a time; that of the run's evaluation if not given.
        workers: processes that decode, with limits (see `isolated_map`); 0: this one.
        device: `auto`, `cpu`, `cuda`, ...
        track: makes a progress callback.

    Raises:
        MedrobustError: no file can be used (single ones are named in the warnings), a store of
            another size or number of channels, no such branch or checkpoint.
    """
    restored = restore_model(run, checkpoint)
    branch = branch or restored.model.branches[-1]
    network = restored.model.branch(branch).to(choose_device(device))
    home = training_store_of(run)
    images: _Images
    if store := _only_store(paths):
        check_fits(store, {name: restored.known[name] for name in ("channels", "size")}, run)
        images = _StoreImages(store)
    else:
        images = _FileImages(decoding_for(run, paths, restored.known, home), workers)
    done = track(len(images), f"{run.path}: {len(images)} images, branch {branch}")
    batch = batch_size or run.config().evaluate.batch_size
    logits = _logits(network, images.batches(batch, done), choose_device(device))
    if logits is None:
        raise MedrobustError(_none_usable(images))
    thresholds = thresholds_for(run, restored, branch, checkpoint, home)
    frame = pd.DataFrame({images.column: images.names, "branch": branch})
    return Predicted(
        pd.concat([frame, _table(logits, restored.known, thresholds)], axis=1),
        branch,
        thresholds,
        (*images.warnings, *thresholds.warnings),
    )


class _Images(Protocol):
    """Images that are to be predicted."""

    column: str
    names: list[str]
    """Of those that were usable; complete once all batches were taken."""

    def __len__(self) -> int: ...

    def batches(self, size: int, done: Any) -> Iterator[Tensor]: ...

    @property
    def warnings(self) -> list[str]: ...


@dataclass
class _StoreImages:
    store: Store
    column: str = "image_id"

    def __post_init__(self) -> None:
        self.names: list[str] = self.store.table["image_id"].tolist()
        self.warnings: list[str] = []

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, size: int, done: Any) -> Iterator[Tensor]:
        """(n, C, ...) in [0, 1], in the store's order."""
        for first in range(0, len(self), size):
            rows = np.arange(first, min(first + size, len(self)), dtype=np.int64)
            yield load_images(self.store, rows, "cpu")
            done(len(rows))


@dataclass
class _FileImages:
    decoding: Decoding
    workers: int
    column: str = "file"
    names: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.decoding.source.files)

    @property
    def warnings(self) -> list[str]:
        return [*self.unusable, *(f"{count} images: {note}" for note, count in self.notes.items())]

    def batches(self, size: int, done: Any) -> Iterator[Tensor]:
        """(n, C, H, W) in [0, 1], of the files that can be used, in their order."""
        batch: list[Any] = []
        for row, found in zip(self._rows(), self._found(), strict=True):
            done(1)
            problem = self.decoding.problem(found)
            if problem or not isinstance(found, Image):
                self.unusable.append(f"{row['file']}: {problem}")
                continue
            self.names.append(row["file"])
            self.notes.update(self.decoding.notes(found))
            batch.append(found.pixels)
            if len(batch) == size:
                yield self._unit(batch)
                batch = []
        if batch:
            yield self._unit(batch)

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {str(name): value for name, value in row.items()}
            for row in self.decoding.source.index().to_dict("records")
        ]

    def _found(self) -> Iterator[Image | Reject | Failure]:
        reader = partial(convert, source=self.decoding.source, settings=self.decoding.settings)
        yield from isolated_map(reader, self._rows(), workers=self.workers)

    def _unit(self, batch: Sequence[Any]) -> Tensor:
        pixels = np.stack(batch)
        return torch.from_numpy(pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max))


def _only_store(paths: Sequence[Path]) -> Store | None:
    """The store that is to be predicted; None for files."""
    if not paths:
        raise MedrobustError("expected image files or a store, found none")
    odd = [str(path) for path in paths if not str(path).isprintable()]  # nor what is not UTF-8
    if odd:
        raise MedrobustError(f"expected printable file names, found {odd[0]!a}: rename it")
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return None
    if len(paths) > 1:
        raise MedrobustError(
            f"expected image files, or one store alone, found the folder {folders[0]} among "
            f"{len(paths)} paths"
        )
    if not (folders[0] / "store.json").is_file():
        raise MedrobustError(
            f"{folders[0]}: expected image files or a store, found a folder without store.json; "
            f"give its files, such as {folders[0]}/*.png"
        )
    return open_store(folders[0])


def _logits(network: nn.Module, batches: Iterator[Tensor], device: torch.device) -> Tensor | None:
    """(N, K) on the CPU; None without images."""
    parts = []
    for images in batches:
        with frozen(network), torch.no_grad():
            parts.append(full_precision(network(images.to(device))).cpu())
    return torch.cat(parts) if parts else None


def _table(logits: Tensor, known: dict[str, Any], thresholds: Thresholds) -> pd.DataFrame:
    findings, task = known["findings"], known["task"]
    scores = rank_scores(logits, task).numpy()
    shares = expit(scores)  # of exclusive classes the same as softmax of the logits
    cuts = np.array([thresholds.values[finding] for finding in findings], dtype=shares.dtype)
    parts = [
        pd.DataFrame(shares, columns=findings),
        pd.DataFrame(scores, columns=[LOGIT + finding for finding in findings]),
        pd.DataFrame((shares >= cuts).astype(int), columns=[f + POSITIVE for f in findings]),
    ]
    if task == "exclusive":
        parts.append(pd.DataFrame({CLASS: np.array(findings)[shares.argmax(axis=1)]}))
    return pd.concat(parts, axis=1)


def _none_usable(images: _Images) -> str:
    first = images.warnings[0]
    if len(images) == 1:
        return first
    return f"expected usable images, found none among {len(images)} files; the first is {first}"
