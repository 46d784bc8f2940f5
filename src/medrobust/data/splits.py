"""Train, val and test, by patient."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.errors import MedrobustError, quoted

SPLITS = ("train", "val", "test")
SYNONYMS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
Fractions = tuple[float, float, float]


def assign_splits(table: pd.DataFrame, fractions: Fractions, seed: int) -> list[str]:
    """Fill the column `split` where the data set has none; return what should be known of it.

    A data set with train and test only gets its val out of train's patients; a data set of
    which every image is test (an external test set) stays as it is.
    """
    check_fractions(fractions)
    patients = table["patient_id"]
    if "split" not in table:
        table["split"] = split_by_patient(patients, fractions, seed)
        return [f"split by patient with seed {seed}: the data set names no split"]
    if set(table["split"].dropna()) != {"train", "test"} or table["split"].isna().any():
        return []
    train, val, _ = fractions
    share = val / (train + val) if train + val else 0.0
    carved = split_by_patient(patients, (1 - share, share, 0.0), seed)
    table["split"] = np.where(table["split"] == "train", carved, table["split"])
    return [f"val was taken from train by patient with seed {seed}: the data set names none"]


def split_by_patient(patients: pd.Series, fractions: Fractions, seed: int) -> NDArray[np.object_]:
    """Return train, val or test for each row, the same for all rows of a patient.

    A patient's place is a hash of (seed, patient) in [0, 1), so it depends neither on the
    order of rows nor on the other patients.
    """
    codes, unique = pd.factorize(patients)
    places = np.array([_place(str(patient), seed) for patient in unique])
    edges = np.cumsum(fractions)[:2]
    names = np.array(SPLITS, dtype=object)
    # A split of no share must stay empty although edges carry rounding errors.
    names = np.where(np.array(fractions) > 0, names, SPLITS[int(np.argmax(fractions))])
    chosen: NDArray[np.object_] = names[np.searchsorted(edges, places, side="right")][codes]
    return chosen


def canonical_splits(values: "pd.Series[Any]", column: str) -> pd.Series:
    """Return train, val, test or NaN for a data set's own words, whatever their case.

    Raises `MedrobustError` naming the column, the first row and its value.
    """
    words = values.astype("str").str.strip().str.lower()
    known = words.map(SYNONYMS)
    empty = values.isna() | (words == "")
    wrong = known.isna() & ~empty
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise MedrobustError(
            f"column {column!r}, data row {row + 1}: expected one of {', '.join(SYNONYMS)} "
            f"or empty, found {quoted(values.iloc[row])}"
        )
    return known.astype(object).where(~empty, np.nan)


def parse_fractions(text: str) -> Fractions:
    """Read `0.7,0.1,0.2`.

    Raises `MedrobustError` unless these are three fractions that sum to 1.
    """
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise MedrobustError(
            f"expected three fractions such as 0.7,0.1,0.2 for train, val and test, found {text!r}"
        ) from error
    check_fractions((train, val, test))
    return train, val, test


def check_fractions(fractions: Fractions) -> None:
    """Raise `MedrobustError` unless there are three fractions in [0, 1] that sum to 1."""
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise MedrobustError(
            f"expected three fractions for train, val and test that sum to 1, got {fractions}"
        )


def _place(patient: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{patient}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
