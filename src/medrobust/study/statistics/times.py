"""How long readers looked: the distribution of their seconds (see `study/reading_time.py`)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.inputs import Floats


class ReadingTimes(NamedTuple):
    """Distribution of the seconds of one group's readings; NaN where there are none."""

    group: Any
    median: float
    lower_quartile: float
    upper_quartile: float
    readings: int
    left_out: int
    """Readings without a time."""


def reading_times(seconds: ArrayLike, groups: ArrayLike) -> list[ReadingTimes]:
    """Median and quartiles of seconds (n,), NaN left out and counted, per group (n,), sorted.

    Groups are readers or conditions. Times are skewed: a median, not a mean, is typical.
    """
    given, members = np.asarray(seconds, dtype=np.float64), np.asarray(groups)
    return [_summary(name, given[members == name]) for name in np.unique(members).tolist()]


def _summary(group: Any, seconds: Floats) -> ReadingTimes:
    known = seconds[~np.isnan(seconds)]
    quartiles = np.quantile(known, [0.25, 0.5, 0.75]) if known.size else np.full(3, np.nan)
    low, median, high = map(float, quartiles)
    return ReadingTimes(group, median, low, high, known.size, seconds.size - known.size)
