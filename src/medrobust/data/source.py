"""What a data set must offer so that `prepare` can turn it into a store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Task = Literal["multilabel", "exclusive"]


@dataclass(frozen=True)
class Card:
    """What one has to know of a data set before using it."""

    name: str
    """File-name safe, used for stores, predictions and reports."""
    title: str
    source: str
    licence: str
    citation: str
    caveats: str = ""


@dataclass(frozen=True)
class Mask:
    """The truth of one structure in one image."""

    name: str
    """A finding's name, or an anatomy's or marker's."""
    kind: Literal["finding", "anatomy", "marker"]
    pixels: NDArray[np.bool_]
    """(H, W) or (D, H, W), in the pixels of the picture it belongs to."""


@dataclass(frozen=True)
class Box:
    """A rectangle around a finding, in the pixels of the picture it belongs to.

    Pixel k covers [k, k + 1): a box of one pixel at the corner has origin 0 and extent 1.
    """

    finding: str
    origin: tuple[float, ...]
    """(y, x) or (z, y, x): the corner nearest to 0."""
    extent: tuple[float, ...]
    """(height, width) or (depth, height, width)."""


@dataclass(frozen=True)
class Picture:
    """One decoded image in native units (grey values, Hounsfield units, ...)."""

    pixels: NDArray[Any]
    """(C, H, W) or (C, D, H, W); C = 1 for grey."""
    low: float
    """The native value that becomes x = 0; above `high` where dark is high (MONOCHROME1)."""
    high: float
    """The native value that becomes x = 1."""
    spacing: tuple[float, ...] | None = None
    """Millimetres per pixel, in the order of the spatial axes; None if not known."""
    masks: tuple[Mask, ...] = ()
    boxes: tuple[Box, ...] = ()
    note: str = ""
    """What a reader of results should know of this image; the store's warnings count them."""


class Source(Protocol):
    """A data set: which images there are, and how to read one.

    It is sent to other processes, so it must be picklable. What a reader of the store should know
    of the index, such as files that no label belongs to, may stand in an attribute
    `notes: list[str]`, which `index()` fills.
    """

    @property
    def card(self) -> Card:
        """What the data set is."""

    @property
    def task(self) -> Task:
        """`multilabel` findings, or `exclusive` classes as one-hot columns."""

    def index(self) -> pd.DataFrame:
        """One row per image: `image_id, source, file, label:<finding>...`.

        `patient_id`, `split` (train, val, test), `age` (years), `sex` (F, M), `view` (PA, AP,
        lateral, ...) and other metadata where the data set knows them. Labels are 1, 0,
        -1 (uncertain) or NaN (unknown). `problem`, where there is such a column and it is not
        empty, says why a row cannot be used: it is not read. The order of rows is the order of
        the store.
        """

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Decode the image of one row of `index()`.

        Raises `MedrobustError` with the reason when the file cannot be used; `prepare` then
        writes it to `rejects.csv`.
        """
