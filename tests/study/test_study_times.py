import numpy as np
import pytest

from medrobust.study.statistics.times import reading_times

NAN = float("nan")


def test_quartiles_of_each_group():
    found = reading_times([1, 2, 3, 4, 100, NAN, 7], list("aaaaabb"))
    assert [times.group for times in found] == ["a", "b"]
    assert found[0][1:] == (3, 2, 4, 5, 0)
    assert found[1][1:] == (7, 7, 7, 1, 1)


def test_a_group_without_times_is_nan():
    (found,) = reading_times([NAN, NAN], [1, 1])
    assert np.isnan([found.median, found.lower_quartile, found.upper_quartile]).all()
    assert (found.readings, found.left_out) == (0, 2)


def test_times_and_groups_go_together():
    with pytest.raises(IndexError):
        reading_times([1.0, 2.0], ["a", "b", "c"])
