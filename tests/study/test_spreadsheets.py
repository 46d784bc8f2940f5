"""Cells that a spreadsheet would run are none, and what was written can be read back."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from medrobust.study.spreadsheets import as_text, without_formulas


@given(st.text("=+-@'\t\r\n1.a ", max_size=6))
def test_no_cell_is_run_and_none_is_lost(written: str) -> None:
    cell = as_text(written)
    assert cell == written or cell == f"'{written}"
    assert written == (cell[1:] if cell.startswith("'") else cell)
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n"):
        assert float(cell.replace(",", ".")) is not None  # a number, or this raises


def test_words_stay_as_they_are() -> None:
    for text in ("", "a=1", " =1", "left-sided", "-1", "+2,5", "5"):
        assert as_text(text) == text


def test_texts_of_the_named_columns_alone() -> None:
    table = pd.DataFrame({"said": ["=1", None, "a"], "other": ["=1", "=2", "=3"], "n": [-1, 2, 3]})
    made = without_formulas(table, ["said", "n", "absent"])
    assert made["said"].tolist()[::2] == ["'=1", "a"]
    assert made["said"].isna().tolist() == [False, True, False]
    assert made["other"].tolist() == ["=1", "=2", "=3"]
    assert made["n"].tolist() == [-1, 2, 3]
    assert table["said"][0] == "=1"
