"""Do readers agree with each other, and with themselves: intraclass correlation, weighted kappa.

Shrout and Fleiss 1979, Psychol. Bull. 86:420 (the forms), McGraw and Wong 1996, Psychol.
Methods 1:30 (their intervals); Cohen 1968, Psychol. Bull. 70:213 and Fleiss, Cohen and Everitt
1969, Psychol. Bull. 72:323 (kappa and its error); Light 1971, Psychol. Bull. 76:365 (the mean
over pairs of readers).
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medrobust.statistics import bootstrap_interval, whole
from medrobust.statistics.inputs import Floats, divide
from medrobust.study.statistics.layout import complete

Weighting = Literal["quadratic", "linear", "none"]
"""What a disagreement of d steps costs: d squared, d, or all the same."""

REDRAWS = 2_000
ROUNDING = 1e-12
"""Mean squares and chances up to here are 0 but for rounding."""


class Icc(NamedTuple):
    """An intraclass correlation with its interval; NaN where ratings do not vary with the case.

    The interval is also NaN where a few coarse ratings leave no degrees of freedom.
    """

    value: float
    low: float
    high: float
    cases: int
    """Cases rated by every reader: the ones used."""
    left_out: int


class Kappa(NamedTuple):
    """Kappa of two series of ratings with its normal interval; NaN where it is not defined."""

    value: float
    standard_error: float
    low: float
    high: float
    cases: int
    """Cases with both ratings: the ones used."""
    left_out: int


class MeanKappa(NamedTuple):
    """Mean kappa over pairs, its percentile interval over cases, and each pair's own kappa."""

    value: float
    low: float
    high: float
    pairs: tuple[Kappa, ...]


class _MeanSquares(NamedTuple):
    """Of the two-way layout (cases n, readers k), one rating per cell."""

    cases: float
    readers: float
    error: float
    n: int
    k: int


def icc_agreement(ratings: ArrayLike, level: float = 0.95) -> Icc:
    """ICC(2,1), absolute agreement of one rating by a reader drawn at random.

    Ratings are (cases, readers), or (cases, 2) of one reader's first and repeated ratings; cases
    with a NaN are left out and counted. Value: Shrout and Fleiss 1979; interval: McGraw
    and Wong 1996, table 7, ICC(A,1).
    """
    given, left_out = complete(ratings)
    squares = _mean_squares(given)
    if squares is None:
        return Icc(np.nan, np.nan, np.nan, len(given), left_out)
    n, k = squares.n, squares.k
    spread = squares.cases + (k - 1) * squares.error + k * (squares.readers - squares.error) / n
    if spread <= ROUNDING:
        return Icc(np.nan, np.nan, np.nan, n, left_out)
    value = (squares.cases - squares.error) / spread
    low, high = _agreement_interval(squares, value, level)
    return Icc(value, low, high, n, left_out)


def icc_consistency(ratings: ArrayLike, level: float = 0.95) -> Icc:
    """ICC(3,1), consistency of one rating: a reader's constant bias does not count.

    Ratings and missing ones as in `icc_agreement`. Value: Shrout and Fleiss 1979, table 2;
    interval: McGraw and Wong 1996, table 7, ICC(C,1).
    """
    given, left_out = complete(ratings)
    squares = _mean_squares(given)
    if squares is None:
        return Icc(np.nan, np.nan, np.nan, len(given), left_out)
    n, k = squares.n, squares.k
    if squares.error <= ROUNDING:
        return Icc(1.0, 1.0, 1.0, n, left_out)
    ratio = squares.cases / squares.error
    quantile, free = (1 + level) / 2, (n - 1) * (k - 1)
    ratios = np.array(
        [
            ratio,
            ratio / stats.f.ppf(quantile, n - 1, free),
            ratio * stats.f.ppf(quantile, free, n - 1),
        ]
    )
    value, low, high = (float(number) for number in (ratios - 1) / (ratios + k - 1))
    return Icc(value, low, high, n, left_out)


def _mean_squares(ratings: Floats) -> _MeanSquares | None:
    """None where fewer than two cases or readers are left, or no reader tells cases apart."""
    n, k = ratings.shape
    if min(n, k) < 2 or np.ptp(ratings, axis=0).max() == 0:
        return None
    centred = ratings - ratings.mean()
    of_cases, of_readers = centred.mean(axis=1), centred.mean(axis=0)
    rest = centred - of_cases[:, None] - of_readers
    return _MeanSquares(
        k * float(of_cases @ of_cases) / (n - 1),
        n * float(of_readers @ of_readers) / (k - 1),
        float((rest**2).sum()) / ((n - 1) * (k - 1)),
        n,
        k,
    )


def _agreement_interval(squares: _MeanSquares, value: float, level: float) -> tuple[float, float]:
    """McGraw and Wong 1996, table 7, row ICC(A,1); Satterthwaite's degrees of freedom."""
    of_cases, of_readers, error, n, k = squares
    if 1 - value <= ROUNDING:
        return 1.0, 1.0
    a = k * value / (n * (1 - value)) * of_readers
    b = (1 + k * value * (n - 1) / (n * (1 - value))) * error
    spread = a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1))
    free = (a + b) ** 2 / spread if spread > 0 else 0.0
    quantile = (1 + level) / 2
    below = float(stats.f.ppf(quantile, n - 1, free))
    above = float(stats.f.ppf(quantile, free, n - 1))
    rest = k * of_readers + (k * n - k - n) * error
    low = n * (of_cases - below * error) / (below * rest + n * of_cases)
    high = n * (above * of_cases - error) / (rest + n * above * of_cases)
    return (low, high) if np.isfinite([low, high]).all() else (np.nan, np.nan)


def weighted_kappa(
    first: ArrayLike,
    second: ArrayLike,
    categories: Sequence[float],
    weighting: Weighting = "quadratic",
    level: float = 0.95,
) -> Kappa:
    """Cohen's kappa of two series of ratings (n,); pairs with a NaN are left out and counted.

    `categories` are all ratings that could be given, in order: the steps between them are the
    distance, also across ones that nobody used. The error is that of Fleiss, Cohen and Everitt
    1969. NaN where both series stay in one and the same category. Raises ValueError for a rating
    that is no category.
    """
    given, left_out = complete(np.stack([np.asarray(first), np.asarray(second)], axis=1))
    worth, n = _worth(len(categories), weighting), len(given)
    rows, columns = _one_hot(given[:, 0], categories), _one_hot(given[:, 1], categories)
    if n == 0:
        return Kappa(np.nan, np.nan, np.nan, np.nan, 0, left_out)
    joint = rows.T @ columns / n
    of_rows, of_columns = joint.sum(axis=1), joint.sum(axis=0)
    chance = float(of_rows @ worth @ of_columns)
    if 1 - chance <= ROUNDING:
        return Kappa(np.nan, np.nan, np.nan, np.nan, n, left_out)
    value = (float((joint * worth).sum()) - chance) / (1 - chance)
    means = (worth @ of_columns)[:, None] + worth.T @ of_rows
    spread = float((joint * (worth - means * (1 - value)) ** 2).sum())
    variance = (spread - (value - chance * (1 - value)) ** 2) / (n * (1 - chance) ** 2)
    error = float(np.sqrt(max(variance, 0.0)))
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    return Kappa(value, error, value - reach, min(value + reach, 1.0), n, left_out)


def between_readers(
    ratings: ArrayLike,
    categories: Sequence[float],
    weighting: Weighting = "quadratic",
    clusters: ArrayLike | None = None,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> MeanKappa:
    """Light's kappa: the mean over all pairs of readers of ratings (cases, readers).

    Each pair uses the cases both rated. The 95 % interval redraws cases; where rows are readings
    of a case under several conditions, `clusters` (rows,) are the cases. ValueError for fewer
    than two readers.
    """
    given = np.asarray(ratings, dtype=np.float64)
    pairs = [(given[:, i], given[:, j]) for i, j in combinations(range(given.shape[1]), 2)]
    return _mean_kappa(pairs, categories, weighting, clusters, redraws, seed)


def within_readers(
    first: ArrayLike,
    repeated: ArrayLike,
    categories: Sequence[float],
    weighting: Weighting = "quadratic",
    clusters: ArrayLike | None = None,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> MeanKappa:
    """Kappa of each reader's first and repeated ratings (cases, readers), and the mean over them.

    NaN where a reader did not see the case twice. The interval and `clusters` are as in
    `between_readers`.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(repeated, dtype=np.float64)
    pairs = [(one[:, reader], two[:, reader]) for reader in range(one.shape[1])]
    return _mean_kappa(pairs, categories, weighting, clusters, redraws, seed)


def _mean_kappa(
    pairs: Sequence[tuple[Floats, Floats]],
    categories: Sequence[float],
    weighting: Weighting,
    clusters: ArrayLike | None,
    redraws: int,
    seed: int,
) -> MeanKappa:
    """Pairs without a kappa do not count in the mean; NaN where none has one."""
    if not pairs:
        raise ValueError("expected at least two readers, got fewer")
    cases = pairs[0][0].size
    parts = [_kappa_of_weights(one, two, categories, weighting) for one, two in pairs]

    def mean(weights: Floats) -> Floats:
        values = np.stack([part(weights) for part in parts])
        known = ~np.isnan(values)
        return divide(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0).astype(float))

    members = np.arange(cases) if clusters is None else clusters
    interval = bootstrap_interval(mean, members, redraws, seed)
    single = tuple(weighted_kappa(one, two, categories, weighting) for one, two in pairs)
    return MeanKappa(whole(mean, cases), interval.low, interval.high, single)


def _kappa_of_weights(
    first: Floats, second: Floats, categories: Sequence[float], weighting: Weighting
) -> Callable[[Floats], Floats]:
    """Kappa as a function of weights (R, n) of the cases: (R,), NaN where it is not defined."""
    both = ~np.isnan(first) & ~np.isnan(second)
    worth = _worth(len(categories), weighting)
    rows, columns = _one_hot(first[both], categories), _one_hot(second[both], categories)
    agreed = np.einsum("nk,kl,nl->n", rows, worth, columns)

    def statistic(weights: Floats) -> Floats:
        weight = weights[:, both]
        total = np.maximum(weight.sum(axis=1), 1.0)
        chance = np.einsum("rk,kl,rl->r", weight @ rows, worth, weight @ columns) / total**2
        room = np.where(1 - chance > ROUNDING, 1 - chance, 0.0)
        return divide(weight @ agreed / total - chance, room * (weight.sum(axis=1) > 0))

    return statistic


def _worth(categories: int, weighting: Weighting) -> Floats:
    """Weights of agreement (k, k): 1 on the diagonal, 0 for the largest disagreement."""
    steps = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories)))
    worth: Floats = (steps == 0).astype(np.float64)
    if weighting != "none":
        worth = 1 - (steps / (categories - 1)) ** (1 if weighting == "linear" else 2)
    return worth


def _one_hot(ratings: Floats, categories: Sequence[float]) -> Floats:
    """(n, k)"""
    hit: Floats = (ratings[:, None] == np.asarray(categories)).astype(np.float64)
    if not hit.any(axis=1).all():
        raise ValueError("expected ratings among the categories, got others")
    return hit
