"""What the columns of NIH ChestX-ray14's table of images mean."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.splits import SYNONYMS
from medrobust.data.table import LABEL
from medrobust.data.vocabulary import canonical
from medrobust.datasets.raw import RawTable

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Pleural Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural Thickening",
    "Pneumonia",
    "Pneumothorax",
    "No Finding",
)
NAME = re.compile(r"\w[\w.-]*\.png\Z", re.ASCII)
AGE = re.compile(r"([0-9]{1,3})([YMWD]?)\Z")
YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
OLDEST = 120
SEXES = {"M": "M", "F": "F", "": np.nan}
VIEWS = {"PA": "PA", "AP": "AP", "": "frontal"}
SPLIT_WORDS = SYNONYMS | {"train_val": "train", "trainval": "train"}
WIDTH = ("OriginalImage[Width", "OriginalImageWidth")
HEIGHT = ("Height]", "OriginalImageHeight")
SPACING_X = ("OriginalImagePixelSpacing[x", "OriginalImagePixelSpacing_x")
SPACING_Y = ("y]", "OriginalImagePixelSpacing_y")


def names_of(table: RawTable) -> "pd.Series[str]":
    """Return the names of the files; such as would leave their folder, and doubles, are noted."""
    names = table.text("Image Index")
    if table.find("Image Index"):
        table.note(
            "Image Index", ~names.str.match(NAME).to_numpy(), "a name such as 00000001_000.png"
        )
        table.note("Image Index", names.duplicated().to_numpy(), "each image once")
    return names


def patients_of(table: RawTable) -> "pd.Series[str]":
    """Return the patients; empty cells are noted."""
    patients = table.text("Patient ID")
    if table.find("Patient ID"):
        table.note("Patient ID", (patients == "").to_numpy(), "a patient")
    return patients


def listed_splits(
    table: RawTable, names: "pd.Series[str]", lists: Mapping[str, set[str] | None]
) -> NDArray[np.object_]:
    """Return train and test by the official lists; images in both or neither are noted."""
    places = {split: names.isin(listed or ()).to_numpy() for split, listed in lists.items()}
    if table.find("Image Index"):
        in_lists = np.sum(list(places.values()), axis=0)
        table.note("Image Index", in_lists > 1, "an image in one of the official lists, not both")
        table.note(
            "Image Index", in_lists < 1, "an image in one of the official lists, not neither"
        )
    return np.where(places["test"], "test", "train").astype(object)


def split_column(table: RawTable, column: str) -> NDArray[np.object_]:
    """Return train, val and test by a column of train_val, train, val and test."""
    return table.values(
        (column,), lambda word: SPLIT_WORDS[word.lower()], "train_val, train, val or test"
    )


def ages_of(table: RawTable) -> tuple[NDArray[np.float64], list[str]]:
    """Return ages in years, and what is to be known of them.

    58 and 058Y are years, 006M months, 003W weeks, 012D days. The table of 2017 has ages such as
    414, which count as unknown.
    """
    ages = table.values(("Patient Age",), _age, "an age such as 58 or 058Y").astype(float)
    old = ages > OLDEST
    notes = [f"{int(old.sum())} ages above {OLDEST} years count as unknown"] if old.any() else []
    return np.where(old, np.nan, ages), notes


def extent_of(table: RawTable) -> dict[str, NDArray[np.float64]]:
    """Return how wide and high the radiograph is in millimetres, at the detector.

    The original matrix times the original spacing; how many pixels the PNG has does not matter.
    """
    extents = {}
    for name, sizes, spacings in (
        ("width_mm", WIDTH, SPACING_X),
        ("height_mm", HEIGHT, SPACING_Y),
    ):
        if table.find(*sizes) and table.find(*spacings):
            size, spacing = (
                table.values(columns, _positive, "a positive number or empty").astype(float)
                for columns in (sizes, spacings)
            )
            extents[name] = size * spacing
    return extents


def labels_of(table: RawTable) -> dict[str, NDArray[np.float64]]:
    """Return the columns of labels: 1 if a finding is named, else 0."""
    expected = "names of the 14 findings with | between them, or No Finding alone"
    said = table.values(("Finding Labels",), _findings, expected)
    return {
        LABEL + finding: np.array([finding in (some or ()) for some in said], dtype=float)
        for finding in FINDINGS
    }


def _age(word: str) -> float:
    found = AGE.match(word.upper())
    if not found and word:
        raise ValueError
    return float(found[1]) * YEARS[found[2]] if found else np.nan


def _positive(word: str) -> float:
    number = float(word or np.nan)
    if word and not 0 < number < np.inf:
        raise ValueError
    return number


def _findings(cell: str) -> frozenset[str]:
    findings = frozenset(canonical(word) for word in cell.split("|"))
    if findings - set(FINDINGS) or ("No Finding" in findings and len(findings) > 1):
        raise ValueError
    return findings
