"""How well scores rank positives above negatives: AUROC, average precision, the ROC curve."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.inputs import Floats, Statistic, checked, classes, divide, whole


class RocCurve(NamedTuple):
    """Points of a ROC curve from (0, 0) to (1, 1); each array (k,)."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats
    """Positive means score >= threshold; descending, the first is infinite."""


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: P(positive scores higher) + P(tie)/2 (Bamber 1975).

    Labels (n,) are 1, 0 or NaN (left out); scores (n,) are any numbers. In [0, 1], NaN when a
    class is missing.
    """
    return whole(weighted_auroc(labels, scores), np.size(labels))


def auprc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as average precision, without interpolation.

    The mean over positives of the precision at their score, tied scores taken together: the
    definition of scikit-learn. In [0, 1], NaN when a class is missing.
    """
    return whole(weighted_auprc(labels, scores), np.size(labels))


def weighted_auroc(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """`auroc` as a function of weights (R, n): sorted once, then cumulative sums, ties exact."""
    truth, given = checked(labels, scores)
    positives, negatives = classes(truth, given)
    below = np.searchsorted(given[negatives], given[positives], side="left")
    up_to = np.searchsorted(given[negatives], given[positives], side="right")

    def statistic(weights: Floats) -> Floats:
        weight = weights.take(positives, axis=1)
        lower = _cumulated(weights.take(negatives, axis=1))
        beaten = (lower.take(below, axis=1) + lower.take(up_to, axis=1)) / 2
        pairs = weight.sum(axis=1) * lower[:, -1]
        return divide(np.einsum("rp,rp->r", weight, beaten), pairs)

    return statistic


def weighted_auprc(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """`auprc` as a function of weights (R, n): sorted once, then cumulative sums, ties exact."""
    truth, given = checked(labels, scores)
    positives, negatives = classes(truth, -given)
    at_least = -given[positives]
    true_ones = np.searchsorted(-given[positives], at_least, side="right")
    false_ones = np.searchsorted(-given[negatives], at_least, side="right")

    def statistic(weights: Floats) -> Floats:
        weight = weights.take(positives, axis=1)
        hits, alarms = _cumulated(weight), _cumulated(weights.take(negatives, axis=1))
        true_positives = hits.take(true_ones, axis=1)
        flagged = true_positives + alarms.take(false_ones, axis=1)
        # A positive of weight 0 may have nothing at or above it; it counts nothing either.
        precision = true_positives / np.where(flagged > 0, flagged, 1.0)
        found = np.einsum("rp,rp->r", weight, precision)
        return divide(found, np.where(alarms[:, -1] > 0, hits[:, -1], 0.0))

    return statistic


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> RocCurve:
    """Every point of the ROC curve, one per distinct score; rates of a missing class are NaN."""
    truth, given = checked(labels, scores)
    positives, negatives = classes(truth, given)
    distinct = np.unique(given[~np.isnan(truth)])[::-1]
    return RocCurve(
        _share_at_least(given[negatives], distinct),
        _share_at_least(given[positives], distinct),
        np.concatenate([[np.inf], distinct]),
    )


def _cumulated(weights: Floats) -> Floats:
    """Weights of the first 0, 1, ..., n columns: (R, n) -> (R, n + 1)."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _share_at_least(ascending: Floats, thresholds: Floats) -> Floats:
    """Share of the values at or above an infinite threshold, then each of the thresholds."""
    above = ascending.size - np.searchsorted(ascending, thresholds, side="left")
    counts = np.concatenate([[0.0], above])
    return divide(counts, np.full(counts.shape, float(ascending.size)))
