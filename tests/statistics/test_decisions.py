import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from statsmodels.stats import contingency_tables

from medrobust.statistics import (
    accuracy,
    mcnemar,
    sensitivity,
    specificity,
    weighted_accuracy,
    weighted_mean,
    weighted_sensitivity,
    weighted_specificity,
)

NAN = float("nan")


def test_a_probability_at_the_threshold_is_positive():
    labels, probabilities = [1, 0, 1, 0, 1], [0.5, 0.5, 0.4, 0.1, 0.9]
    assert accuracy(labels, probabilities, 0.5) == pytest.approx(3 / 5)
    assert sensitivity(labels, probabilities, 0.5) == pytest.approx(2 / 3)
    assert specificity(labels, probabilities, 0.5) == pytest.approx(1 / 2)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 3)), min_size=2, max_size=30
    ).filter(lambda rows: {label for label, _, weight in rows if weight} == {False, True}),
    st.floats(0, 1),
)
def test_weights_count_like_sample_weights_of_scikit_learn(rows, threshold):
    labels, probabilities, weights = (np.array(c, float) for c in zip(*rows, strict=True))
    decided = probabilities >= threshold
    for ours, theirs, options in [
        (weighted_accuracy, oracle.accuracy_score, {}),
        (weighted_sensitivity, oracle.recall_score, {"pos_label": 1}),
        (weighted_specificity, oracle.recall_score, {"pos_label": 0}),
    ]:
        value = ours(labels, probabilities, threshold)(weights[None])[0]
        assert value == pytest.approx(theirs(labels, decided, sample_weight=weights, **options))


def test_unknown_labels_are_left_out():
    labels, probabilities = [1, NAN, 0], [0.9, 0.9, 0.9]
    assert accuracy(labels, probabilities) == 0.5
    assert sensitivity(labels, probabilities) == 1.0
    assert specificity(labels, probabilities) == 0.0


def test_what_has_no_images_is_nan():
    assert np.isnan(sensitivity([0, 0], [0.1, 0.9]))
    assert np.isnan(specificity([1, 1], [0.1, 0.9]))
    assert np.isnan(accuracy([NAN], [0.1]))


def test_weighted_mean_of_known_values():
    mean = weighted_mean([1.0, NAN, 4.0])
    np.testing.assert_array_equal(
        mean(np.array([[1.0, 5, 1], [2, 0, 1], [0, 3, 0]])), [2.5, 2, NAN]
    )


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=40))
def test_mcnemar_is_that_of_statsmodels(rows):
    labels, first, second = np.array(rows).T
    found = mcnemar(labels.astype(float), first, second)
    table = np.zeros((2, 2), int)
    np.add.at(table, ((first != labels).astype(int), (second != labels).astype(int)), 1)
    assert (found.only_first, found.only_second) == (table[0, 1], table[1, 0])
    assert found.p == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue)


def test_mcnemar_in_closed_form():
    assert mcnemar(np.ones(6), np.ones(6), np.zeros(6)) == (6, 0, pytest.approx(2 / 2**6))
    assert mcnemar([1, 0, 1], [1, 1, 0], [1, 1, 0]) == (0, 0, 1)
    assert mcnemar([1, 0, NAN], [1, 0, 1], [0, 0, 0]) == mcnemar([1, 0], [1, 0], [0, 0])
    assert np.isnan(mcnemar([NAN], [1], [0]).p)


def test_mcnemar_takes_decisions_not_probabilities():
    with pytest.raises(ValueError, match=r"^expected decisions 0 or 1, got other values$"):
        mcnemar([1, 0], [1, 0], [0.9, 0.1])
