"""A table (CSV) and a folder of PNG or JPEG images."""

import csv
import difflib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from medrobust.data.decode import read_grey
from medrobust.data.source import Card, Picture, Task
from medrobust.data.splits import canonical_splits
from medrobust.data.table import LABEL, NUMBERS
from medrobust.datasets.arrays import Window, own_card
from medrobust.errors import MedrobustError

WORDS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "": np.nan}
SUFFIXES = {".png", ".jpg", ".jpeg"}


class Images:
    """Images listed in a table, one row per image.

    `image_column` holds paths relative to `root`. `labels`: finding -> column with 1, 0, true,
    false or empty (unknown). `split_column`: train, val, test and their common synonyms.
    `metadata`: `age`, `sex`, `view` or any other name -> column. `window`: native values of
    x = 0 and x = 1, by default the range of the file's type (0..255, or 0..65535 for 16 bits).
    The table is UTF-8, separated by comma, semicolon or tab.

    Raises `MedrobustError` when the table cannot be read or a column is missing.
    """

    def __init__(
        self,
        table: Path,
        root: Path,
        *,
        image_column: str,
        labels: Mapping[str, str],
        patient_column: str | None = None,
        split_column: str | None = None,
        metadata: Mapping[str, str] | None = None,
        task: Task = "multilabel",
        window: Window | None = None,
        card: Card | None = None,
    ) -> None:
        self.path, self.root = Path(table), Path(root)
        self.task, self.card = task, card or own_card(self.path)
        self._window = window
        self._image_column, self._labels = image_column, dict(labels)
        self._optional = dict(metadata or {})
        self._split_column = split_column
        _expect_free(self._optional)
        if patient_column is not None:
            self._optional["patient_id"] = patient_column
        if not self.root.is_dir():
            raise MedrobustError(f"expected a folder of images at {self.root}, found none")

    def index(self) -> pd.DataFrame:
        """One row per row of the table, in its order; image ids are the paths with '-' for '/'."""
        files = self._column(self._image_column).map(self._relative)
        columns: dict[str, Any] = {
            "image_id": files.map(_image_id),
            "source": self.card.name,
            "file": files,
        }
        for name, column in self._optional.items():
            columns[name] = self._column(column).replace("", np.nan)
        if "age" in columns:
            columns["age"] = self._numbers(columns["age"], self._optional["age"])
        if self._split_column is not None:
            columns["split"] = canonical_splits(
                self._column(self._split_column), self._split_column
            )
        for finding, column in self._labels.items():
            columns[LABEL + finding] = self._label(column)
        return pd.DataFrame(columns)

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Decode one file."""
        pixels, note = read_grey(self.root / str(row["file"]))
        low, high = self._window or (0.0, float(np.iinfo(pixels.dtype).max))
        return Picture(pixels, low, high, note=note)

    @cached_property
    def _table(self) -> pd.DataFrame:
        return read_foreign_table(self.path)

    def _column(self, name: str) -> "pd.Series[Any]":
        if name not in self._table:
            near = difflib.get_close_matches(name, list(self._table.columns), n=1)
            hint = f", did you mean {near[0]!r}?" if near else ":"
            there = ", ".join(self._table.columns)
            raise MedrobustError(f"{self.path} has no column {name!r}{hint} it has {there}")
        return self._table[name]

    def _relative(self, text: str) -> str:
        path = PurePosixPath(text.replace("\\", "/"))
        if not path.parts:
            raise MedrobustError(f"{self.path}: column {self._image_column!r} has empty cells")
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise MedrobustError(
                f"{self.path}: expected paths below the folder of images, found {text!r}"
            )
        return str(path)

    def _label(self, column: str) -> "pd.Series[Any]":
        words = self._column(column)
        numbers = words.str.lower().map(WORDS)
        wrong = ~words.str.lower().isin(WORDS.keys())
        if wrong.any():
            self._refuse(column, wrong, "1, 0, true, false or empty")
        return numbers

    def _numbers(self, values: "pd.Series[Any]", column: str) -> "pd.Series[Any]":
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = numbers.isna() & values.notna()
        if wrong.any():
            self._refuse(column, wrong, "numbers or empty")
        return numbers

    def _refuse(self, column: str, wrong: "pd.Series[bool]", expected: str) -> None:
        row = int(np.flatnonzero(wrong)[0])
        raise MedrobustError(
            f"{self.path}: column {column!r}, data row {row + 1}: expected {expected}, "
            f"found {self._column(column).iloc[row]!r} ({int(wrong.sum())} such rows)"
        )


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
        raise MedrobustError(f"{path} cannot be read as UTF-8 CSV: {error}") from error
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


def _image_id(file: str) -> str:
    path = PurePosixPath(file)
    return "-".join((path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).parts)
