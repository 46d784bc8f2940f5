import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.statistics import (
    sensitivity,
    specificity,
    threshold_at_sensitivity,
    threshold_at_specificity,
    youden_threshold,
)

NAN = float("nan")
# Few distinct probabilities, 0 and 1 among them, so that ties are common.
images = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40).filter(
    lambda rows: {label for label, _ in rows} == {False, True}
)


def arrays(rows):
    labels, eighths = (np.array(column, float) for column in zip(*rows, strict=True))
    return labels, eighths / 8


@settings(deadline=None)
@given(images)
def test_no_threshold_has_a_larger_youden_index(rows):
    labels, scores = arrays(rows)
    chosen = youden_threshold(labels, scores)
    if np.unique(scores).size == 1:
        assert np.isnan(chosen)
        return

    def youden(threshold):
        flagged = scores >= threshold
        return flagged[labels == 1].mean() - flagged[labels == 0].mean()

    neighbours = np.unique(scores)
    middles = (neighbours[1:] + neighbours[:-1]) / 2
    assert chosen in middles
    assert youden(chosen) == pytest.approx(max(youden(middle) for middle in middles))


@settings(deadline=None)
@given(images, st.sampled_from([0.01, 0.5, 0.75, 0.95, 1.0]))
def test_rates_are_reached_and_by_no_further_threshold(rows, wanted):
    labels, probabilities = arrays(rows)
    high = threshold_at_sensitivity(labels, probabilities, wanted)
    low = threshold_at_specificity(labels, probabilities, wanted)
    if np.unique(probabilities).size == 1:
        assert np.isnan([high, low]).all()
        return
    assert sensitivity(labels, probabilities, high) >= wanted
    assert specificity(labels, probabilities, low) >= wanted
    for other in np.arange(-1, 18) / 16:
        flagged = probabilities >= other
        if sensitivity(labels, probabilities, other) >= wanted:
            assert (flagged >= (probabilities >= high)).all()
        if specificity(labels, probabilities, other) >= wanted:
            assert (flagged <= (probabilities >= low)).all()


@settings(deadline=None)
@given(images, st.sampled_from([0.5, 0.9, 1.0]))
def test_exchanging_the_classes_exchanges_the_rates(rows, wanted):
    labels, probabilities = arrays(rows)
    decided = probabilities >= threshold_at_sensitivity(labels, probabilities, wanted)
    mirrored = 1 - probabilities >= threshold_at_specificity(1 - labels, 1 - probabilities, wanted)
    if np.unique(probabilities).size > 1:
        np.testing.assert_array_equal(decided, ~mirrored)


def test_rates_in_closed_form():
    labels, probabilities = [0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.6, 0.9]
    assert threshold_at_sensitivity(labels, probabilities, 2 / 3) == pytest.approx(0.5)
    assert threshold_at_sensitivity(labels, probabilities, 1.0) == pytest.approx(0.25)
    assert threshold_at_specificity(labels, probabilities, 2 / 3) == pytest.approx(0.25)
    assert threshold_at_specificity(labels, probabilities, 1.0) == pytest.approx(0.5)


def test_nineteen_of_twenty_are_95_percent():
    labels = np.r_[np.zeros(20), np.ones(20)]
    probabilities = np.r_[np.linspace(0.02, 0.4, 20), np.linspace(0.5, 0.88, 20)]
    assert threshold_at_sensitivity(labels, probabilities) == pytest.approx(0.51)
    assert threshold_at_specificity(labels, probabilities) == pytest.approx(0.39)


def test_where_all_or_no_image_must_be_positive_the_threshold_lies_beyond_them():
    labels, probabilities = [1, 0], [0.4, 0.6]
    assert threshold_at_sensitivity(labels, probabilities, 1.0) == pytest.approx(0.2)
    assert threshold_at_specificity(labels, probabilities, 1.0) == pytest.approx(0.8)
    assert threshold_at_sensitivity([1, 0], [0.0, 1.0], 1.0) == 0
    assert 1 < threshold_at_specificity([1, 0], [0.0, 1.0], 1.0) < 1 + 1e-15


def test_thresholds_leave_out_unknown_labels():
    labels, probabilities = [0, 1, NAN, NAN], [0.2, 0.6, 0.5, NAN]
    for threshold in (youden_threshold, threshold_at_sensitivity, threshold_at_specificity):
        assert threshold(labels, probabilities) == pytest.approx(0.4)


@pytest.mark.parametrize("labels", [[1.0, 1.0], [0.0, 0.0], [NAN, NAN]])
@pytest.mark.parametrize(
    "threshold", [youden_threshold, threshold_at_sensitivity, threshold_at_specificity]
)
def test_a_missing_class_gives_no_threshold(labels, threshold):
    assert np.isnan(threshold(labels, [0.1, 0.2]))
    assert np.isnan(threshold([0, 1], [0.3, 0.3]))


@pytest.mark.parametrize("wanted", [0.0, 1.1, NAN])
def test_rates_that_cannot_be_wanted(wanted):
    with pytest.raises(ValueError, match=rf"^expected a sensitivity in \(0, 1\], got {wanted:g}$"):
        threshold_at_sensitivity([0, 1], [0.1, 0.2], wanted)
    with pytest.raises(ValueError, match=rf"^expected a specificity in \(0, 1\], got {wanted:g}$"):
        threshold_at_specificity([0, 1], [0.1, 0.2], wanted)


def test_logits_give_no_rate():
    for threshold in (threshold_at_sensitivity, threshold_at_specificity):
        with pytest.raises(ValueError, match=r"^expected probabilities in \[0, 1\], got -2 to 3$"):
            threshold([0, 1], [-2.0, 3.0])


def test_youden_threshold_lies_midway_and_prefers_sensitivity():
    assert youden_threshold([0, 0, 1, 1], [0.1, 0.3, 0.7, 0.9]) == pytest.approx(0.5)
    # 0.25 and 0.75 are equally good: the lower one finds more positives.
    assert youden_threshold([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9]) == pytest.approx(0.25)


def test_youden_threshold_separates_neighbouring_floats():
    low = 0.5
    high = np.nextafter(low, 1)
    chosen = youden_threshold([0, 1], [low, high])
    assert low < chosen <= high
