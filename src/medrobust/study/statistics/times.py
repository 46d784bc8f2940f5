"""How long readers looked: active seconds of a reading, and their distribution."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.inputs import Floats

IDLE_AFTER = 60.0
"""Seconds without any event after which a reader counts as away."""


class ReadingTimes(NamedTuple):
    """Distribution of the active seconds of one group's readings; NaN where there are none."""

    group: Any
    median: float
    lower_quartile: float
    upper_quartile: float
    readings: int
    left_out: int
    """Readings without a time."""


def active_seconds(moments: ArrayLike, idle_after: float = IDLE_AFTER) -> float:
    """Seconds of a reading, from the moments (n,) of its events in seconds, first to last.

    A gap of more than `idle_after` seconds between neighbouring events is idle and adds nothing;
    the order of the events does not count. NaN with fewer than two events.
    """
    given: Floats = np.sort(np.asarray(moments, dtype=np.float64))
    if given.size < 2:
        return float("nan")
    gaps = np.diff(given)
    return float(gaps[gaps <= idle_after].sum())


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
