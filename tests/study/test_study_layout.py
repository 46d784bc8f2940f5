import numpy as np
import pytest

from medrobust.errors import MedrobustError
from medrobust.study.statistics.layout import complete, pivoted


def test_answers_become_a_table_with_nan_where_there_is_none():
    readers, cases = ["b", "a", "b"], [7, 7, 3]
    table, (first, second) = pivoted([1, 2, 5], [readers, cases])
    assert (list(first), list(second)) == (["a", "b"], [3, 7])
    np.testing.assert_array_equal(table, [[np.nan, 2], [5, 1]])


def test_two_answers_in_one_place_are_refused():
    message = (
        "expected one answer per 2 keys, found 3 in one place: "
        "take hidden repeats out or average them first"
    )
    with pytest.raises(MedrobustError) as error:
        pivoted([1, 2, 5, 4], [list("aaab"), [7, 7, 7, 7]])
    assert str(error.value) == message


def test_incomplete_rows_are_left_out_and_counted():
    rows, left_out = complete([[1, 2], [np.nan, 3], [4, np.nan], [5, 6]])
    np.testing.assert_array_equal(rows, [[1, 2], [5, 6]])
    assert left_out == 2
    with pytest.raises(ValueError, match=r"expected a table \(rows, columns\), got shape \(2,\)"):
        complete([1, 2])
