import numpy as np
import pytest

from medrobust.explain.sanity.similarity import Floats
from medrobust.explain.sanity.verdicts import NO_MAPS, REDRAWS, Judge
from medrobust.statistics import bootstrap_interval, weighted_mean

PATIENTS = ["a", "a", "b", "c", "d"]
JUDGE = Judge(PATIENTS)


def test_means_with_patients_redrawn_together() -> None:
    values = np.array([0.1, 0.2, np.nan, 0.4, 0.9])
    found = JUDGE.measured("noise", "noise", values, "words")
    low, high, _ = bootstrap_interval(weighted_mean(values), PATIENTS, REDRAWS)
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high, found.n, found.verdict) == (low, high, 4, "")
    assert found.detail == "words; 1 images left out, where the maps are constant or not finite"


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
    assert JUDGE.above("r", "x", values, {"one": below, "other": below}).verdict == "pass"
    assert JUDGE.above("r", "x", values, {"one": below, "other": above}).verdict == "fail"
    assert JUDGE.above("r", "x", values, {"one": values}).verdict == "fail"


NOTHING = np.full(5, np.nan)
ONE_OF_FIVE = np.array([0.9, 0.9, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(("values", "patients"), [(NOTHING, 0), (ONE_OF_FIVE, 1)])
def test_fewer_than_two_patients_are_not_checked(values: Floats, patients: int) -> None:
    """Two images of one patient would have an interval of no width."""
    for found in (
        JUDGE.measured("noise", "x", values),
        JUDGE.unlike("labels", "x", values - 0.8),
        JUDGE.alike("noise", "x", values),
        JUDGE.above("r", "x", values, {"zero": np.zeros(5)}),
    ):
        assert found.verdict == "not checked"
        assert found.detail == (
            f"expected values of at least 2 patients, found {patients}: elsewhere the maps are "
            "constant or not finite"
        )
        assert (found.n, found.against) == (0, "x")
        assert np.isnan(found.value)


def test_a_reference_that_is_none_is_not_checked() -> None:
    """NaN > 0 is false, and would be taken for a failure."""
    values = np.array([0.1, 0.2, 0.3, 0.5, 0.9])
    for missing, patients in ((NOTHING, 0), (ONE_OF_FIVE, 1)):
        references = {"other images": values - 0.1, "untrained network": missing}
        found = JUDGE.above("repeatability", "x", values, references, "rule")
        assert (found.value, found.n) == (pytest.approx(0.4), 5)
        assert found.verdict == "not checked"
        assert found.detail == (
            "compared with untrained network: expected values of at least 2 patients, found "
            f"{patients}: elsewhere {NO_MAPS}"
        )


def test_why_a_value_is_missing() -> None:
    found = JUDGE.alike("attack", "x", ONE_OF_FIVE, absent="it rained")
    assert found.detail.endswith("found 1: elsewhere it rained")
    found = JUDGE.alike(
        "attack", "x", np.array([0.9, 0.9, 0.8, np.nan, np.nan]), absent="it rained"
    )
    assert found.verdict == "pass"
    assert found.detail == (
        "passes where the interval lies above 0.5; 2 images left out, where it rained"
    )
