"""Do conditions differ, by ranks alone: Friedman over all of them, Wilcoxon for each pair.

A block holds one rating per condition. By default a block is one reader's reading of one case
(readers x cases blocks, each its own), which uses all ratings and needs no more than that the
conditions are exchangeable within a block; ratings of the same reader or case may be shifted
together, but a condition that only some readers or cases prefer makes blocks depend on each
other and the p values too small. Blocks of cases (means over readers) or of readers (means over
cases) are free of the one or the other, with less power.
"""

from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medrobust.statistics import holm
from medrobust.statistics.inputs import Floats
from medrobust.study.statistics.layout import complete

Unit = Literal["reading", "case", "reader"]

EXACT_UP_TO = 50
"""Differences, not 0, up to which the signed-rank test is exact."""


class Friedman(NamedTuple):
    """Friedman's chi-square test, corrected for ties."""

    statistic: float
    degrees: int
    p: float
    concordance: float
    """Kendall's W in [0, 1]: how far the blocks rank the conditions alike."""
    mean_ranks: tuple[float, ...]
    """Of each condition; 1 is the lowest rating."""
    blocks: int
    left_out: int


class SignedRank(NamedTuple):
    """Wilcoxon's signed-rank test of one pair of conditions, difference first - second."""

    first: int
    second: int
    mean_difference: float
    rank_biserial: float
    """Share of the rank sum for `first` minus that for `second`, in [-1, 1] (Kerby 2014)."""
    p: float
    p_holm: float
    """Over all pairs of conditions."""
    blocks: int
    """Blocks with both ratings; ties (difference 0) among them are counted in `ties`."""
    ties: int
    left_out: int


def as_blocks(ratings: ArrayLike, unit: Unit = "reading") -> Floats:
    """Ratings (readers, cases, conditions) as blocks (b, conditions).

    `reading`: b = readers x cases; `case`: means over readers, b = cases; `reader`: means over
    cases, b = readers. A mean is NaN, and its block is later left out, unless each of its
    ratings was given: means over different readers or cases could not be compared.
    """
    given = np.asarray(ratings, dtype=np.float64)
    if given.ndim != 3:
        raise ValueError(f"expected ratings (readers, cases, conditions), got {given.shape}")
    if unit == "reading":
        return given.reshape(-1, given.shape[2])
    means: Floats = given.mean(axis=0 if unit == "case" else 1)
    return means


def friedman(blocks: ArrayLike) -> Friedman:
    """Friedman 1937, J. Am. Stat. Assoc. 32:675, on blocks (b, conditions), NaN blocks left out.

    With the correction for ties of Conover 1999, "Practical Nonparametric Statistics", section 5.8.
    NaN p where no block tells conditions apart.
    """
    given, left_out = complete(blocks)
    b, k = given.shape
    ranks = stats.rankdata(given, axis=1) if b else given
    sums = ranks.sum(axis=0)
    spread = float((ranks**2).sum()) - b * k * (k + 1) ** 2 / 4
    means = tuple(float(value) for value in sums / b) if b else (float("nan"),) * k
    if k < 2 or spread <= 0:
        return Friedman(np.nan, k - 1, np.nan, np.nan, means, b, left_out)
    deviations = float(((sums - b * (k + 1) / 2) ** 2).sum())
    statistic = (k - 1) * deviations / spread
    p = float(stats.chi2.sf(statistic, k - 1))
    return Friedman(statistic, k - 1, p, statistic / (b * (k - 1)), means, b, left_out)


def signed_rank_pairs(blocks: ArrayLike) -> list[SignedRank]:
    """Wilcoxon 1945, Biometrics Bull. 1:80, for each pair of conditions of blocks (b, k), by Holm.

    Each pair uses the blocks that have both ratings. Differences of 0 are left out of the ranks,
    ties get mean ranks. The two-sided p is exact, given the ties, up to 50 differences, and that
    of the normal approximation corrected for ties above. It is 1 where all differences are 0.
    """
    given = np.asarray(blocks, dtype=np.float64)
    tests = [_signed_rank(given, i, j) for i, j in combinations(range(given.shape[1]), 2)]
    adjusted = holm([test.p for test in tests])
    return [test._replace(p_holm=float(p)) for test, p in zip(tests, adjusted, strict=True)]


def _signed_rank(blocks: Floats, first: int, second: int) -> SignedRank:
    pairs, left_out = complete(blocks[:, [first, second]])
    differences = pairs[:, 0] - pairs[:, 1]
    moved = differences[differences != 0]
    ties = differences.size - moved.size
    mean = float(differences.mean()) if differences.size else float("nan")
    balance, p = _balance(moved) if moved.size else (0.0, 1.0 if differences.size else np.nan)
    return SignedRank(first, second, mean, balance, p, np.nan, differences.size, ties, left_out)


def _balance(differences: Floats) -> tuple[float, float]:
    """Rank-biserial correlation and two-sided p of differences (m,), none of them 0."""
    ranks = stats.rankdata(np.abs(differences))
    surplus = float((ranks * np.sign(differences)).sum())
    # Under the null hypothesis each rank has a random sign: variance is the sum of squares.
    z = surplus / float(np.sqrt((ranks**2).sum()))
    exact = differences.size <= EXACT_UP_TO
    p = _exact_p(ranks, surplus) if exact else 2 * float(stats.norm.sf(abs(z)))
    return surplus / float(ranks.sum()), p


def _exact_p(ranks: Floats, surplus: float) -> float:
    """Share of all signs of the ranks (m,) whose sum is as far from 0, one rank after the other."""
    doubled = np.rint(2 * ranks).astype(np.int64)
    total = int(doubled.sum())
    chances = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for rank in doubled:
        # No sum passes the ends, so that rolling over them moves nothing but zeros.
        chances = (np.roll(chances, rank) + np.roll(chances, -rank)) / 2
    far = np.abs(np.arange(-total, total + 1)) >= round(abs(2 * surplus))
    return min(float(chances[far].sum()), 1.0)
