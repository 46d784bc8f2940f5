import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.statistics import (
    bootstrap_interval,
    decision_curve,
    net_benefit,
    sensitivity,
    specificity,
    weighted_net_benefit,
)

NAN = float("nan")
images = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 3)), min_size=2, max_size=30
).filter(lambda rows: {label for label, _, weight in rows if weight} == {False, True})


def drawn(n=150, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.random(n)
    return (generator.random(n) < probabilities).astype(float), probabilities, np.arange(n) // 3


def test_closed_form():
    labels, probabilities = [1, 1, 0, 0, 0], [0.9, 0.3, 0.6, 0.2, 0.1]
    assert net_benefit(labels, probabilities, 0.5) == pytest.approx(1 / 5 - 1 / 5)
    assert net_benefit(labels, probabilities, 0.25) == pytest.approx(2 / 5 - 1 / 5 / 3)
    assert net_benefit(labels, probabilities, 0.3) == pytest.approx(2 / 5 - 1 / 5 * 3 / 7)
    assert net_benefit(labels, probabilities, 0.95) == 0


@settings(deadline=None)
@given(images, st.floats(0, 0.99))
def test_it_is_the_weighted_sum_of_both_rates(rows, threshold):
    labels, probabilities, weights = (np.array(c, float) for c in zip(*rows, strict=True))
    drawn = np.repeat(np.arange(labels.size), weights.astype(int))
    truth, given_ = labels[drawn], probabilities[drawn]
    prevalence, odds = truth.mean(), threshold / (1 - threshold)
    expected = prevalence * sensitivity(truth, given_, threshold)
    expected -= (1 - prevalence) * odds * (1 - specificity(truth, given_, threshold))
    found = weighted_net_benefit(labels, probabilities, threshold)(weights[None])[0]
    assert found == pytest.approx(expected, abs=1e-12)


def test_at_the_prevalence_it_is_prevalence_times_youdens_index():
    labels, probabilities, patients = drawn()
    prevalence = labels.mean()
    youden = sensitivity(labels, probabilities, prevalence)
    youden += specificity(labels, probabilities, prevalence) - 1
    assert net_benefit(labels, probabilities, prevalence) == pytest.approx(prevalence * youden)
    curve = decision_curve(labels, probabilities, [0.0, prevalence], patients, 10)
    assert curve.treat_all == pytest.approx([prevalence, 0])
    assert curve.net_benefit[0] == pytest.approx(prevalence)


def test_the_right_answer_is_worth_the_prevalence_at_every_threshold():
    labels, _, patients = drawn()
    curve = decision_curve(labels, labels, [0.1, 0.5, 0.9], patients, 10)
    assert curve.net_benefit == pytest.approx([labels.mean()] * 3)


def test_treating_all_is_a_model_that_is_always_sure():
    labels, probabilities, patients = drawn()
    thresholds = np.linspace(0, 0.99, 12)
    curve = decision_curve(labels, probabilities, thresholds, patients, 10)
    prevalence = labels.mean()
    expected = prevalence - (1 - prevalence) * thresholds / (1 - thresholds)
    np.testing.assert_allclose(curve.treat_all, expected)
    np.testing.assert_array_equal(curve.treat_none, np.zeros(12))
    np.testing.assert_array_equal(curve.thresholds, thresholds)


def test_true_probabilities_are_never_worth_less_than_treating_all_or_none():
    """With the truth's own probabilities, over labels in just those shares."""
    steps = np.arange(1, 10)
    labels = np.concatenate([np.repeat([1.0, 0.0], [k, 10 - k]) for k in steps])
    probabilities = np.repeat(steps / 10, 10)
    curve = decision_curve(labels, probabilities, steps / 10 - 0.05, np.arange(90), 10)
    assert (curve.net_benefit >= np.maximum(curve.treat_all, 0) - 1e-12).all()


def test_the_band_is_the_bootstrap_interval_of_each_threshold():
    labels, probabilities, patients = drawn()
    curve = decision_curve(labels, probabilities, [0.2, 0.6], patients, 300, seed=4)
    for k, threshold in enumerate([0.2, 0.6]):
        statistic = weighted_net_benefit(labels, probabilities, threshold)
        interval = bootstrap_interval(statistic, patients, 300, seed=4)
        assert (curve.low[k], curve.high[k]) == pytest.approx(interval[:2])
        assert curve.low[k] < curve.net_benefit[k] < curve.high[k]


def test_unknown_labels_are_left_out():
    assert net_benefit([1, NAN, 0], [0.9, 0.9, 0.9], 0.5) == net_benefit([1, 0], [0.9, 0.9], 0.5)
    curve = decision_curve([NAN, NAN], [0.2, NAN], [0.1, 0.5], [0, 1], 10)
    for line in (curve.net_benefit, curve.low, curve.high, curve.treat_all):
        assert np.isnan(line).all()


@pytest.mark.parametrize("threshold", [-0.1, 1.0, NAN])
def test_thresholds_that_are_no_odds(threshold):
    with pytest.raises(
        ValueError, match=rf"^expected a threshold probability in \[0, 1\), got {threshold:g}$"
    ):
        net_benefit([0, 1], [0.1, 0.9], threshold)


def test_logits_are_refused():
    with pytest.raises(ValueError, match=r"^expected probabilities in \[0, 1\], got -2 to 3$"):
        net_benefit([0, 1], [-2.0, 3.0], 0.5)
