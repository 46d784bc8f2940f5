import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust.data.window import Window, parse_window
from medrobust.errors import MedrobustError

PIXELS = np.arange(101.0)[None] * 10
EXPECTED = "window: expected -1000:400 (values), percentile:1:99, range (of the file's type) or"


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("-1000:400", (-1000, 400)),
        ("-1e3:0.5", (-1000, 0.5)),
        ("percentile:1:99", (10, 990)),
        ("percentile:0:100", (0, 1000)),
        ("percentile:2.5:97.5", (25, 975)),
        ("range", (3, 7)),
        ("file", (3, 7)),
    ],
)
def test_limits(text: str, limits: tuple[float, float]) -> None:
    assert parse_window(text).limits(PIXELS, (3, 7)) == pytest.approx(limits)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", f"{EXPECTED} file (its own), found ''"),
        ("40", f"{EXPECTED} file (its own), found '40'"),
        ("1:2:3", f"{EXPECTED} file (its own), found '1:2:3'"),
        ("a:b", f"{EXPECTED} file (its own), found 'a:b'"),
        ("Percentile:1:99", f"{EXPECTED} file (its own), found 'Percentile:1:99'"),
        ("400:-1000", "window: expected low < high, found '400:-1000'"),
        ("5:5", "window: expected low < high, found '5:5'"),
        ("0:inf", "window: expected low < high, found '0:inf'"),
        ("nan:1", "window: expected low < high, found 'nan:1'"),
        ("percentile:99:1", "window: expected low < high, found 'percentile:99:1'"),
        ("x-percentile:1:9", f"{EXPECTED} file (its own), found 'x-percentile:1:9'"),
        (
            "percentile:-1:99",
            "window: expected percentiles from 0 to 100, found 'percentile:-1:99'",
        ),
        (
            "percentile:1:101",
            "window: expected percentiles from 0 to 100, found 'percentile:1:101'",
        ),
    ],
)
def test_what_is_no_window(text: str, refusal: str) -> None:
    with pytest.raises(MedrobustError) as caught:
        parse_window(text)
    assert str(caught.value) == refusal


def test_percentiles_of_a_flat_image() -> None:
    with pytest.raises(MedrobustError) as caught:
        parse_window("percentile:1:99").limits(np.zeros((4, 4)), (0, 1))
    assert str(caught.value) == "percentiles 1 and 99 of the pixels are the same value"


@given(*[st.floats(-1e6, 1e6)] * 2)
def test_values_come_back_as_written(low: float, high: float) -> None:
    if low < high:
        assert parse_window(f"{low!r}:{high!r}") == Window("values", low, high)
