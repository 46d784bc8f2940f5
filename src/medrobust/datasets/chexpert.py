"""CheXpert (Irvin et al., AAAI 2019): 224,316 chest radiographs of 65,240 patients."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.decode import read_grey
from medrobust.data.source import Card, Picture, Task
from medrobust.data.table import LABEL
from medrobust.data.vocabulary import canonical
from medrobust.datasets.raw import MISSING_FILE, RawTable, find_folder, refuse_problems
from medrobust.errors import MedrobustError

Blank = Literal["zeros", "ignore"]

FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
TABLES = ("train.csv", "valid.csv", "test.csv")
CARD = Card(
    name="chexpert",
    title="CheXpert v1.0",
    source="https://stanfordmlgroup.github.io/competitions/chexpert/",
    licence=(
        "Stanford University Dataset Research Use Agreement: registration, non-commercial "
        "research only, no redistribution"
    ),
    citation="Irvin et al., CheXpert: a large chest radiograph dataset with uncertainty labels and "
    "expert comparison, AAAI 33:590-597 (2019)",
    caveats=(
        "Labels of train.csv were mined from reports by rules; those of valid.csv and test.csv "
        "are radiologists' readings of the images, so train and test do not mean quite the same. "
        "-1 is uncertain. A finding that the report does not mention is blank: it counts as "
        "negative unless blanks are ignored. Every image of a study has the study's labels. "
        "Ages stop at 90. 8-bit JPEG without pixel spacing."
    ),
)

PATH = re.compile(
    r"^(?:[^./\\:][^/\\:]*/)?"
    r"(?P<folder>train|valid|test)/(?P<patient>patient[0-9]+)/(?P<study>study[0-9]+)/"
    r"(?P<name>\w[\w-]*\.(?:jpg|jpeg|png))\Z",
    re.ASCII,
)
BATCH = re.compile(r"CheXpert-v1\.0 batch [0-9]+ \((?P<what>train|validate).*\)")
SEXES = {"Male": "M", "Female": "F", "Unknown": np.nan, "": np.nan}
FRONTAL = {"Frontal": "frontal", "Lateral": "lateral"}
PROJECTIONS = {"AP": "AP", "PA": "PA", "LL": "", "RL": "", "": ""}
LABELS = {"1": 1.0, "0": 0.0, "-1": -1.0}
OLDEST = 120


class CheXpert:
    """CheXpert-v1.0, CheXpert-v1.0-small, or the batches of CheXpert-v1.0 as they are unpacked.

    `root` is the folder with train.csv and valid.csv, or the one above. The first folder of the
    paths in the tables may be called anything or be missing. train.csv is train; test.csv is
    test if it is there, and valid.csv is val; otherwise valid.csv, which radiologists read, is
    test, and val is for `prepare` to take from train. Without train.csv everything is test.

    `blank`: what a finding is that a report does not mention: negative (`zeros`) or unknown
    (`ignore`). "No Finding" is always 0 where blank: its labeller writes 1 or nothing. Uncertain
    labels stay -1. Age 0 means unknown.

    Raises `MedrobustError` when there is no such folder, and from `index` one for all problems
    of the tables.
    """

    task: Task = "multilabel"
    card = CARD

    def __init__(self, root: Path, *, blank: Blank = "zeros") -> None:
        if blank not in ("zeros", "ignore"):
            raise MedrobustError(f"blank: expected zeros or ignore, found {blank!r}")
        self.tables = find_folder(Path(root), _has_table, "train.csv or valid.csv of CheXpert")
        self.root = self.tables.parent if BATCH.fullmatch(self.tables.name) else self.tables
        self._blank = blank

    def index(self) -> pd.DataFrame:
        """One row per row of train.csv, valid.csv and test.csv; `study` is the study's folder."""
        names = [name for name in TABLES if (self.tables / name).is_file()]
        tables = [RawTable(self.tables / name) for name in names]
        rows = [
            self._rows(table, split) for table, split in zip(tables, _splits(names), strict=True)
        ]
        refuse_problems(tables)
        index = pd.concat(rows, ignore_index=True)
        if set(names) == {"train.csv"}:
            index = index.drop(columns="split")  # `prepare` then makes all three
        return index

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Decode one file."""
        pixels, note = read_grey(self.root / str(row["file"]))
        return Picture(pixels, 0.0, float(np.iinfo(pixels.dtype).max), note=note)

    def _rows(self, table: RawTable, split: str) -> pd.DataFrame:
        parts = _parts(table)
        files = self._files(parts)
        # One stat per file: 0.8 s for 223,414 files, where a walk through the 190,000 folders
        # takes 4 s.
        there = [os.path.exists(f"{self.root}/{file}") for file in files]
        stem = parts["name"].str.rpartition(".")[0]
        columns: dict[str, Any] = {
            "image_id": parts["folder"]
            + "-"
            + parts["patient"]
            + "-"
            + parts["study"]
            + "-"
            + stem,
            "patient_id": parts["patient"],
            "split": split,
            "source": self.card.name,
            "file": files,
            "age": _optional(table, "Age", _age, "an age in years").astype(float),
            "sex": _optional(table, "Sex", SEXES.__getitem__, "Male, Female or Unknown"),
            "view": _views(table, stem),
            "study": parts["study"],
            "problem": np.where(there, "", MISSING_FILE),
        }
        return pd.DataFrame(columns | _labels(table, self._blank))

    def _files(self, parts: pd.DataFrame) -> list[str]:
        """Return where the files are, below the root."""
        folders = parts["folder"] + "/" + parts["patient"]
        moved = _batches(self.root)
        ends = parts["study"] + "/" + parts["name"]
        return [f"{moved.get(a, a)}/{b}" for a, b in zip(folders, ends, strict=True)]


def _has_table(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TABLES[:2])


def _splits(names: list[str]) -> list[str]:
    if "train.csv" not in names:
        return ["test"] * len(names)
    valid = "val" if "test.csv" in names else "test"
    split = {"train.csv": "train", "valid.csv": valid, "test.csv": "test"}
    return [split[name] for name in names]


def _parts(table: RawTable) -> pd.DataFrame:
    """Return folder, patient, study and name of every path; problems are noted."""
    paths = table.text("Path")
    parts = paths.str.extract(PATH)
    wrong = parts["name"].isna().to_numpy()
    if table.find("Path") is not None:
        expected = "a path such as CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg"
        table.note("Path", wrong, expected)
        table.note("Path", parts.duplicated().to_numpy() & ~wrong, "each path once")
    return parts.fillna("")


def _batches(root: Path) -> dict[str, str]:
    """Where patients lie in the batches of the full download: train/patient00001 -> its folder."""
    moved: dict[str, str] = {}
    for batch in sorted(root.iterdir()):
        found = BATCH.fullmatch(batch.name)
        if found and found["what"] == "train":
            moved |= {f"train/{name}": f"{batch.name}/{name}" for name in os.listdir(batch)}
        elif found and (batch / "valid").is_dir():
            names = os.listdir(batch / "valid")
            moved |= {f"valid/{name}": f"{batch.name}/valid/{name}" for name in names}
    return moved


def _optional(table: RawTable, column: str, meaning: Any, expected: str) -> NDArray[np.object_]:
    """Return a column's values; all unknown where the table, such as that of test, has it not."""
    if table.find(column) is None and table.path.name == "test.csv":
        return np.full(len(table), np.nan, dtype=object)
    return table.values((column,), meaning, expected)


def _age(word: str) -> float:
    age = float(word or 0)
    if not 0 <= age <= OLDEST:
        raise ValueError
    return age or np.nan


def _views(table: RawTable, stem: "pd.Series[str]") -> "pd.Series[Any]":
    """AP, PA, lateral, or frontal where the projection is not known; by file name in test.csv."""
    if table.find("Frontal/Lateral") is None and table.path.name == "test.csv":
        return stem.str.rpartition("_")[2].str.lower().where(lambda word: word != "")
    side = table.values(("Frontal/Lateral",), FRONTAL.__getitem__, "Frontal or Lateral")
    projection = table.values(("AP/PA",), PROJECTIONS.__getitem__, "AP, PA, LL, RL or empty")
    known = (side == "frontal") & (projection != "")
    return pd.Series(np.where(known, projection, side))


def _labels(table: RawTable, blank: Blank) -> dict[str, NDArray[np.float64]]:
    columns = {canonical(column): column for column in table.columns}
    unsaid = 0.0 if blank == "zeros" else np.nan
    return {
        LABEL + finding: table.values(
            (columns.get(finding, finding),),
            _label(0.0 if finding == "No Finding" else unsaid).__getitem__,
            "1, 0, -1 or empty",
        ).astype(float)
        for finding in FINDINGS
    }


def _label(blank: float) -> dict[str, float]:
    return {"": blank} | LABELS | {f"{word}.0": value for word, value in LABELS.items()}
