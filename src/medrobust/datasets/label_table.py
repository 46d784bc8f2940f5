"""Somebody's own table of labels: a CSV whose columns have any names."""

import csv
import difflib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medrobust.data.rules import Rule, Term, parse_rule
from medrobust.data.splits import canonical_splits
from medrobust.data.table import LABEL, NUMBERS
from medrobust.errors import MedrobustError, quoted


class LabelTable:
    """A CSV of labels, metadata and splits, and which column is which.

    `labels`: finding -> column with 1, 0, true, false, -1 (uncertain) or empty (unknown), or a
    rule such as `sex:F` (see `data.rules`). `split_column`: train, val, test and their common
    synonyms. `metadata`: `age`, `sex`, `view` or any other name -> column.

    Raises `MedrobustError` when a name of metadata is one the store uses.
    """

    def __init__(
        self,
        path: Path,
        labels: Mapping[str, str],
        metadata: Mapping[str, str] | None = None,
        split_column: str | None = None,
    ) -> None:
        self.path, self.labels = path, dict(labels)
        self._metadata, self._split_column = dict(metadata or {}), split_column
        _expect_free(self._metadata)

    def column(self, name: str) -> "pd.Series[Any]":
        """The cells of a column; `MedrobustError` with near names if there is none."""
        if name not in self._cells:
            near = difflib.get_close_matches(name, list(self._cells.columns), n=1)
            hint = f", did you mean {near[0]!r}?" if near else ":"
            there = ", ".join(self._cells.columns)
            raise MedrobustError(f"{self.path} has no column {name!r}{hint} it has {there}")
        return self._cells[name]

    def described(self) -> pd.DataFrame:
        """Metadata, `split` and `label:<finding>` of each row, as an index has them."""
        columns: dict[str, Any] = {
            name: self.column(column).replace("", np.nan) for name, column in self._metadata.items()
        }
        if "age" in columns:
            columns["age"] = self._numbers(columns["age"], self._metadata["age"])
        if self._split_column is not None:
            columns["split"] = canonical_splits(self.column(self._split_column), self._split_column)
        for finding, text in self.labels.items():
            columns[LABEL + finding] = self._label(text)
        return pd.DataFrame(columns, index=self._cells.index)

    @cached_property
    def _cells(self) -> pd.DataFrame:
        return read_foreign_table(self.path)

    def _label(self, text: str) -> "pd.Series[Any]":
        rule = Rule((Term(text),)) if text in self._cells else parse_rule(text)
        try:
            return rule.evaluate(self.column)
        except MedrobustError as error:
            where = "" if str(error).startswith(str(self.path)) else f"{self.path}: "
            raise MedrobustError(f"{where}{error}") from error

    def _numbers(self, values: "pd.Series[Any]", column: str) -> "pd.Series[Any]":
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = numbers.isna() & values.notna()
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise MedrobustError(
                f"{self.path}: column {column!r}, data row {row + 1}: expected numbers or empty, "
                f"found {quoted(self.column(column).iloc[row])} ({int(wrong.sum())} such rows)"
            )
        return numbers


def read_foreign_table(path: Path) -> pd.DataFrame:
    """Read somebody's CSV as text, cells and column names stripped of surrounding spaces.

    The separator is the one of comma, semicolon and tab that is most frequent in the first line.
    Raises `MedrobustError` when there is no such file, or it is not UTF-8, empty or ragged.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            lines = [
                [cell.strip() for cell in line] for line in csv.reader(file, delimiter=separator)
            ]
    except FileNotFoundError as error:
        raise MedrobustError(f"expected a table at {path}, found no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedrobustError(
            f"{path} cannot be read as UTF-8 CSV: {error}; save it as CSV in UTF-8"
        ) from error
    return _frame(path, [line for line in lines if any(line)])


def _frame(path: Path, lines: list[list[str]]) -> pd.DataFrame:
    if len(lines) < 2:
        raise MedrobustError(f"{path}: expected a header and at least one row, found {len(lines)}")
    header, *rows = lines
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise MedrobustError(
                f"{path}, data row {number}: expected {len(header)} cells as in the header, "
                f"found {len(row)}"
            )
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    if doubled:
        raise MedrobustError(f"{path}: column {doubled[0]!r} appears twice")
    return pd.DataFrame(rows, columns=header, dtype="str")


def _expect_free(names: Iterable[str]) -> None:
    taken = {"image_id", "patient_id", "split", "source", "file", *NUMBERS} - {"age"}
    for name in names:
        if name in taken or name.startswith(LABEL):
            raise MedrobustError(f"metadata {name!r} needs another name: the store uses this one")
