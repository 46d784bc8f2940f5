import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medrobust.explain.class_average import class_average


def test_by_hand() -> None:
    maps = np.array([[[1.0, 0.0]], [[-2.0, 4.0]], [[0.0, -1e-20]]])
    mean, count = class_average(maps)
    assert count == 3
    np.testing.assert_allclose(mean, [[(1 - 0.5) / 3, (0 + 1 - 1) / 3]], atol=1e-15)


def test_maps_that_say_nothing_are_left_out() -> None:
    good = np.array([[0.5, -0.25], [0.0, 1.0]], np.float16)
    zero, unknown, endless = good * 0, good.copy(), good.copy()
    unknown[0, 0], endless[1, 1] = np.nan, np.inf
    mean, count = class_average(iter([zero, good, unknown, good * 3, endless]))
    assert count == 2
    np.testing.assert_array_equal(mean, good)
    assert mean.dtype == np.float64


@pytest.mark.parametrize("maps", [[], np.zeros((3, 2, 2)), np.full((1, 2, 2), np.nan)])
def test_of_no_map_there_is_no_mean(maps: object) -> None:
    assert class_average(maps) == (None, 0)


@given(
    arrays(np.float64, (5, 2, 3, 2), elements=st.floats(-1e3, 1e3)),
    arrays(np.float64, (5,), elements=st.floats(1e-3, 1e3)),
)
def test_each_map_counts_alike(maps: np.ndarray, scales: np.ndarray) -> None:
    mean, count = class_average(maps)
    scaled, again = class_average(maps[::-1] * scales.reshape(-1, 1, 1, 1))
    assert again == count == maps.any((1, 2, 3)).sum()
    if mean is not None:
        assert np.abs(mean).max() <= 1
        np.testing.assert_allclose(scaled, mean, atol=1e-12)
