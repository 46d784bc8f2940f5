"""Right and wrong at a threshold: a prediction is positive when its probability >= threshold."""

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.inputs import Floats, Statistic, checked, divide, whole


def accuracy(labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5) -> float:
    """Share of images decided rightly; NaN labels are left out, NaN when none is known."""
    return whole(weighted_accuracy(labels, probabilities, threshold), np.size(labels))


def sensitivity(labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5) -> float:
    """Share of positives found (recall, true positive rate); NaN without positives."""
    return whole(weighted_sensitivity(labels, probabilities, threshold), np.size(labels))


def specificity(labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5) -> float:
    """Share of negatives left alone (true negative rate); NaN without negatives."""
    return whole(weighted_specificity(labels, probabilities, threshold), np.size(labels))


def weighted_mean(values: ArrayLike) -> Statistic:
    """The mean of the values (n,) that are not NaN, as a function of weights (R, n)."""
    given = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(given)
    columns = np.stack([np.where(known, given, 0.0), known], axis=1)

    def statistic(weights: Floats) -> Floats:
        sums = weights @ columns
        return divide(sums[:, 0], sums[:, 1])

    return statistic


def weighted_accuracy(
    labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5
) -> Statistic:
    """`accuracy` as a function of weights (R, n)."""
    truth, given = checked(labels, probabilities)
    right = (given >= threshold) == (truth == 1)
    return weighted_mean(np.where(np.isnan(truth), np.nan, right))


def weighted_sensitivity(
    labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5
) -> Statistic:
    """`sensitivity` as a function of weights (R, n)."""
    truth, given = checked(labels, probabilities)
    return weighted_mean(np.where(truth == 1, given >= threshold, np.nan))


def weighted_specificity(
    labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5
) -> Statistic:
    """`specificity` as a function of weights (R, n)."""
    truth, given = checked(labels, probabilities)
    return weighted_mean(np.where(truth == 0, given < threshold, np.nan))
