"""What every statistic takes: labels 1, 0 or NaN (unknown), and one finite score per label."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

Statistic = Callable[[Floats], Floats]
"""A metric as a function of the images' weights: (R, n) -> (R,), NaN where it is not defined.

Weights are how often each image was drawn, so that one function gives the metric itself (weights
of one) and its bootstrap distribution (a row per redraw).
"""


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Labels (n,) and scores (n,) as float64.

    Raises ValueError for other shapes, labels other than 0, 1 and NaN, or a score that is NaN
    where the label is known.
    """
    truth = np.asarray(labels, dtype=np.float64)
    given = np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != given.shape:
        raise ValueError(
            f"expected labels and scores of one shape (n,), got {truth.shape} and {given.shape}"
        )
    known = ~np.isnan(truth)
    if not np.isin(truth[known], (0.0, 1.0)).all():
        raise ValueError("expected labels 0, 1 or NaN, got other values")
    if np.isnan(given[known]).any():
        raise ValueError("expected a score for every known label, got NaN")
    return truth, given


def checked_probabilities(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """`checked` labels (n,) and probabilities (n,).

    Raises ValueError also for a probability outside [0, 1] where the label is known.
    """
    truth, given = checked(labels, probabilities)
    used = given[~np.isnan(truth)]
    if used.size and not (used.min() >= 0 and used.max() <= 1):
        raise ValueError(f"expected probabilities in [0, 1], got {used.min():g} to {used.max():g}")
    return truth, given


def classes(labels: Floats, scores: Floats) -> tuple[Integers, Integers]:
    """Rows of the positives and rows of the negatives, each by ascending score."""
    order = np.argsort(scores, kind="stable")
    sorted_labels = labels[order]
    return order[sorted_labels == 1], order[sorted_labels == 0]


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient, NaN where the denominator is not positive."""
    undefined = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=undefined, where=denominator > 0)
    return undefined


def whole(statistic: Statistic, n: int) -> float:
    """The statistic of the n images themselves, each counted once."""
    return float(statistic(np.ones((1, n)))[0])
