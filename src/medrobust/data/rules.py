"""Labels derived from any column of a table: `sex:F`, `age>=65`, `Edema & view:AP|PA`."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.errors import MedrobustError, quoted

Column = Callable[[str], "pd.Series[Any]"]
"""Gives the column of a name, or raises `MedrobustError`."""

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
LABELS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}
LABELS |= {"-1": -1.0, "-1.0": -1.0}
SHOWN, REPEATED, LONGEST_CODE = 8, 3, 3
"""Values are shown of a column that has at most so many, each so often on average or so short."""


@dataclass(frozen=True)
class Term:
    """A condition on one column."""

    column: str
    values: tuple[str, ...] = ()
    """The cell is one of these, whatever the case; none: the cell is itself a label."""
    comparison: str = ""
    bound: float = 0.0

    def evaluate(self, column: Column) -> NDArray[np.float64]:
        """1, 0, -1 (uncertain) or NaN (empty cell) for each row."""
        cells = column(self.column)
        text = cells.astype("str").str.strip().str.casefold()
        empty = (cells.isna() | (text == "")).to_numpy()
        if self.comparison:
            truth = COMPARISONS[self.comparison](self._numbers(cells, empty), self.bound)
        elif self.values:
            truth = self._matches(text[~empty], text).to_numpy(float)
        else:
            truth = self._labels(cells, text, empty)
        known: NDArray[np.float64] = np.where(empty, np.nan, truth)
        return known

    def _matches(self, there: "pd.Series[str]", text: "pd.Series[str]") -> "pd.Series[bool]":
        missing = [value for value in self.values if value.casefold() not in set(there)]
        if missing:
            raise MedrobustError(
                f"column {self.column!r} nowhere has {missing[0]!r}: it has {_words(there)}"
            )
        return text.isin([value.casefold() for value in self.values])

    def _labels(
        self, cells: "pd.Series[Any]", text: "pd.Series[str]", empty: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        self._refuse(
            ~text.isin(LABELS) & ~empty, cells, "1, 0, -1 (uncertain), true, false or empty"
        )
        return np.asarray(text.map(LABELS), dtype=np.float64)

    def _numbers(self, cells: "pd.Series[Any]", empty: NDArray[np.bool_]) -> NDArray[np.float64]:
        numbers = pd.to_numeric(cells, errors="coerce")
        self._refuse(numbers.isna() & ~empty, cells, "numbers or empty")
        return np.asarray(numbers, dtype=np.float64)

    def _refuse(self, wrong: "pd.Series[bool]", cells: "pd.Series[Any]", expected: str) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise MedrobustError(
                f"column {self.column!r}, data row {row + 1}: expected {expected}, "
                f"found {quoted(cells.iloc[row])} ({int(wrong.sum())} such rows)"
            )


@dataclass(frozen=True)
class Rule:
    """All of several conditions."""

    terms: tuple[Term, ...]

    def evaluate(self, column: Column) -> "pd.Series[float]":
        """0 where a condition fails; else NaN where one is unknown; else -1 where one is uncertain;
        else 1.
        """
        values = np.stack([term.evaluate(column) for term in self.terms])
        product = np.where((values == -1).any(axis=0), -1.0, 1.0)
        product[np.isnan(values).any(axis=0)] = np.nan
        product[(values == 0).any(axis=0)] = 0.0
        return pd.Series(product)


def parse_rule(text: str) -> Rule:
    """Read `COLUMN`, `COLUMN:VALUE|VALUE`, `COLUMN>=NUMBER` or several of them joined by `&`.

    Raises:
        MedrobustError: something else.
    """
    return Rule(tuple(_term(part.strip(), text) for part in text.split("&")))


def _words(cells: "pd.Series[str]") -> str:
    """The values of a column that has few of them; of many, which may be names, their number."""
    values = sorted(cells.unique())
    codes = all(len(value) <= LONGEST_CODE for value in values)
    if len(values) > SHOWN or not (codes or len(cells) >= REPEATED * len(values)):
        return f"{len(values)} other values"
    return ", ".join(values)


def _term(part: str, text: str) -> Term:
    compared = re.fullmatch(r"(.+?)\s*(>=|<=|>|<)\s*([-+.\deE]+)", part)
    if compared:
        return Term(compared[1], comparison=compared[2], bound=_number(compared[3], text))
    column, colon, values = part.rpartition(":")
    wanted = tuple(value.strip() for value in values.split("|"))
    if colon and column.strip() and all(wanted):
        return Term(column.strip(), wanted)
    if not part or colon or set("<>") & set(part):
        raise MedrobustError(
            f"expected COLUMN, COLUMN:VALUE or COLUMN>=NUMBER, joined by &, found {text!r}"
        )
    return Term(part)


def _number(word: str, text: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise MedrobustError(f"expected a number behind the comparison in {text!r}") from error
