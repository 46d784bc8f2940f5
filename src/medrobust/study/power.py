"""How many readers and cases a study needs: studies are simulated and analysed as the real one.

A rating is the condition's mean + reader + case + map + (reader, condition) + rest, all normal but
the mean, rounded to the scale. One condition's mean lies higher than those of all others, which
are the middle of the scale.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import stats

from medrobust.errors import MedrobustError
from medrobust.progress import Count
from medrobust.statistics import holm
from medrobust.statistics.inputs import Floats
from medrobust.study.analysis.effects import fit
from medrobust.study.config import StudyConfig
from medrobust.study.questions import Scale
from medrobust.study.spread import Spread
from medrobust.study.statistics.strata import complete_model

Kind = Literal["crossed", "once"]
ENOUGH = 0.8
"""The power that studies usually aim at."""
LEVEL = 0.05
STUDIES = {"crossed": 1000, "once": 200}
"""Simulated for each size. What is seen once has no closed form, and takes much longer."""


class Size(NamedTuple):
    """Of a study, or of a question of it."""

    readers: int
    cases: int
    conditions: int = 2
    kind: Kind = "crossed"


class Power(NamedTuple):
    """Share of simulated studies that found the difference, with its exact interval."""

    share: float
    low: float
    high: float
    studies: int


def simulate_power(
    difference: float,
    size: Size,
    spread: Spread,
    steps: int | None = 6,
    studies: int = 200,
    seed: int = 0,
    count: Callable[[int], object] = lambda done: None,
) -> Power:
    """Share of studies with p < 0.05, by Holm, between the last condition and the first.

    The analysis is the main one of `study analyse`: a linear mixed model with intercepts of
    reader, case, map, and reader and condition. `difference` is that before rounding and
    clipping to `steps` steps; None leaves ratings as they are. A study whose ratings do not vary
    finds nothing. `count` hears of every study. The interval is that of Clopper and Pearson 1934,
    Biometrika 26:404.
    """
    generator, found = np.random.default_rng(seed), 0
    for _ in range(studies):
        found += _p(_ratings(generator, size, difference, spread, steps), size) < LEVEL
        count(1)
    interval = stats.binomtest(found, studies).proportion_ci(0.95, "exact")
    return Power(found / studies, float(interval.low), float(interval.high), studies)


def _ratings(
    generator: Generator, size: Size, difference: float, spread: Spread, steps: int | None
) -> Floats:
    """(readers, cases, conditions)"""
    readers, cases, conditions, _ = size
    ratings = (
        spread.readers * generator.normal(size=(readers, 1, 1))
        + spread.cases * generator.normal(size=(1, cases, 1))
        + spread.maps * generator.normal(size=(1, cases, conditions))
        + spread.preferences * generator.normal(size=(readers, 1, conditions))
        + spread.rest * generator.normal(size=(readers, cases, conditions))
    )
    ratings[..., -1] += difference
    if steps is None:
        return ratings
    rounded: Floats = np.clip(np.rint(ratings + (steps - 1) / 2), 0, steps - 1)
    return rounded


def _p(ratings: Floats, size: Size) -> float:
    """By Holm, of the last condition against the first; 1 where nothing can be tested."""
    if not np.ptp(ratings, axis=(0, 1)).any():
        return 1.0
    if size.kind == "crossed":
        # Pairs come as (0, 1), (0, 2) and so on.
        return float(holm(complete_model(ratings).p)[size.conditions - 2])
    reader, case, condition = (axis.ravel() for axis in np.indices(ratings.shape))
    seen = (reader + case) % size.conditions == condition
    factors = {"reader": reader, "case": case, "patient": case, "condition": condition}
    rows = pd.DataFrame({**factors, "value": ratings.ravel()})[seen]
    try:
        return fit(rows).differences[size.conditions - 2].p_holm
    except MedrobustError:
        return 1.0


def power_table(
    config: StudyConfig,
    difference: float,
    spread: Spread,
    studies: int | None = None,
    track: Callable[[int, str], Count] = lambda total, title: lambda done: None,
) -> dict[Size, Power]:
    """Power with half, all, and twice the readers and cases of the settings.

    Raises:
        MedrobustError: fewer than two readers or conditions, or no scale to rate by.
    """
    steps = len(rated_scale(config).steps)
    sizes = list(_sizes(config))
    each = studies or STUDIES[config.design.kind]
    count = track(each * len(sizes), "simulated studies")
    return {size: simulate_power(difference, size, spread, steps, each, 0, count) for size in sizes}


def rated_scale(config: StudyConfig) -> Scale:
    """The first question with a scale.

    Raises:
        MedrobustError: there is none.
    """
    scales = [question for question in config.questions if isinstance(question, Scale)]
    if not scales:
        raise MedrobustError(
            "power: expected a question of kind scale in the settings, found none: only the "
            "difference of ratings can be simulated"
        )
    return scales[0]


def planned(config: StudyConfig) -> Size:
    """What the settings say."""
    return Size(len(config.readers), config.cases.count, len(config.conditions), config.design.kind)


def smallest(table: dict[Size, Power]) -> Size | None:
    """With the fewest maps to judge of those with enough power; None if none has."""
    enough = [size for size, power in table.items() if power.share >= ENOUGH]
    return min(enough, key=lambda size: (size.readers * size.cases, size), default=None)


def _sizes(config: StudyConfig) -> Iterator[Size]:
    plan = planned(config)
    for what, number in (("readers", plan.readers), ("conditions", plan.conditions)):
        if number < 2:
            raise MedrobustError(f"power: expected at least two {what}, found {number}")
    for readers in _around(plan.readers):
        for cases in _around(plan.cases):
            yield plan._replace(readers=readers, cases=cases)


def _around(number: int) -> list[int]:
    return sorted({max(2, math.ceil(number / 2)), number, 2 * number})
