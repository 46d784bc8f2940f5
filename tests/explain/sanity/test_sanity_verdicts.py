import numpy as np
import pytest

from medrobust.explain.sanity.verdicts import REDRAWS, Judge
from medrobust.statistics import bootstrap_interval, weighted_mean

PATIENTS = ["a", "a", "b", "c", "d"]
JUDGE = Judge(PATIENTS)


def test_means_with_patients_redrawn_together() -> None:
    values = np.array([0.1, 0.2, np.nan, 0.4, 0.9])
    found = JUDGE.measured("noise", "noise", values, "words")
    low, high, _ = bootstrap_interval(weighted_mean(values), PATIENTS, REDRAWS)
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high, found.n, found.verdict) == (low, high, 4, "")
    assert found.detail == "words; 1 constant or not finite maps left out"


@pytest.mark.parametrize(
    ("value", "unlike", "alike"), [(0.4, "pass", "fail"), (0.6, "fail", "pass")]
)
def test_the_threshold(value: float, unlike: str, alike: str) -> None:
    values = np.full(5, value)
    assert JUDGE.unlike("labels", "x", values).verdict == unlike
    assert JUDGE.alike("noise", "x", values).verdict == alike


def test_an_interval_across_the_threshold_passes_neither() -> None:
    values = np.array([0.1, 0.2, 0.4, 0.6, 0.9])
    assert JUDGE.unlike("labels", "x", values).verdict == "fail"
    assert JUDGE.alike("noise", "x", values).verdict == "fail"


def test_differences_are_paired() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.5, 0.9])
    below, above = values - 0.01, values + 0.01
    assert JUDGE.above("r", "x", values, [below, below], "rule").verdict == "pass"
    assert JUDGE.above("r", "x", values, [below, above], "rule").verdict == "fail"
    assert JUDGE.above("r", "x", values, [values], "rule").verdict == "fail"


def test_maps_that_are_none_are_not_checked() -> None:
    nothing = np.full(5, np.nan)
    for found in (
        JUDGE.unlike("labels", "x", nothing),
        JUDGE.above("r", "x", nothing, [nothing], ""),
    ):
        assert found.verdict == "not checked"
        assert found.detail == "the maps are constant or not finite"
        assert np.isnan(found.value)
