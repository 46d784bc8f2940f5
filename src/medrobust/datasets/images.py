"""A table (CSV) and a folder of PNG, JPEG or TIFF images."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from medrobust.data.decode import read_grey
from medrobust.data.source import Box, Card, Mask, Picture, Task
from medrobust.data.window import Window
from medrobust.datasets.arrays import own_card, window_limits
from medrobust.datasets.label_table import LabelTable
from medrobust.datasets.raw import MISSING_FILE, files_below
from medrobust.datasets.truth import BoxTable, MaskFolder, Structure, parse_mask_bits
from medrobust.errors import MedrobustError

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


class Images:
    """Images listed in a table, one row per image.

    `image_column` holds paths relative to `root`. `labels`: finding -> column with 1, 0, true,
    false, -1 (uncertain) or empty (unknown), or a rule such as `sex:F` (see `data.rules`).
    `split_column`: train, val, test and their common synonyms. `metadata`: `age`, `sex`, `view`
    or any other name -> column. `window`: native values of x = 0 and x = 1, by default the range
    of the file's type (0..255, or 0..65535 for 16 bits). `masks`: a folder of mask files with the
    images' names, `mask_bits` what their bits mean (see `truth.parse_mask_bits`). `boxes`: a CSV
    of boxes. The table is UTF-8, separated by comma, semicolon or tab. Masks and boxes of images
    that are not in the table are counted in `notes`.

    Raises `MedrobustError` when the table cannot be read or a column is missing.
    """

    def __init__(
        self,
        table: Path,
        root: Path,
        *,
        image_column: str,
        labels: Mapping[str, str],
        patient_column: str | None = None,
        split_column: str | None = None,
        metadata: Mapping[str, str] | None = None,
        task: Task = "multilabel",
        window: Window | None = None,
        masks: Path | None = None,
        mask_bits: str | None = None,
        boxes: Path | None = None,
        card: Card | None = None,
    ) -> None:
        self.path, self.root = Path(table), Path(root)
        self.task, self.card = task, card or own_card(self.path)
        self._window, self._image_column = window, image_column
        self._patient_column = patient_column
        self._table = LabelTable(self.path, labels, metadata, split_column)
        if not self.root.is_dir():
            raise MedrobustError(f"expected a folder of images at {self.root}, found none")
        if mask_bits is not None and masks is None:
            raise MedrobustError(
                "mask bits are of no use without masks: name their folder (--masks)"
            )
        self.notes: list[str] = []
        self._masks = None if masks is None else _mask_folder(masks, mask_bits, list(labels))
        self._boxes = None if boxes is None else BoxTable.read(boxes, list(labels))

    def index(self) -> pd.DataFrame:
        """One row per row of the table, in its order; image ids are the paths with '-' for '/'."""
        files = self._table.column(self._image_column).map(self._relative)
        columns: dict[str, Any] = {
            "image_id": files.map(_image_id),
            "source": self.card.name,
            "file": files,
        }
        if self._patient_column is not None:
            columns["patient_id"] = self._table.column(self._patient_column).replace("", np.nan)
        self._note(files)
        there = files_below(self.root)
        columns["problem"] = np.where(files.isin(there), "", MISSING_FILE)
        return pd.concat([pd.DataFrame(columns), self._table.described()], axis=1)

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Decode one file."""
        file = str(row["file"])
        pixels, note = read_grey(self.root / file)
        masks: tuple[Mask, ...] = ()
        boxes: tuple[Box, ...] = ()
        notes = [note]
        if self._masks is not None:
            masks, note = self._masks.read(file, pixels.shape[1:])
            notes.append(note)
        if self._boxes is not None:
            boxes, note = self._boxes.of(file, pixels.shape[1:])
            notes.append(note)
        low, high = window_limits(pixels, self._window)
        note = "; ".join(note for note in notes if note)
        return Picture(pixels, low, high, masks=masks, boxes=boxes, note=note)

    def _note(self, files: "pd.Series[str]") -> None:
        masks = self._masks.unused(files) if self._masks else 0
        boxes = self._boxes.unused(files) if self._boxes else 0
        self.notes = [
            *([f"{masks} masks belong to no image of the table"] if masks else []),
            *([f"{boxes} images with boxes are not in the table"] if boxes else []),
            *self._strangers(),
        ]

    def _strangers(self) -> Iterator[str]:
        """Names of masks and boxes that are no finding: anatomy, or misspelt."""
        bits = self._masks.bits.values() if self._masks else ()
        others = [structure.name for structure in bits if structure.kind == "anatomy"]
        if others:
            yield f"masks of {', '.join(others)} count as anatomy: no finding has such a name"
        boxes = self._boxes.boxes.values() if self._boxes else ()
        names = {box.finding for of_image in boxes for box in of_image}
        unknown = sorted(names - set(self._table.labels))
        if unknown:
            yield f"boxes of {', '.join(unknown)}: no finding has such a name"

    def _relative(self, text: str) -> str:
        path = PurePosixPath(text.replace("\\", "/"))
        if not path.parts:
            raise MedrobustError(f"{self.path}: column {self._image_column!r} has empty cells")
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise MedrobustError(
                f"{self.path}: expected paths below the folder of images, found {text!r}"
            )
        return str(path)


def _mask_folder(folder: Path, bits: str | None, findings: list[str]) -> MaskFolder:
    only = Structure(findings[0], "finding") if len(findings) == 1 else None
    return MaskFolder(folder, parse_mask_bits(bits, findings) if bits else {}, only)


def _image_id(file: str) -> str:
    path = PurePosixPath(file)
    return "-".join((path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).parts)
