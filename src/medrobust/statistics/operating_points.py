"""Thresholds, chosen where labels may be looked at: on validation images, never on test images.

Positive is what has a probability >= threshold. A threshold lies midway between two neighbouring
distinct probabilities, so that no image of the choice is decided by rounding. It is NaN when a
class is missing or all probabilities are equal.
"""

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.inputs import checked_probabilities
from medrobust.statistics.ranking import RocCurve, roc_curve

ROUNDING = 1e-12
"""Rates this close are equal."""


def youden_threshold(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The threshold of the largest sensitivity + specificity - 1 (Youden 1950).

    Candidates lie midway between neighbouring distinct probabilities; among equals the lowest,
    most sensitive one is taken. NaN when a class is missing or all probabilities are equal.
    """
    curve = roc_curve(labels, probabilities)
    if not _offers_a_choice(curve):
        return float("nan")
    youden = (curve.true_positive_rate - curve.false_positive_rate)[1:-1]
    best = youden.size - 1 - int(np.argmax(youden[::-1] >= youden.max() - ROUNDING))
    return _midway(curve, best + 1)


def threshold_at_sensitivity(
    labels: ArrayLike, probabilities: ArrayLike, wanted: float = 0.95
) -> float:
    """The highest threshold whose sensitivity is at least `wanted`, in (0, 1].

    Where every image must be positive for that, it lies midway between the lowest probability
    and 0. NaN when a class is missing or all probabilities are equal. Raises ValueError for a
    `wanted` outside (0, 1] and for probabilities outside [0, 1].
    """
    _check(wanted, "sensitivity")
    curve = roc_curve(*checked_probabilities(labels, probabilities))
    if not _offers_a_choice(curve):
        return float("nan")
    return _midway(curve, int(np.argmax(curve.true_positive_rate >= wanted - ROUNDING)))


def threshold_at_specificity(
    labels: ArrayLike, probabilities: ArrayLike, wanted: float = 0.95
) -> float:
    """The lowest threshold whose specificity is at least `wanted`, in (0, 1].

    Where every image must be negative for that, it lies midway between the highest probability
    and 1, and above 1 if that is 1. NaN when a class is missing or all probabilities are equal.
    Raises ValueError for a `wanted` outside (0, 1] and for probabilities outside [0, 1].
    """
    _check(wanted, "specificity")
    curve = roc_curve(*checked_probabilities(labels, probabilities))
    if not _offers_a_choice(curve):
        return float("nan")
    reaching = np.flatnonzero(1 - curve.false_positive_rate >= wanted - ROUNDING)
    return _midway(curve, int(reaching[-1]))


def _offers_a_choice(curve: RocCurve) -> bool:
    rates = curve.true_positive_rate + curve.false_positive_rate
    return rates.size > 2 and not np.isnan(rates).any()


def _midway(curve: RocCurve, point: int) -> float:
    """A threshold of the curve's point, midway to the one that the next point has."""
    above_one = np.nextafter(1.0, 2.0)
    ends = np.concatenate([[above_one], curve.thresholds[1:], [0.0]])
    upper, lower = ends[point], ends[point + 1]
    middle = float(lower + (upper - lower) / 2)
    return middle if middle > lower else float(upper)


def _check(wanted: float, name: str) -> None:
    if not 0 < wanted <= 1:
        raise ValueError(f"expected a {name} in (0, 1], got {wanted:g}")
