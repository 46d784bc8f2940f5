"""`sanity.csv`: what each check of a saliency method has found, a row per number."""

from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from medrobust.errors import MedrobustError, quoted
from medrobust.explain.tables import replace_rows

Verdict = Literal["pass", "fail", "not checked", ""]
"""Empty where a number is for information only."""

COLUMNS = (
    *("store", "split", "branch", "method", "finding"),
    *("check", "against", "value", "low", "high", "n", "verdict", "detail"),
)
NUMBERS = ("value", "low", "high")
ONE_CHECK = ("store", "split", "branch", "method", "finding", "check")
"""What a newer row shares with those that it replaces."""
RESEMBLANCE = 0.5
"""Rank correlation from which two maps count as alike.

A quarter of the variance of one map's ranks is then the other's. Where this was tried (six methods
on PneumoniaMNIST) maps of a network with fresh weights reached at most 0.21; an edge detector
reaches 1 with any weights.
"""

WHOLE = "all layers"
"""What the verdict of the randomisation is against; its other rows are the layers on the way."""


class Outcome(NamedTuple):
    """One number of one check."""

    check: str
    against: str
    """What the map was compared with."""
    value: float = np.nan
    """The mean over images; NaN if nothing was measured."""
    low: float = np.nan
    high: float = np.nan
    """95 % interval by bootstrap of patients."""
    n: int = 0
    """Images behind it."""
    verdict: Verdict = ""
    detail: str = ""
    """For a reader."""


def read_sanity(path: Path) -> pd.DataFrame:
    """Text as str (empty, not NaN), numbers as float, `n` as int.

    Raises:
        MedrobustError: no such table, or a verdict that is none.
    """
    text = _as_text(path)
    unknown = [verdict for verdict in text["verdict"] if verdict not in get_args(Verdict)]
    if unknown:
        raise MedrobustError(
            f"{path}: expected verdicts pass, fail, not checked or none, found "
            f"{quoted(unknown[0])}; run `explain` again"
        )
    try:
        numbers: dict[str, Any] = {
            name: [float(x) if x else np.nan for x in text[name]] for name in NUMBERS
        }
        return text.assign(**numbers, n=text["n"].astype(int))
    except ValueError as error:
        raise MedrobustError(
            f"{path}: expected a table of sanity checks, found: {error}; run `explain` again"
        ) from error


def merge_sanity(path: Path, rows: pd.DataFrame) -> None:
    """Add rows to the table; they replace older ones of the same check.

    A check that was not made for want of another run, or of patients, replaces none that was.

    Raises:
        MedrobustError: the older table is damaged.
    """
    if path.is_file():
        older = read_sanity(path)
        made = set(map(tuple, older.loc[older["n"] > 0, list(ONE_CHECK)].to_numpy()))
        known = [tuple(row) in made for row in rows[list(ONE_CHECK)].to_numpy()]
        wanting = (rows["verdict"] == "not checked") & (rows["against"] == "")
        rows = rows[~(wanting & np.array(known, bool))]
    replace_rows(path, rows, ONE_CHECK)


def _as_text(path: Path) -> pd.DataFrame:
    try:
        text = pd.read_csv(path, dtype="str", keep_default_na=False)
    except (OSError, ValueError) as error:
        raise MedrobustError(
            f"{path}: expected a table of sanity checks, found: {str(error).splitlines()[0]}; "
            "remove it and run `explain` again"
        ) from error
    if tuple(text.columns) != COLUMNS:
        raise MedrobustError(
            f"{path}: expected columns {', '.join(COLUMNS)}, found {', '.join(text.columns)}; "
            "remove it and run `explain` again"
        )
    return text
