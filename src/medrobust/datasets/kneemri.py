"""kneeMRI (Štajduhar et al. 2017): the anterior cruciate ligament in 917 volumes from Rijeka."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.pickled_array import read_pickled_array
from medrobust.data.source import Card, Picture, Task
from medrobust.data.table import LABEL
from medrobust.data.window import Window
from medrobust.datasets.raw import (
    MISSING_FILE,
    RawTable,
    files_below,
    find_folder,
    refuse_problems,
)
from medrobust.errors import MedrobustError

CARD = Card(
    name="kneemri",
    title="kneeMRI (Rijeka)",
    source="http://www.riteh.uniri.hr/~istajduh/projects/kneeMRI/",
    licence="for research; the data set's page asks for a citation",
    citation="Štajduhar, Mamula, Miletić, Ünal, Semi-automated detection of anterior cruciate "
    "ligament injury from MRI, Comput Methods Programs Biomed 140:151-164 (2017)",
    caveats="One scanner (Siemens Avanto 1.5 T), sagittal, proton density weighted, fat "
    "suppressed. Diagnoses from reports; 690 healthy, 172 partially injured, 55 completely "
    "ruptured. Without an official split: whoever selects and tests on one fold reports too much. "
    "Patients are told apart by exam; spacing is not given. Which number of kneeLR is left is not "
    "documented: it is kept as it stands (knee_lr).",
)
GRADES = ("healthy", "partially injured", "completely ruptured")
SIDES = ("roiX", "roiY", "roiZ", "roiWidth", "roiHeight", "roiDepth")
NO_REGION = "the table gives no region of interest"
SEVERAL_FILES = "several folders have a volume of this name"
PERCENTILES = Window("percentile", 0.5, 99.5)
"""MR intensities are in arbitrary units, so the window is that of each volume's own values."""


class KneeMRI:
    """metadata.csv and volumes `*.pck` in any folders below the root (vol01 ... vol10).

    Each slice of the region of interest is an image of its own, cut out (`region="roi"`) or whole
    (`region="whole"`); with `volume` the region, or the whole volume, is one image (1, D, H, W).
    All slices of an exam stay in one split. `window`: native values of x = 0 and 1, or percentiles
    of the whole volume. The pickles are read without running what they may hold.

    Raises `MedrobustError` when there is no metadata.csv in the root or one folder of it.
    """

    card: Card = CARD
    task: Task = "exclusive"

    def __init__(
        self,
        root: Path,
        *,
        volume: bool = False,
        region: Literal["roi", "whole"] = "roi",
        window: Window = PERCENTILES,
    ) -> None:
        if region not in ("roi", "whole"):
            raise MedrobustError(f"region: expected roi or whole, found {region!r}")
        if window.kind not in ("values", "percentile"):
            raise MedrobustError("kneeMRI: expected a window of values or percentiles")
        self.root = find_folder(Path(root), _has_table, "metadata.csv of kneeMRI")
        self._volume, self._region, self._window = volume, region, window
        self._last: tuple[str, NDArray[Any], tuple[float, float]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None}  # the pixels at hand need not travel

    def index(self) -> pd.DataFrame:
        """One row per slice, or per volume; `roi_*` are its region, `slice` its number."""
        rows = self._rows()
        if not self._volume:
            rows = _slices(rows)
        number = "" if self._volume else "-" + rows["slice"].astype(str).str.zfill(2)
        rows.insert(0, "image_id", rows["exam"] + "-" + rows["series"] + number)
        return rows.drop(columns=["exam", "series"])

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Read a slice or a volume."""
        volume, (low, high) = self._read_volume(str(row["file"]))
        return Picture(self._cut(volume, row)[None], low, high)

    def _rows(self) -> pd.DataFrame:
        table = RawTable(self.root / "metadata.csv")
        sides = {_word(name): table.values((name,), _whole, "a whole number") for name in SIDES}
        grades = table.values(("aclDiagnosis",), _grade, "0, 1 or 2")
        names = table.text("volumeFilename")
        exams, series, knees = (table.text(name) for name in ("examId", "seriesNo", "kneeLR"))
        for name, words in (("examId", exams), ("seriesNo", series)):
            if table.find(name):
                table.note(name, (words == "").to_numpy(), "a number")
        refuse_problems([table])
        there = self._volumes()
        files = [there.get(name, []) for name in names]
        rows = pd.DataFrame(
            {
                "patient_id": exams,
                "source": CARD.name,
                "file": [f[0] if f else name for f, name in zip(files, names, strict=True)],
                "exam": exams,
                "series": series,
                "knee_lr": knees,
                **{name: values.astype(float) for name, values in sides.items()},
                "problem": [_problem(file) for file in files],
                **{LABEL + name: (grades == n).astype(float) for n, name in enumerate(GRADES)},
            }
        )
        return rows.assign(problem=self._problems(rows))

    def _volumes(self) -> dict[str, list[str]]:
        """Name of a volume -> where it lies; more than one place cannot be told apart."""
        there: dict[str, list[str]] = {}
        for file in sorted(files_below(self.root)):
            if file.endswith(".pck"):
                there.setdefault(file.rpartition("/")[2], []).append(file)
        return there

    def _problems(self, rows: pd.DataFrame) -> "pd.Series[str]":
        """What is known to be wrong: no file, or no region where one is needed."""
        if self._volume and self._region == "whole":
            return rows["problem"]
        extents = rows[["roi_width", "roi_height", "roi_depth"]]
        starts = rows[["roi_x", "roi_y", "roi_z"]]
        good = (extents > 0).all(axis=1) & (starts >= 0).all(axis=1)
        return rows["problem"].where(good | (rows["problem"] != ""), NO_REGION)

    def _read_volume(self, file: str) -> tuple[NDArray[Any], tuple[float, float]]:
        """A volume and its window, read unless it is the last one: its slices come in a row."""
        if self._last is None or self._last[0] != file:
            volume = read_pickled_array(self.root / file)
            if volume.ndim != 3 or 0 in volume.shape:
                raise MedrobustError(f"expected (slices, rows, columns), got {volume.shape}")
            if volume.dtype.kind == "b":
                raise MedrobustError("expected grey values, got only true and false")
            self._last = file, volume, self._window.limits(volume, (0.0, 1.0))
        return self._last[1], self._last[2]

    def _cut(self, volume: NDArray[Any], row: Mapping[str, Any]) -> NDArray[Any]:
        if self._volume and self._region == "whole":
            return volume
        starts = [int(row[f"roi_{axis}"]) for axis in "zyx"]
        ends = [
            start + int(row[f"roi_{side}"])
            for start, side in zip(starts, ("depth", "height", "width"), strict=True)
        ]
        if any(end > side for end, side in zip(ends, volume.shape, strict=True)):
            raise MedrobustError("its region of interest leaves the volume")
        z, y, x = (slice(start, end) for start, end in zip(starts, ends, strict=True))
        if self._volume:
            return volume[z, y, x]
        one: NDArray[Any] = volume[int(row["slice"])]
        return one if self._region == "whole" else one[y, x]


def _slices(rows: pd.DataFrame) -> pd.DataFrame:
    """Repeat each volume's row for each slice of its region; unusable ones stay one row."""
    good = (rows["problem"] == "").to_numpy()
    counts = np.where(good, rows["roi_depth"].fillna(1), 1).astype(int)
    repeated = rows.loc[rows.index.repeat(counts)]
    number = repeated.groupby(level=0).cumcount()
    first = repeated["roi_z"].where(repeated["problem"] == "", 0).fillna(0)
    slices = (first + number).astype(int)
    return repeated.assign(slice=slices).reset_index(drop=True)


def _problem(files: list[str]) -> str:
    return {0: MISSING_FILE, 1: ""}.get(len(files), SEVERAL_FILES)


def _has_table(folder: Path) -> bool:
    return (folder / "metadata.csv").is_file()


def _word(name: str) -> str:
    return "roi_" + name.removeprefix("roi").lower()


def _whole(text: str) -> float:
    """A whole number, or NaN where there is none."""
    if text == "":
        return float("nan")
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return number


def _grade(text: str) -> int:
    return {"0": 0, "1": 1, "2": 2}[text]
