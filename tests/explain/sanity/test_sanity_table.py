from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.errors import MedrobustError
from medrobust.explain.sanity.table import COLUMNS, Outcome, merge_sanity, read_sanity


def rows(method: str, *outcomes: Outcome, finding: str = "nodule") -> pd.DataFrame:
    head = ("phantom", "test", "clean", method, finding)
    return pd.DataFrame([(*head, *outcome) for outcome in outcomes], columns=list(COLUMNS))


def test_newer_rows_replace_those_of_the_same_question(tmp_path: Path) -> None:
    path = tmp_path / "explain" / "sanity.csv"
    first = Outcome("noise", "noise", 0.1, 0.0, 0.2, 5, "fail", "a, b")
    merge_sanity(path, rows("gradient", first, Outcome("other", "x", 1 / 3)))
    merge_sanity(path, rows("edge", first))
    merge_sanity(path, rows("gradient", first, finding="mass"))
    merge_sanity(path, rows("gradient", first._replace(value=0.9)))
    found = read_sanity(path)
    assert list(zip(found["method"], found["finding"], found["check"], strict=True)) == [
        ("gradient", "nodule", "other"),
        ("edge", "nodule", "noise"),
        ("gradient", "mass", "noise"),
        ("gradient", "nodule", "noise"),
    ]
    assert found["value"].tolist() == [1 / 3, 0.1, 0.1, 0.9]
    assert found["n"].tolist() == [0, 5, 5, 5]
    assert found["detail"].tolist() == ["", "a, b", "a, b", "a, b"]
    assert np.isnan(found["low"][0])
    assert found["verdict"].tolist() == ["", "fail", "fail", "fail"]


def test_what_was_measured_outlives_what_could_not_be(tmp_path: Path) -> None:
    path = tmp_path / "sanity.csv"
    measured = Outcome("labels", "shuffled, seed 0", 0.1, 0.0, 0.2, 5, "pass")
    wanting = Outcome("labels", "", verdict="not checked", detail="no run was given")
    refused = Outcome("labels", "dual, seed 1", verdict="not checked", detail="the same run")

    def after(outcome: Outcome) -> list[str]:
        merge_sanity(path, rows("gradient", outcome))
        return list(read_sanity(path)["against"])

    assert after(wanting) == [""]
    assert after(wanting) == [""]
    assert after(measured) == ["shuffled, seed 0"]
    assert after(wanting) == ["shuffled, seed 0"]
    assert after(refused) == ["dual, seed 1"]
    assert after(wanting) == [""]


def test_a_check_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "sanity.csv"
    first = Outcome("noise", "noise", 0.1, 0.0, 0.2, 5, "fail")
    merge_sanity(path, rows("gradient", first, first._replace(against="more noise")))
    merge_sanity(path, rows("gradient", first).assign(branch="adv"))
    merge_sanity(path, rows("gradient", first._replace(value=0.2)))
    assert list(zip(*(read_sanity(path)[c] for c in ("branch", "value")), strict=True)) == [
        ("adv", 0.1),
        ("clean", 0.2),
    ]


def test_no_such_table(tmp_path: Path) -> None:
    path = tmp_path / "sanity.csv"
    path.write_text("store,split\na,b\n")
    text = f"^{path}: expected columns store, split, .*, detail, found store, split; remove it and "
    for read in (read_sanity, lambda p: merge_sanity(p, rows("edge"))):
        with pytest.raises(MedrobustError, match=text + "run `explain` again$"):
            read(path)
    path.write_text("")
    text = "expected a table of sanity checks, found: No columns to parse from file; remove it and"
    with pytest.raises(MedrobustError, match=text):
        read_sanity(path)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("verdict", "maybe", "expected verdicts pass, fail, not checked or none, found 'maybe'"),
        ("low", "few", "expected a table of sanity checks, found: could not convert string to"),
    ],
)
def test_damaged_cells(tmp_path: Path, column: str, value: str, text: str) -> None:
    path = tmp_path / "sanity.csv"
    table = rows("edge", Outcome("noise", "noise", 0.1, 0.0, 0.2, 5, "fail")).astype(object)
    table[column] = value
    table.to_csv(path, index=False)
    with pytest.raises(MedrobustError, match=text):
        read_sanity(path)
