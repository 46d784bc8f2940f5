"""How many readers and cases a study needs: studies are simulated and analysed as the real one.

A rating is the condition's mean + reader + case + (reader, condition) + rest, all normal,
rounded to the scale. Two conditions are compared; the second one's mean lies `difference` higher.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from scipy import stats

from medrobust.statistics.inputs import Floats
from medrobust.study.statistics.mixed import mixed_model
from medrobust.study.statistics.ranks import as_blocks, signed_rank_pairs

Analysis = Literal["mixed", "wilcoxon"]
STUDIES = 500


class Spread(NamedTuple):
    """Standard deviations of what makes ratings differ, in steps of the scale."""

    readers: float
    cases: float
    rest: float
    readers_by_condition: float = 0.0
    """How far readers differ in what they think of the second condition against the first.

    When above 0 the mixed model includes it; the Wilcoxon test then takes readers as blocks.
    """


class Power(NamedTuple):
    """Share of simulated studies that found the difference, with its exact interval."""

    share: float
    low: float
    high: float
    studies: int


def simulate_power(
    difference: float,
    readers: int,
    cases: int,
    spread: Spread,
    analysis: Analysis = "mixed",
    scale: tuple[int, int] | None = (0, 5),
    mean: float = 2.5,
    level: float = 0.05,
    studies: int = STUDIES,
    seed: int = 0,
    count: Callable[[int], object] | None = None,
) -> Power:
    """Share of studies of `readers` x `cases` x 2 conditions with a two-sided p below `level`.

    `mean` is that of the first condition; `scale` is the lowest and highest rating, None leaves
    ratings as they are. The difference is that before rounding and clipping. A study whose
    ratings do not vary finds nothing. `count` hears how many studies are done. The interval is
    that of Clopper and Pearson 1934, Biometrika 26:404.
    """
    generator, found = np.random.default_rng(seed), 0
    for done in range(studies):
        ratings = _ratings(generator, (readers, cases), difference, spread, mean, scale)
        found += _p(ratings, analysis, spread.readers_by_condition > 0) < level
        if count is not None:
            count(done + 1)
    interval = stats.binomtest(found, studies).proportion_ci(0.95, "exact")
    return Power(found / studies, float(interval.low), float(interval.high), studies)


def _ratings(
    generator: Generator,
    size: tuple[int, int],
    difference: float,
    spread: Spread,
    mean: float,
    scale: tuple[int, int] | None,
) -> Floats:
    """(readers, cases, 2)"""
    readers, cases = size
    ratings = mean + spread.readers * generator.normal(size=(readers, 1, 1))
    ratings = ratings + spread.cases * generator.normal(size=(1, cases, 1))
    ratings = ratings + spread.rest * generator.normal(size=(readers, cases, 2))
    ratings[..., 1] += difference
    ratings[..., 1] += spread.readers_by_condition * generator.normal(size=(readers, 1))
    if scale is None:
        return ratings
    rounded: Floats = np.clip(np.round(ratings), *scale)
    return rounded


def _p(ratings: Floats, analysis: Analysis, readers_differ: bool) -> float:
    """p of the difference of the two conditions."""
    if analysis == "wilcoxon":
        blocks = as_blocks(ratings, "reader" if readers_differ else "reading")
        return signed_rank_pairs(blocks)[0].p
    if not (np.ptp(ratings[..., 0]) or np.ptp(ratings[..., 1])):
        return 1.0
    reader, case, condition = (axis.ravel() for axis in np.indices(ratings.shape))
    groups = {"reader": reader, "case": case}
    if readers_differ:
        groups["reader by condition"] = 2 * reader + condition
    return mixed_model(ratings.ravel(), condition, groups).differences[0].p
