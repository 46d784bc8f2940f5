import numpy as np
import pandas as pd
import pytest

from medrobust.data.rules import parse_rule
from medrobust.errors import MedrobustError

TABLE = pd.DataFrame(
    {
        "sex": ["F", "m", "", None, "F "],
        "age": [64.0, 65.0, np.nan, 90.0, 5.0],
        "Frontal/Lateral [x]": ["PA", "AP", "lateral", "PA", ""],
        "ill": ["1", "0", "-1", "", "true"],
        "known": [1.0, 1.0, 1.0, 0.0, -1.0],
    }
)
U = np.nan


def values(text: str) -> list[float]:
    return parse_rule(text).evaluate(TABLE.__getitem__).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sex:F", [1, 0, U, U, 1]),
        ("sex: f", [1, 0, U, U, 1]),
        ("age>=65", [0, 1, U, 1, 0]),
        ("age > 65", [0, 0, U, 1, 0]),
        ("age<=5", [0, 0, U, 0, 1]),
        ("age<64.5", [1, 0, U, 0, 1]),
        ("Frontal/Lateral [x]:AP|PA", [1, 1, 0, 1, U]),
        ("ill", [1, 0, -1, U, 1]),
        ("known", [1, 1, 1, 0, -1]),
        ("ill & known", [1, 0, -1, 0, -1]),
        ("ill & sex:F", [1, 0, U, U, 1]),
        ("sex:F & age>=65 & known", [0, 0, U, 0, 0]),
    ],
)
def test_rules(text: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(values(text), expected)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("sex:X", "column 'sex' nowhere has 'X': it has f, m"),
        ("sex", "column 'sex', data row 1: expected 1, 0, -1 (uncertain), true, false or empty, "),
        ("sex>3", "column 'sex', data row 1: expected numbers or empty, found 'F' (3 such rows)"),
        ("age>=old", "expected COLUMN, COLUMN:VALUE or COLUMN>=NUMBER, joined by &, found"),
        ("", "expected COLUMN, COLUMN:VALUE or COLUMN>=NUMBER, joined by &, found ''"),
        ("sex:", "expected COLUMN, COLUMN:VALUE or COLUMN>=NUMBER, joined by &, found 'sex:'"),
        ("sex:F|", "expected COLUMN, COLUMN:VALUE or COLUMN>=NUMBER, joined by &, found"),
        ("sex:F &", "expected COLUMN, COLUMN:VALUE or COLUMN>=NUMBER, joined by &, found"),
        ("age>=-", "expected a number behind the comparison in 'age>=-'"),
    ],
)
def test_rules_that_cannot_be(text: str, error: str) -> None:
    with pytest.raises(MedrobustError) as caught:
        values(text)
    assert str(caught.value).startswith(error)
