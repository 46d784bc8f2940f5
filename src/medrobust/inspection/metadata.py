"""Who the patients are and how they were examined, and whether splits differ in that."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.store import Store
from medrobust.data.table import LABEL, NUMBERS
from medrobust.inspection.labels import splits_of

Values = NDArray[np.float64]

FIXED = {"image_id", "patient_id", "split", "file"} | (NUMBERS - {"age"})
FEW = 12
"""Text columns with more different values are taken for numbers, or left out."""
AGAIN = 5
"""So are those whose values do not come so often on average: names, dates, numbers of studies."""
NOTABLE = 0.2
"""A standardised difference from which on it is called one (Cohen 1988 calls 0.2 small)."""
CHANCE = 3.0
"""Standard errors that a difference must have besides, so that small splits do not cry wolf."""


def numbers(store: Store) -> pd.DataFrame:
    """Per column of numbers and split: `known, unknown, mean, sd, low, q1, median, q3, high`."""
    columns = ["column", "split", "known", "unknown", "mean", "sd"]
    columns += ["low", "q1", "median", "q3", "high"]
    rows = []
    for name, values in number_columns(store).items():
        for split in splits_of(store):
            part = values[store.rows(split)]
            known = part[~np.isnan(part)]
            if len(known):
                spread = (known.mean(), known.std(), *np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
            else:
                spread = (np.nan,) * 7
            rows.append((name, split, len(known), len(part) - len(known), *spread))
    return pd.DataFrame(rows, columns=columns)


def categories(store: Store) -> pd.DataFrame:
    """Per column of words, value and split: `images`, and `share` of the known; empty: unknown."""
    rows = []
    for name, values in _word_columns(store).items():
        for split in splits_of(store):
            part = values.iloc[store.rows(split)].fillna("")
            counts = part.value_counts().to_dict()
            known = len(part) - counts.get("", 0)
            for value in sorted(set(values.dropna())) + ([""] if values.isna().any() else []):
                count = counts.get(value, 0)
                share = count / known if known and value else np.nan
                rows.append((name, value, split, count, share))
    return pd.DataFrame(rows, columns=["column", "value", "split", "images", "share"])


def number_columns(store: Store) -> dict[str, Values]:
    """Age, and every text column of many different numbers: name -> (N,) with NaN = unknown."""
    found: dict[str, Values] = {}
    for name in _metadata(store):
        column = store.table[name]
        if name == "age" or not _is_words(column):
            values = pd.to_numeric(column, errors="coerce")
            if values.notna().sum() == column.notna().sum() > 0:
                found[name] = values.to_numpy(np.float64)
    return found


def unshown(store: Store) -> list[str]:
    """Columns with so many different words that they are not described."""
    shown = {**number_columns(store), **_word_columns(store)}
    return [name for name in _metadata(store) if name not in shown and store.table[name].any()]


def differences(store: Store) -> pd.DataFrame:
    """How far splits differ: `what, split, other_split, difference, notable`.

    The difference is standardised (of means, over the root of the mean variance; Austin, Stat
    Med 28:3083, 2009), for ages and other numbers, for every word of a column and for every
    finding. It is `notable` from 0.2 on, if it is also more than three standard errors.
    """
    patients, _ = pd.factorize(store.table["patient_id"])
    splits = splits_of(store)
    rows = []
    for what, values in _variables(store):
        measured = {split: _measure(values, patients, store.rows(split)) for split in splits}
        for one, other in combinations(splits, 2):
            found = _difference(measured[one], measured[other])
            if found is not None:
                rows.append((what, one, other, *found))
    columns = ["what", "split", "other_split", "difference", "notable"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"difference": float, "notable": bool})


def _metadata(store: Store) -> list[str]:
    names = [str(name) for name in store.table.columns]
    columns = [name for name in names if name not in FIXED and not name.startswith(LABEL)]
    several = store.table["source"].nunique() > 1
    return [name for name in columns if name != "source" or several]


def _word_columns(store: Store) -> dict[str, "pd.Series[str]"]:
    columns = {name: store.table[name] for name in _metadata(store) if name != "age"}
    return {name: column for name, column in columns.items() if _is_words(column)}


def _is_words(column: "pd.Series[str]") -> bool:
    """Whether few values come again and again, so that counting them says something."""
    different, known = column.nunique(), int(column.notna().sum())
    return 0 < different <= min(FEW, max(2, known // AGAIN))


def _variables(store: Store) -> Iterator[tuple[str, Values]]:
    yield from number_columns(store).items()
    for name, column in _word_columns(store).items():
        for value in sorted(set(column.dropna())):
            yield f"{name}: {value}", np.where(column.isna(), np.nan, column == value)
    for number, finding in enumerate(store.findings):
        yield finding, store.labels[:, number].astype(np.float64)


def _measure(
    values: Values, patients: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[float, float, int]:
    """Mean, variance and number of patients of the known values."""
    part = values[rows]
    known = ~np.isnan(part)
    if not known.any():
        return np.nan, np.nan, 0
    return (
        float(part[known].mean()),
        float(part[known].var()),
        len(np.unique(patients[rows[known]])),
    )


def _difference(
    one: tuple[float, float, int], other: tuple[float, float, int]
) -> tuple[float, bool] | None:
    if not (one[2] and other[2]):
        return None
    gap, spread = one[0] - other[0], np.sqrt((one[1] + other[1]) / 2)
    if gap == 0:
        return 0.0, False
    difference = gap / spread if spread > 0 else np.copysign(np.inf, gap)
    error = np.sqrt(1 / one[2] + 1 / other[2])
    return float(difference), bool(abs(difference) >= max(NOTABLE, CHANCE * error))
