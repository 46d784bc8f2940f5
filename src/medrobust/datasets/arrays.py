"""Any arrays of images and labels: an `.npz` file or a folder of `.npy` files."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.source import Card, Picture, Task
from medrobust.data.splits import SPLITS, canonical_splits
from medrobust.data.table import LABEL, examples
from medrobust.data.window import Window
from medrobust.datasets.members import Rows, load_array, open_rows
from medrobust.errors import MedrobustError

MAX_CLASSES = 1000


class Arrays:
    """Images and labels in arrays of one length N.

    `images`: name of the array (N, H, W), (N, D, H, W), or with an axis of 1 or 3 channels
    behind or before the spatial axes. `labels`: (N,) or (N, 1) of 0, 1 and NaN = unknown for one
    finding; of 0..K-1 for K > 2 exclusive classes; (N, K) of 0, 1, NaN for K findings, which are
    exclusive classes with `task="exclusive"`. `split`: words, or 0, 1, 2 for train, val, test.
    `findings` names the label columns. `window`: native values of x = 0 and x = 1, by default
    the range of uint8, uint16 and bool images.

    Raises `MedrobustError` when arrays are missing, damaged or do not fit together.
    """

    def __init__(
        self,
        path: Path,
        *,
        images: str = "images",
        labels: str = "labels",
        split: str | None = None,
        patients: str | None = None,
        findings: Sequence[str] | None = None,
        window: Window | None = None,
        task: Task | None = None,
        card: Card | None = None,
    ) -> None:
        self.path = _only_archive(Path(path))
        self._images, self._split, self._patients = images, split, patients
        self._window = window
        self.card = card or own_card(self.path)
        values = load_array(self.path, labels)
        self._labels, self.task = label_table(values, findings, task, f"array {labels!r}")

    def index(self) -> pd.DataFrame:
        """One row per image, in the arrays' order; image ids are row numbers."""
        count = len(self._labels)
        self._expect_length(self._images, self._rows.shape, count)
        numbers = range(count)
        table = pd.DataFrame(
            {
                "image_id": [f"{number:06d}" for number in numbers],
                "source": self.card.name,
                "file": [f"{self.path.name}[{number}]" for number in numbers],
            }
        )
        if self._patients is not None:
            table["patient_id"] = self._column(self._patients, count).astype(str)
        if self._split is not None:
            table["split"] = split_words(self._column(self._split, count), self._split)
        return pd.concat([table, self._labels], axis=1)

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Read one image."""
        return picture(self._rows[int(row["image_id"])], self._window)

    @cached_property
    def _rows(self) -> Rows:
        return open_rows(self.path, self._images)

    def _column(self, name: str, count: int) -> NDArray[Any]:
        values = load_array(self.path, name)
        self._expect_length(name, values.shape, count)
        return values.reshape(count)

    def _expect_length(self, name: str, shape: tuple[int, ...], count: int) -> None:
        fits = len(shape) >= 1 and shape[0] == count
        if not fits or (name != self._images and np.prod(shape) != count):
            raise MedrobustError(
                f"{self.path}: expected {count} entries in array {name!r}, as there are labels, "
                f"got shape {shape}"
            )


def _only_archive(path: Path) -> Path:
    """The folder of `.npy` files or the file itself; of a folder without any, its only `.npz`."""
    archives = sorted(path.glob("*.npz")) if path.is_dir() else []
    alone = len(archives) == 1 and not any(path.glob("*.npy"))
    return archives[0] if alone else path


def picture(image: NDArray[Any], window: Window | None) -> Picture:
    """Bring one image to (C, H, W) or (C, D, H, W), C = 1 or 3, in its window."""
    return Picture(_channels_first(image), *window_limits(image, window))


def window_limits(pixels: NDArray[Any], window: Window | None) -> tuple[float, float]:
    """The native values of x = 0 and x = 1: the window's, or the range of the pixels' type.

    Raises `MedrobustError` when the type has no range that images fill (floats, signed numbers).
    """
    if window is not None and window.kind in ("values", "percentile"):
        return window.limits(pixels, (0.0, 1.0))
    if pixels.dtype.kind == "b":
        return 0.0, 1.0
    if pixels.dtype in (np.uint8, np.uint16):
        return 0.0, float(np.iinfo(pixels.dtype).max)
    raise MedrobustError(
        f"give the window of {pixels.dtype} images: the values of x = 0 and x = 1 (--window)"
    )


def label_table(
    values: NDArray[Any], names: Sequence[str] | None, task: Task | None, where: str
) -> tuple[pd.DataFrame, Task]:
    """Return columns `label:<finding>` and the task; the rules are those of `Arrays`.

    Two classes are one column, the second class's. Raises `MedrobustError` when the values are
    not numbers, not class numbers, or do not fit the names.
    """
    if values.ndim not in (1, 2) or values.dtype.kind not in "biuf":
        raise MedrobustError(
            f"{where}: expected numbers of shape (N,) or (N, K), got {values.dtype} of shape "
            f"{values.shape}"
        )
    labels = values.reshape(len(values), -1).astype(float)
    if labels.shape[1] > 1:
        return _columns(labels, names, where), task or "multilabel"
    if len(names or ()) <= 2 and not np.any(labels > 1):
        return _columns(labels, names[-1:] if names else ["class_1"], where), "multilabel"
    one_hot = _one_hot(labels[:, 0], len(names or ()), where)
    return _columns(one_hot, names, where), "exclusive"


def split_words(values: NDArray[Any], where: str) -> "pd.Series[Any]":
    """Return train, val or test for words, or for the codes 0, 1 and 2."""
    if values.dtype.kind in "iu":
        wrong = np.setdiff1d(values, range(len(SPLITS)))
        if len(wrong):
            raise MedrobustError(
                f"array {where!r}: expected 0 = train, 1 = val, 2 = test, found {examples(wrong)}"
            )
        return pd.Series(np.array(SPLITS, dtype=object)[values])
    return canonical_splits(pd.Series(values.astype(str)), where)


def safe_name(text: str) -> str:
    """A store's name from a file's: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_") or "data"


def own_card(path: Path) -> Card:
    """Return the card of somebody's own data, of which only the file's name is known."""
    return Card(safe_name(path.stem), path.name, "own data", "not stated", "")


def _channels_first(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim >= 3 and image.shape[-1] in (1, 3):
        return np.moveaxis(image, -1, 0)
    return image if image.ndim >= 3 and image.shape[0] in (1, 3) else image[None]


def _one_hot(values: NDArray[np.float64], classes: int, where: str) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    wrong = values[known & ((values % 1 != 0) | (values < 0) | (values > MAX_CLASSES))]
    if len(wrong):
        raise MedrobustError(f"{where}: expected class numbers from 0, found {examples(wrong)}")
    classes = max(classes, int(np.nanmax(values, initial=0)) + 1)
    one_hot = (values[:, None] == np.arange(classes)).astype(float)
    return np.where(known[:, None], one_hot, np.nan)


def _columns(labels: NDArray[np.float64], names: Sequence[str] | None, where: str) -> pd.DataFrame:
    count = labels.shape[1]
    names = [f"class_{number}" for number in range(count)] if names is None else list(names)
    if len(names) != count:
        raise MedrobustError(f"{where}: expected {len(names)} ({', '.join(names)}), got {count}")
    return pd.DataFrame(labels, columns=[LABEL + name for name in names])
