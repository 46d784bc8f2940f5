"""Texts of readers in CSV: a spreadsheet must show them, not run them.

A cell that begins with one of a few signs is a formula to spreadsheets, and may then send what
stands in other cells elsewhere, or start programs (OWASP, "CSV Injection"). A `'` before it makes
it text.
"""

import re
from collections.abc import Iterable

import pandas as pd

BEGINS = re.compile("['=+\\-@\\t\\r\\n\uff0b\uff0d\uff1d\uff20]")
"""The last ones are the wide +, -, = and @. `'` is among them, so that a cell without its first
`'` is always what was written."""
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


def as_text(cell: str) -> str:
    """The cell, with a `'` before it if it could be taken for a formula; `-1` is a number."""
    return f"'{cell}" if BEGINS.match(cell) and not NUMBER.fullmatch(cell) else cell


def without_formulas(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The table with these columns' texts by `as_text`; other values are as they were."""
    made = table.copy()
    for name in columns:
        if name in made:
            made[name] = made[name].map(_cell)
    return made


def _cell(value: object) -> object:
    return as_text(value) if isinstance(value, str) else value
