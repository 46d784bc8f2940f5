"""LUNA16: patches of lung CT around nodules and what looked like one."""

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
from medrobust.datasets.luna16_labels import PLACE, judged, read_malignancy, read_places
from medrobust.datasets.raw import MISSING_FILE, find_folder
from medrobust.errors import MedrobustError

CARD = Card(
    name="luna16",
    title="LUNA16 (lung nodules on CT)",
    source="https://luna16.grand-challenge.org",
    licence="CC BY 4.0 (LIDC-IDRI: CC BY 3.0)",
    citation="Setio et al., Validation, comparison, and combination of algorithms for automatic "
    "detection of pulmonary nodules, Med Image Anal 42:1-13 (2017); Armato et al., LIDC-IDRI, Med "
    "Phys 38:915-931 (2011)",
    caveats="888 scans of nearly as many patients: the series stands for the patient. Nodules are "
    "those of 3 mm or more that three of four radiologists marked; others may be unmarked. "
    "Malignancy is the readers' opinion (mean of marks 1 to 5: 4 or more malignant, 2 or less "
    "benign, else unknown), not histology. The ten subsets are folds, not a split.",
)
AIR = -1000.0
LUNG = Window("values", -1000, 400)
CANDIDATES = ("candidates_V2.csv", "candidates.csv")


class LUNA16:
    """Volumes (.mhd, .raw) in subset0 ... subset9, or in any folders below the root.

    `label`: `nodule` (candidates_V2.csv or candidates.csv: nodule or not) or `malignancy`
    (`malignancy_table`, a table of the nodules' marks; see `luna16_labels`).

    A patch is `patch_mm` wide and high and has `pixels` per side. `dims`: `2d` is the slice
    through the centre; `2.5d` has `slices` (odd) slices `slice_mm` apart as channels; `3d` is a
    cube. Patches are upright whatever the direction of the scan. `window`: Hounsfield units of
    x = 0 and x = 1. Positive patches have boxes of the annotated nodules' diameters.

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
        files = [self._files.get(series) for series in rows["seriesuid"]]
        names = [path and path.relative_to(self.root).as_posix() for path in files]
        return pd.DataFrame(
            {
                "image_id": [f"{self._label[0]}{number:06d}" for number in range(len(rows))],
                "patient_id": rows["seriesuid"],
                "source": CARD.name,
                "file": [n or f"{s}.mhd" for n, s in zip(names, rows["seriesuid"], strict=True)],
                "subset": [path.parent.name if path else "" for path in files],
                **{f"world_{name[-1].lower()}": rows[name] for name in PLACE},
                "problem": ["" if path else MISSING_FILE for path in files],
                LABEL + self._label: rows["label"],
            }
        )

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
        """Boxes of the nodules of the scan that the patch (the middle slice) cuts, within it."""
        boxes = []
        for *point, diameter in self._nodules.get(str(row["patient_id"]), ()):
            x, y, z = point
            place, half = grid.voxel((x, y, z)), diameter / 2 / np.array(grid.spacing)
            if self._dims != "3d":
                if abs(z - grid.centre[2]) > diameter / 2:
                    continue
                place, half = place[1:], half[1:]
            start = np.clip(place - half, 0, self._pixels)
            end = np.clip(place + half, 0, self._pixels)
            if (end > start).all():
                boxes.append(Box(self._label, tuple(start.tolist()), tuple((end - start).tolist())))
        return tuple(boxes)

    def _candidates(self) -> pd.DataFrame:
        there = [self.root / name for name in CANDIDATES if (self.root / name).is_file()]
        if not there:
            raise MedrobustError(
                f"expected candidates_V2.csv or candidates.csv in {self.root}, found none"
            )
        rows = read_places(there[0], "class")
        return rows.assign(label=rows["class"])

    def _malignancies(self) -> pd.DataFrame:
        if self._marks is None:
            raise MedrobustError(
                "LUNA16: malignancy needs a table of the readers' marks (--malignancy-table)"
            )
        rows = read_malignancy(self._marks, self._files)
        labels = judged(rows["malignancy"])
        between = int(np.isnan(labels).sum())
        self.notes = [f"{between} nodules are neither clearly malignant nor benign, or unmarked"]
        return rows.assign(label=labels)

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Series -> header of its volume."""
        return {path.stem: path for path in sorted(self.root.rglob("*.mhd"))}

    @cached_property
    def _nodules(self) -> dict[str, list[tuple[float, ...]]]:
        """Series -> x, y, z and diameter (mm) of its nodules."""
        path = self.root / "annotations.csv"
        nodules: dict[str, list[tuple[float, ...]]] = {}
        if path.is_file():
            for series, *values in read_places(path, "diameter_mm").itertuples(index=False):
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
    return any((folder / name).is_file() for name in ("annotations.csv", *CANDIDATES))
