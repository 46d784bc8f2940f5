"""Do probabilities mean what they say? Brier score, expected calibration error, reliability.

The binary form throughout: a finding's probability is held against how often it is present (not
the confidence in the predicted class against how often that is right, as for many classes).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.decisions import weighted_mean
from medrobust.statistics.inputs import (
    Flags,
    Floats,
    Integers,
    Statistic,
    checked_probabilities,
    divide,
    whole,
)

BINS = 15
"""As in Guo et al. 2017, "On calibration of modern neural networks"."""


class Reliability(NamedTuple):
    """A reliability diagram; each array (bins,), NaN in empty bins."""

    mean_probability: Floats
    frequency: Floats
    """Share of positives."""
    images: Integers
    """Number of images."""


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared difference of probability and label (Brier 1950), in [0, 1].

    NaN labels are left out; NaN when none is known.
    """
    return whole(weighted_brier(labels, probabilities), np.size(labels))


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS
) -> float:
    """Mean over images of |mean probability - frequency of positives| of their bin, in [0, 1].

    Bins are of equal width, closed on the left (the last on both sides). NaN labels are left
    out; NaN when none is known.
    """
    return whole(weighted_expected_calibration_error(labels, probabilities, bins), np.size(labels))


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> Reliability:
    """Mean probability and frequency of positives in each of the bins of the error above."""
    truth, given = checked_probabilities(labels, probabilities)
    members = _members(truth, given, bins).T.astype(np.float64)
    images = members.sum(axis=1)
    mean = divide(members @ np.where(np.isnan(truth), 0.0, given), images)
    frequency = divide(members @ (truth == 1).astype(np.float64), images)
    return Reliability(mean, frequency, images.astype(np.int64))


def weighted_brier(labels: ArrayLike, probabilities: ArrayLike) -> Statistic:
    """`brier` as a function of weights (R, n)."""
    truth, given = checked_probabilities(labels, probabilities)
    return weighted_mean((given - truth) ** 2)


def weighted_expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS
) -> Statistic:
    """`expected_calibration_error` as a function of weights (R, n)."""
    truth, given = checked_probabilities(labels, probabilities)
    known = (~np.isnan(truth)).astype(float)
    surplus = np.where(known > 0, given - truth, 0.0)
    columns = _members(truth, given, bins) * surplus[:, None]

    def statistic(weights: Floats) -> Floats:
        # count x |mean probability - frequency| of a bin is |sum of probability - label|.
        return divide(np.abs(weights @ columns).sum(axis=1), weights @ known)

    return statistic


def _members(truth: Floats, given: Floats, bins: int) -> Flags:
    """Which image lies in which bin: (n, bins); images of unknown label in none."""
    inner_edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    index = np.where(np.isnan(truth), -1, np.searchsorted(inner_edges, given, side="right"))
    return np.asarray(index[:, None] == np.arange(bins))
