import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medrobust.datasets.raw import RawTable, read_cells, refuse_problems
from medrobust.errors import MedrobustError

CELL = st.text(st.sampled_from("ab0 ,;\t\"'\n\ré-#."), max_size=6)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5))
def test_cells_are_those_of_the_csv_module(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("one", "two", "three"), *rows])
    assert read_cells(path).to_numpy().tolist() == [list(row) for row in rows]


def test_columns_without_a_name_are_left_out_and_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\ufeffa,,b ,,\n1,2,3,,\n4,5,6\n\n", encoding="utf-8")
    assert read_cells(path).to_dict("list") == {"a": ["1", "4"], "b": ["3", "6"]}
    path.write_text("a;b\n1,5;2\n")
    assert read_cells(path).to_dict("list") == {"a": ["1,5"], "b": ["2"]}


def test_problems_are_counted_by_column(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n 1 ,x\n2,y\n3,x\n")
    table = RawTable(path)
    refuse_problems([table])
    assert table.values(("none", "a"), int, "a number").tolist() == [1, 2, 3]
    assert table.values(("b",), {"y": 5}.__getitem__, "y").tolist() == [None, 5, None]
    assert table.text("c").tolist() == ["", "", ""]
    with pytest.raises(MedrobustError) as caught:
        refuse_problems([table])
    assert str(caught.value) == (
        "2 problems in the data set's tables: table.csv: there is no column 'c'; "
        "table.csv: column 'b', data row 1: expected y, found 'x' (2 such rows)"
    )
