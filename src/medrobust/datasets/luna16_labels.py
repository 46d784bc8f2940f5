"""What is known of the nodules of LUNA16: where they are, and how malignant readers found them.

Malignancy is the mean of up to four readers' marks from 1 to 5 (LIDC-IDRI). The policy here:
4 and more is malignant (1), 2 and less is benign (0), what lies between is unknown.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.volume import world_to_voxel
from medrobust.datasets.raw import RawTable, refuse_problems
from medrobust.errors import MedrobustError

MALIGNANT, BENIGN = 4.0, 2.0
PLACE = ("coordX", "coordY", "coordZ")
BOX = ("z_min", "z_max", "row_min", "row_max", "col_min", "col_max")
CLOSE = 1.0
"""Voxels, and slices of LIDC, by which a nodule's centre may miss a reader's box."""


def read_candidates(path: Path) -> pd.DataFrame:
    """Read `seriesuid`, `coordX`, `coordY`, `coordZ` (mm) and `class` as `label` (1 nodule, 0 not).

    Raises `MedrobustError` when columns are missing or hold something else.
    """
    table = RawTable(path)
    labels = table.values(("class",), lambda text: {0.0: 0.0, 1.0: 1.0}[float(text)], "0 or 1")
    return _places(table).assign(label=labels.astype(float))


def read_nodules(path: Path) -> pd.DataFrame:
    """Read `seriesuid`, `coordX`, `coordY`, `coordZ`, `diameter_mm` (all mm).

    Raises `MedrobustError` when columns are missing or hold something else.
    """
    return _nodules(RawTable(path))


def read_malignancy(path: Path, headers: Mapping[str, Path]) -> pd.DataFrame:
    """Read nodules with the mean of their readers' malignancy, from either of two tables.

    One has a row per nodule with all marks, such as `[4, 2, 4, 2]`, in `mal_details`; the other,
    of LIDC-IDRI, a row per reader's outline. `headers`: series -> .mhd file, needed by the second
    one, whose rows and columns are voxels.

    Returns `seriesuid, coordX, coordY, coordZ, diameter_mm, malignancy`.

    Raises `MedrobustError` when it is neither.
    """
    table = RawTable(path)
    if table.find("mal_details"):
        marks = table.values(("mal_details",), _marks, "marks such as [4, 2, 4, 2]")
        return _nodules(table).assign(malignancy=marks.astype(float))
    if table.find("series_instance_uid") and table.find("malignancy"):
        return _read_lidc(table, headers)
    raise MedrobustError(
        f"{path}: expected a column mal_details, or those of LIDC-IDRI "
        f"(series_instance_uid, malignancy), found {', '.join(table.columns)}"
    )


def judged(malignancy: "pd.Series[float]") -> NDArray[np.float64]:
    """1 malignant, 0 benign, NaN between."""
    found = np.where(malignancy >= MALIGNANT, 1.0, np.where(malignancy <= BENIGN, 0.0, np.nan))
    return np.asarray(found, dtype=np.float64)


def marked(
    nodules: pd.DataFrame, outlines: pd.DataFrame, headers: Mapping[str, Path]
) -> pd.DataFrame:
    """Give each nodule the mean malignancy of the outlines that hold its centre."""
    means = np.full(len(nodules), np.nan)
    by_series = dict(iter(outlines.groupby("series")))
    for series, group in nodules.groupby("seriesuid"):
        if series not in by_series or series not in headers:
            continue
        points = group[list(PLACE)].to_numpy(float)
        voxels = world_to_voxel(headers[str(series)], points)
        for row, voxel, z in zip(group.index, voxels, points[:, 2], strict=True):
            holding = _holding(by_series[series], voxel, z)
            if len(holding):
                means[row] = holding["malignancy"].mean()
    return nodules.assign(malignancy=means)


def _nodules(table: RawTable) -> pd.DataFrame:
    diameters = _numbers(table, "diameter_mm")
    if table.find("diameter_mm"):
        table.note("diameter_mm", diameters <= 0, "a number above 0")
    return _places(table).assign(diameter_mm=diameters)


def _places(table: RawTable) -> pd.DataFrame:
    """Read where things are, and refuse what was noted of the table until now."""
    series = table.text("seriesuid")
    columns = {name: _numbers(table, name) for name in PLACE}
    refuse_problems([table])
    return pd.DataFrame({"seriesuid": series, **columns})


def _numbers(table: RawTable, name: str) -> NDArray[np.float64]:
    """A column of numbers; all at once, as candidates_V2.csv has 754,975 rows."""
    numbers = pd.to_numeric(table.text(name), errors="coerce").to_numpy(np.float64)
    if table.find(name):
        table.note(name, ~np.isfinite(numbers), "a number")
    return numbers


def _read_lidc(table: RawTable, headers: Mapping[str, Path]) -> pd.DataFrame:
    columns = {n: _numbers(table, n) for n in (*BOX, "malignancy", "slice_thickness")}
    series = table.text("series_instance_uid")
    refuse_problems([table])
    outlines = pd.DataFrame({"series": series, **columns})
    beside = table.path.with_name("annotations.csv")
    found = next((p for p in (beside, *_annotations(headers)) if p.is_file()), None)
    if found is None:
        raise MedrobustError(
            f"{table.path}: outlines of LIDC-IDRI need LUNA16's annotations.csv, found none"
        )
    return marked(read_nodules(found), outlines, headers)


def _annotations(headers: Mapping[str, Path]) -> list[Path]:
    """Where LUNA16's annotations may lie: beside the subsets."""
    folders = {path.parent for path in headers.values()}
    return sorted({up / "annotations.csv" for folder in folders for up in (folder, folder.parent)})


def _holding(outlines: pd.DataFrame, voxel: NDArray[np.float64], z: float) -> pd.DataFrame:
    column, row, _ = voxel
    slack = CLOSE * outlines["slice_thickness"]
    inside = (
        outlines["row_min"].sub(CLOSE).le(row)
        & outlines["row_max"].add(CLOSE).ge(row)
        & outlines["col_min"].sub(CLOSE).le(column)
        & outlines["col_max"].add(CLOSE).ge(column)
        & (outlines["z_min"] - slack).le(z)
        & (outlines["z_max"] + slack).ge(z)
    )
    return outlines[inside]


def _marks(text: str) -> float:
    """The mean of marks in brackets."""
    if not re.fullmatch(r"\[\s*[1-5](\s*,\s*[1-5])*\s*\]", text):
        raise ValueError(text)
    return float(np.mean([int(mark) for mark in re.findall(r"\d", text)]))
