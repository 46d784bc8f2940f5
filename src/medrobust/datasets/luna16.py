"""LUNA16: patches of lung CT around nodules and what looked like one."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from medrobust.data.source import Box, Card, Picture, Task
from medrobust.data.table import LABEL
from medrobust.data.volume import Grid, read_patch
from medrobust.data.window import Window
from medrobust.datasets.luna16_labels import (
    PLACE,
    judged,
    read_candidates,
    read_malignancy,
    read_nodules,
)
from medrobust.datasets.raw import MISSING_FILE, files_below, find_folder
from medrobust.errors import MedrobustError

CARD = Card(
    name="luna16",
    title="LUNA16 (lung nodules on CT)",
    source="https://luna16.grand-challenge.org",
    licence="CC BY 4.0 (LIDC-IDRI: CC BY 3.0)",
    citation="Setio et al., Validation, comparison, and combination of algorithms for automatic "
    "detection of pulmonary nodules, Med Image Anal 42:1-13 (2017); Armato et al., LIDC-IDRI, Med "
    "Phys 38:915-931 (2011)",
    caveats="888 scans of nearly as many patients (the 601 with nodules are of 600): the series "
    "stands for the patient. Nodules are "
    "those of 3 mm or more that three of four radiologists marked; others may be unmarked. "
    "Malignancy is the readers' opinion (mean of marks 1 to 5: 4 or more malignant, 2 or less "
    "benign, else unknown), not histology. The ten subsets are folds, not a split. candidates.csv "
    "and candidates_V2.csv differ; the latter is preferred.",
)
AIR = -1000.0
LUNG = Window("values", -1000, 400)
CANDIDATES = ("candidates_V2.csv", "candidates.csv")
TABLES = ("annotations.csv", *CANDIDATES)


class LUNA16:
    """Volumes (.mhd, .raw) in subset0 ... subset9, or in any folders below the root.

    `label`: `nodule` (candidates_V2.csv or candidates.csv: nodule or not) or `malignancy`
    (`malignancy_table`, a table of the nodules' marks; see `luna16_labels`).

    A patch is `patch_mm` wide and high and has `pixels` per side. `dims`: `2d` is the slice
    through the centre; `2.5d` has `slices` (odd) slices `slice_mm` apart as channels; `3d` is a
    cube. Patches are upright whatever the direction of the scan. `window`: Hounsfield units of
    x = 0 and x = 1. Positive patches have boxes of the annotated nodules' diameters: of the
    nodule itself (malignancy), or of all that the patch shows.

    Raises `MedrobustError` when tables are missing or settings are out of range.
    """

    card: Card = CARD
    task: Task = "multilabel"

    def __init__(
        self,
        root: Path,
        *,
        label: Literal["nodule", "malignancy"] = "nodule",
        malignancy_table: Path | None = None,
        patch_mm: float = 50.0,
        pixels: int = 64,
        dims: Literal["2d", "2.5d", "3d"] = "2d",
        slices: int = 3,
        slice_mm: float = 2.5,
        window: Window = LUNG,
    ) -> None:
        _check(label, dims, patch_mm, pixels, slices, slice_mm)
        self.root = find_folder(Path(root), _has_tables, "LUNA16's annotations.csv or candidates")
        self.notes: list[str] = []
        self._label, self._marks = label, malignancy_table
        self._mm, self._pixels, self._dims = patch_mm, pixels, dims
        self._slices, self._slice_mm, self._window = slices, slice_mm, window

    def index(self) -> pd.DataFrame:
        """One row per candidate or nodule; `world_x`, `world_y`, `world_z` in mm, `subset`."""
        rows = self._malignancies() if self._label == "malignancy" else self._candidates()
        series = rows["seriesuid"]
        files = series.map(self._files)
        own = ["diameter_mm"] if self._label == "malignancy" else []
        return pd.DataFrame(
            {
                "image_id": [f"{self._label[0]}{number:06d}" for number in range(len(rows))],
                "patient_id": series,
                "source": CARD.name,
                "file": files.fillna(series + ".mhd"),
                "subset": series.map({s: Path(f).parent.name for s, f in self._files.items()}),
                **{f"world_{name[-1].lower()}": rows[name] for name in PLACE},
                **{name: rows[name] for name in own},
                "problem": np.where(files.isna(), MISSING_FILE, ""),
                LABEL + self._label: rows["label"],
            }
        ).fillna({"subset": ""})

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Sample the patch around a candidate or nodule."""
        x, y, z = (float(row[f"world_{axis}"]) for axis in "xyz")
        grid = self._grid((x, y, z))
        flat = self._dims != "3d"
        patch = read_patch(self.root / str(row["file"]), grid, AIR, flat)
        low, high = self._window.limits(patch, (LUNG.low, LUNG.high))
        pixels = patch if flat else patch[None]
        boxes = self._boxes(row, grid) if row[LABEL + self._label] == 1 else ()
        return Picture(pixels, low, high, grid.spacing[1:] if flat else grid.spacing, boxes=boxes)

    def _grid(self, centre: tuple[float, float, float]) -> Grid:
        side, pixels = self._mm, self._pixels
        if self._dims == "3d":
            return Grid(centre, (side,) * 3, (pixels,) * 3)
        slices = self._slices if self._dims == "2.5d" else 1
        return Grid(centre, (slices * self._slice_mm, side, side), (slices, pixels, pixels))

    def _boxes(self, row: Mapping[str, Any], grid: Grid) -> tuple[Box, ...]:
        """Boxes around the balls that stand for nodules, or their discs in the middle slice."""
        boxes = []
        flat = self._dims != "3d"
        for x, y, z, diameter in self._balls(row, grid):
            depth = z - grid.centre[2] if flat else 0.0
            radius = np.sqrt(max(0.0, (diameter / 2) ** 2 - depth**2))
            place, half = grid.voxel((x, y, z))[int(flat) :], radius / grid.spacing[-1]
            start = np.clip(place - half, 0, self._pixels)
            end = np.clip(place + half, 0, self._pixels)
            if (end > start).all():
                boxes.append(Box(self._label, tuple(start.tolist()), tuple((end - start).tolist())))
        return tuple(boxes)

    def _balls(self, row: Mapping[str, Any], grid: Grid) -> list[tuple[float, ...]]:
        """Centre and diameter of the row's own nodule, or else of all those of its scan."""
        if self._label == "malignancy":
            return [(*grid.centre, float(row["diameter_mm"]))]
        return self._nodules.get(str(row["patient_id"]), [])

    def _candidates(self) -> pd.DataFrame:
        there = [path for name in CANDIDATES if (path := _table(self.root, name))]
        if not there:
            raise MedrobustError(
                f"expected candidates_V2.csv or candidates.csv in {self.root}, found none"
            )
        self.notes = [] if self._nodules else ["no annotations.csv: the nodules have no boxes"]
        return read_candidates(there[0])

    def _malignancies(self) -> pd.DataFrame:
        if self._marks is None:
            raise MedrobustError(
                "LUNA16: malignancy needs a table of the readers' marks (--malignancy-table)"
            )
        headers = {series: self.root / file for series, file in self._files.items()}
        rows = read_malignancy(self._marks, headers)
        labels = judged(rows["malignancy"])
        between = int(np.isnan(labels).sum())
        self.notes = [f"{between} nodules are neither clearly malignant nor benign, or unmarked"]
        return rows.assign(label=labels)

    @cached_property
    def _files(self) -> dict[str, str]:
        """Series -> header of its volume, relative to the root.

        LUNA16's segmentations of the lungs have the same names, so where there are folders
        subset0 ... subset9 only these count, and never those whose names begin with seg.
        """
        files = sorted(file for file in files_below(self.root) if file.endswith(".mhd"))
        subsets = [file for file in files if re.search(r"(^|/)subset\d+/", file)]
        others = [file for file in files if not re.search(r"(^|/)seg[^/]*/", file)]
        return {Path(file).stem: file for file in subsets or others}

    @cached_property
    def _nodules(self) -> dict[str, list[tuple[float, ...]]]:
        """Series -> x, y, z and diameter (mm) of its nodules."""
        path = _table(self.root, "annotations.csv")
        nodules: dict[str, list[tuple[float, ...]]] = {}
        if path:
            for series, *values in read_nodules(path).itertuples(index=False):
                nodules.setdefault(series, []).append(tuple(values))
        return nodules


def _check(
    label: str, dims: str, patch_mm: float, pixels: int, slices: int, slice_mm: float
) -> None:
    if label not in ("nodule", "malignancy") or dims not in ("2d", "2.5d", "3d"):
        raise MedrobustError(
            "LUNA16: expected label nodule or malignancy and dims 2d, 2.5d or 3d, "
            f"found {label!r} and {dims!r}"
        )
    if not (0 < patch_mm <= 500 and 0 < slice_mm <= 100 and 1 <= pixels <= 1024):
        raise MedrobustError(
            "LUNA16: expected patches of up to 500 mm and 1024 pixels, slices up to 100 mm apart"
        )
    if not (1 <= slices <= 99 and slices % 2):
        raise MedrobustError(f"LUNA16: expected an odd number of slices, found {slices}")


def _has_tables(folder: Path) -> bool:
    """Tables, or subsets beside a folder with tables (CSVFILES)."""
    if any((folder / name).is_file() for name in TABLES):
        return True
    return (folder / "subset0").is_dir() and any(_table(folder, name) for name in TABLES)


def _table(root: Path, name: str) -> Path | None:
    """Where a table lies: in the root, or else in the first folder of it that has one."""
    places = [root / name, *sorted(root.glob(f"*/{name}"))]
    return next((path for path in places if path.is_file()), None)
