import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from medrobust.statistics import (
    auprc,
    auroc,
    roc_curve,
    weighted_auprc,
    weighted_auroc,
)

NAN = float("nan")
# Few distinct scores, so that ties within and between the classes are common.
images = st.lists(
    st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 4)), min_size=2, max_size=40
).filter(lambda rows: {label for label, _, weight in rows if weight} == {False, True})


def arrays(rows):
    labels, scores, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    return labels, scores, weights


@settings(deadline=None)
@given(images)
def test_ranks_like_scikit_learn_with_ties(rows):
    labels, scores, _ = arrays(rows)
    assert auroc(labels, scores) == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert auprc(labels, scores) == pytest.approx(oracle.average_precision_score(labels, scores))


@settings(deadline=None)
@given(images)
def test_weights_count_like_sample_weights_of_scikit_learn(rows):
    labels, scores, weights = arrays(rows)
    some = weights > 0
    kept = labels[some], scores[some]
    redraws = np.stack([weights, weights / 3, np.ones_like(weights)])
    area = oracle.roc_auc_score(*kept, sample_weight=weights[some])
    whole = oracle.roc_auc_score(labels, scores)
    np.testing.assert_allclose(weighted_auroc(labels, scores)(redraws), [area, area, whole])
    area = oracle.average_precision_score(*kept, sample_weight=weights[some])
    whole = oracle.average_precision_score(labels, scores)
    np.testing.assert_allclose(weighted_auprc(labels, scores)(redraws), [area, area, whole])


@settings(deadline=None)
@given(images)
def test_the_curve_has_the_points_of_scikit_learn(rows):
    labels, scores, _ = arrays(rows)
    for ours, theirs in zip(
        roc_curve(labels, scores),
        oracle.roc_curve(labels, scores, drop_intermediate=False),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs)


@settings(deadline=None)
@given(images)
def test_only_the_order_of_scores_matters_and_reversing_it_mirrors_the_area(rows):
    labels, scores, _ = arrays(rows)
    assert auroc(labels, np.exp(scores)) == auroc(labels, scores)
    assert auroc(labels, -scores) == pytest.approx(1 - auroc(labels, scores))
    assert auroc(1 - labels, scores) == pytest.approx(1 - auroc(labels, scores))


def test_closed_forms():
    assert auroc([0, 0, 1, 1], [1, 2, 3, 4]) == 1.0
    assert auroc([0, 1], [1, 1]) == 0.5
    assert auroc([1, 0, 1, 0], [4, 3, 2, 1]) == 0.75
    assert auprc([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert auprc([1, 0, 0, 0], [1, 1, 1, 1]) == 0.25


def test_images_without_a_label_are_left_out_whatever_their_score():
    labels, scores = [NAN, 1, 0, 1, NAN], [NAN, 3, 2, 1, 9]
    assert auroc(labels, scores) == auroc([1, 0, 1], [3, 2, 1])
    assert auprc(labels, scores) == auprc([1, 0, 1], [3, 2, 1])
    assert roc_curve(labels, scores).thresholds.tolist() == [np.inf, 3, 2, 1]
    weights = np.array([[7.0, 1, 1, 1, 7]])
    assert weighted_auroc(labels, scores)(weights)[0] == 0.5


@pytest.mark.parametrize("labels", [[1.0, 1.0], [0.0, 0.0], [NAN, NAN]])
def test_a_missing_class_is_nan_and_no_error(labels):
    assert np.isnan(auroc(labels, [1, 2]))
    assert np.isnan(auprc(labels, [1, 2]))


def test_a_redraw_without_a_class_is_nan():
    weights = np.array([[1.0, 0, 1], [1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(weighted_auroc([1, 0, 0], [2, 1, 3])(weights), [0, 1, NAN])
    np.testing.assert_array_equal(weighted_auprc([1, 0, 0], [2, 1, 3])(weights), [0.5, 1, NAN])
    weights = np.array([[0.0, 1, 1], [1, 0, 0]])
    np.testing.assert_array_equal(weighted_auprc([1, 0, 0], [2, 1, 3])(weights), [NAN, NAN])
