"""MedMNIST v2: 18 data sets of small images and volumes (Yang et al., Sci Data 10:41, 2023)."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medrobust.data.source import Card, Picture
from medrobust.data.splits import SPLITS
from medrobust.datasets.arrays import label_table, picture, safe_name
from medrobust.datasets.medmnist_labels import LABELS
from medrobust.datasets.members import Rows, array_names, load_array, open_rows
from medrobust.errors import MedrobustError


class MedMNIST:
    """Any MedMNIST file, such as `pneumoniamnist.npz` or `pneumoniamnist_64.npz`.

    `path` is the file or the folder it lies in. Grey, colour (C = 3) or volumes; with the
    official split. Two classes become one finding, the one of label 1; more become exclusive
    findings; several labels per image (ChestMNIST) stay so. A file of another name gets findings
    named `class_<number>`.

    Raises `MedrobustError` when there is no such file, or not one, or arrays are missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = _find(Path(path))
        _expect_arrays(self.path)
        self.card = _card(self.path.stem)
        values = [load_array(self.path, f"{split}_labels") for split in SPLITS]
        self._counts = [len(part) for part in values]
        names = LABELS.get(_base(self.path.stem))
        self._labels, self.task = label_table(
            np.concatenate(values), names, None, f"{self.path}: labels"
        )

    def index(self) -> pd.DataFrame:
        """One row per image: train, then val, then test, in the file's order."""
        for split, count in zip(SPLITS, self._counts, strict=True):
            if self._rows[split].shape[0] != count:
                raise MedrobustError(
                    f"{self.path}: expected {count} images in {split}, as there are labels, "
                    f"got shape {self._rows[split].shape}"
                )
        places = [
            (split, number)
            for split, count in zip(SPLITS, self._counts, strict=True)
            for number in range(count)
        ]
        table = pd.DataFrame(
            {
                "image_id": [f"{split}-{number:05d}" for split, number in places],
                "split": [split for split, _ in places],
                "source": self.card.name,
                "file": [f"{self.path.name}:{split}_images[{number}]" for split, number in places],
            }
        )
        return pd.concat([table, self._labels], axis=1)

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Read one image."""
        split, number = str(row["image_id"]).split("-")
        return picture(self._rows[split][int(number)], None)

    @cached_property
    def _rows(self) -> dict[str, Rows]:
        return {split: open_rows(self.path, f"{split}_images") for split in SPLITS}


def _find(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise MedrobustError(f"expected a MedMNIST .npz file or its folder, found no {path}")
        return path
    files = sorted(path.glob("*.npz"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise MedrobustError(f"expected one .npz file in {path}, found {names}: name the file")
    return files[0]


def _expect_arrays(path: Path) -> None:
    expected = [f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")]
    missing = sorted(set(expected) - set(array_names(path)))
    if missing:
        raise MedrobustError(f"{path} is not a MedMNIST file: it has no {', '.join(missing)}")


def _base(stem: str) -> str:
    """Return the data set's name without the size that the larger versions carry."""
    name, _, size = stem.lower().rpartition("_")
    return name if name and size.isdigit() else stem.lower()


def _card(stem: str) -> Card:
    known = _base(stem) in LABELS
    licence = "CC BY-NC 4.0" if _base(stem) == "dermamnist" else "CC BY 4.0"
    return Card(
        name=safe_name(stem.lower()),
        title=f"MedMNIST v2: {stem}",
        source="https://medmnist.com",
        licence=licence if known else "not stated",
        citation="Yang et al., MedMNIST v2, Scientific Data 10:41 (2023)",
        caveats="Not for clinical use. Without patient ids; the split is the official one.",
    )
