"""Right and wrong at a threshold: a prediction is positive when its probability >= threshold."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medrobust.statistics.inputs import Floats, Statistic, checked, divide, whole


class McNemar(NamedTuple):
    """Images on which just one of two models is right, and the exact test of their balance."""

    only_first: int
    only_second: int
    p: float
    """Two-sided."""


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


def mcnemar(labels: ArrayLike, first_positive: ArrayLike, second_positive: ArrayLike) -> McNemar:
    """Exact test of equal accuracy from decisions (n,), True or 1 where positive.

    Given that they disagree, models of equal accuracy are each right with probability 1/2
    (McNemar 1947, Psychometrika 12:153). Labels (n,) are 1, 0 or NaN (left out). p is 1 when
    no image tells the models apart, NaN when no label is known. The test takes images as
    independent: for several of a patient, bootstrap the difference of the accuracies. Raises
    ValueError for decisions other than 0 and 1.
    """
    right = []
    for decided in (first_positive, second_positive):
        truth, positive = checked(labels, decided)
        known = ~np.isnan(truth)
        if not np.isin(positive[known], (0.0, 1.0)).all():
            raise ValueError("expected decisions 0 or 1, got other values")
        right.append(positive[known] == truth[known])
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    return McNemar(only_first, only_second, _p(only_first, only_second, right[0].size))


def _p(only_first: int, only_second: int, images: int) -> float:
    if images == 0:
        return float("nan")
    apart = only_first + only_second
    return float(stats.binomtest(only_first, apart, 0.5).pvalue) if apart else 1.0
