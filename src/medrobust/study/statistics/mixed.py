"""Mean ratings of conditions by a linear mixed model with crossed random intercepts, by REML.

rating = mean of the condition + intercept of the reader + intercept of the case + rest. Tests use
Satterthwaite's degrees of freedom (Giesbrecht and Burns 1985, Biometrics 41:477; several
contrasts at once: Fai and Cornelius 1996, J. Stat. Comput. Simul. 54:363).
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, stats

from medrobust.errors import MedrobustError
from medrobust.statistics import holm
from medrobust.statistics.inputs import Flags, Floats
from medrobust.study.statistics.intercepts import intercepts
from medrobust.study.statistics.numerical import gradient, hessian
from medrobust.study.statistics.reml import (
    Fit,
    Products,
    fit_at,
    products_of,
    profiled,
    relative_deviations,
)

FLAT = 1e-4
"""Curvatures of the criterion, by the logarithm of a variance, that are 0 but for rounding."""


class ConditionMean(NamedTuple):
    """The mean rating of a condition, for readers and cases like these."""

    condition: Any
    mean: float
    standard_error: float
    degrees: float
    low: float
    high: float


class MeanDifference(NamedTuple):
    """Difference first - second of two mean ratings, with its t test."""

    first: Any
    second: Any
    difference: float
    standard_error: float
    degrees: float
    p: float
    p_holm: float
    """Over all pairs of conditions."""
    low: float
    high: float


class FTest(NamedTuple):
    """Are all condition means equal? NaN with one condition."""

    statistic: float
    degrees: int
    denominator_degrees: float
    p: float


class MixedModel(NamedTuple):
    """A fitted model; conditions in sorted order."""

    means: tuple[ConditionMean, ...]
    differences: tuple[MeanDifference, ...]
    test: FTest
    deviations: dict[str, float]
    """Standard deviation of each factor's intercepts, in units of the rating."""
    residual: float
    log_likelihood: float
    """Restricted; not to be compared between models of different conditions."""
    ratings: int
    left_out: int


class _Variances(NamedTuple):
    """What the estimates' uncertainty needs: covariance, its derivatives, and of what."""

    covariance: Floats
    """Of the means (p, p)."""
    slopes: Floats
    """(m, p, p): derivatives by the logarithms of the m variances."""
    uncertainty: Floats
    """Asymptotic covariance (m, m) of those logarithms."""


def mixed_model(
    ratings: ArrayLike,
    conditions: ArrayLike,
    groups: Mapping[str, ArrayLike],
    level: float = 0.95,
) -> MixedModel:
    """Fit ratings (n,), NaN left out and counted, of conditions (n,) with crossed intercepts.

    `groups` names the factors, with a level per rating: `{"reader": ..., "case": ...}`. Readers
    may differ in how they see conditions: a factor of the pairs (reader, condition) then widens
    the intervals to readers in general. With few readers, whose intercepts are then often
    estimated as equal, that test is slightly liberal: of 1000 simulated studies of 5 readers
    and 8 cases without a difference, 5.5 to 6 % had p < 0.05. Signed ranks of blocks of readers
    hold the level (`ranks.as_blocks`). Raises MedrobustError for a factor with one level, and
    where the ratings do not vary within conditions.
    """
    given = np.asarray(ratings, dtype=np.float64)
    kept = ~np.isnan(given)
    names, products, centre = _products(given[kept], np.asarray(conditions)[kept], groups, kept)
    theta = relative_deviations(products, len(groups))
    fit, free = fit_at(products, theta), products.n - len(names)
    variance = fit.squares / free
    parts = _variances(products, theta, variance)
    return MixedModel(
        tuple(
            _mean(name, float(mean) + centre, parts, contrast, level)
            for name, mean, contrast in zip(names, fit.means, np.eye(len(names)), strict=True)
        ),
        _differences(names, fit.means, parts, level),
        _f_test(fit.means, parts),
        {name: float(t * np.sqrt(variance)) for name, t in zip(groups, theta, strict=True)},
        float(np.sqrt(variance)),
        -profiled(products, fit) / 2,
        products.n,
        int((~kept).sum()),
    )


def _products(
    ratings: Floats, conditions: NDArray[Any], groups: Mapping[str, ArrayLike], kept: Flags
) -> tuple[list[Any], Products, float]:
    """Names of the conditions, cross-products of the centred ratings, and their centre."""
    names, condition = np.unique(conditions, return_inverse=True)
    x = (condition[:, None] == np.arange(names.size)).astype(np.float64)
    of_conditions = x.T @ ratings / x.sum(axis=0)
    if ratings.size <= names.size or not (np.abs(ratings - x @ of_conditions) > 1e-9).any():
        raise MedrobustError(
            f"expected ratings that vary within conditions, found {ratings.size} that do not: "
            "a mixed model needs more"
        )
    # Centred, sums of squares lose no digits to a large mean.
    centre = float(ratings.mean())
    return names.tolist(), products_of(ratings - centre, x, intercepts(groups, kept)), centre


def _variances(products: Products, theta: Floats, variance: float) -> _Variances:
    """Variances at the boundary count as known to be 0, as nothing can be said of their spread."""
    active, free = theta > 0, products.n - len(products.xx)

    def at(logs: Floats) -> tuple[Fit, float]:
        moved, residual = np.zeros(theta.size), float(np.exp(logs[-1]))
        moved[active] = np.sqrt(np.exp(logs[:-1]) / residual)
        return fit_at(products, moved), residual

    def criterion(logs: Floats) -> float:
        fit, residual = at(logs)
        return fit.log_determinants + free * float(logs[-1]) + fit.squares / residual

    def covariance(logs: Floats) -> Floats:
        fit, residual = at(logs)
        inverse: Floats = residual * linalg.inv(fit.information)
        return inverse

    logs = np.log(np.append(theta[active] ** 2 * variance, variance))
    # Twice the inverse; directions without curvature, next to the boundary, are left out.
    values, vectors = np.linalg.eigh(hessian(criterion, logs))
    curved = vectors[:, values > FLAT] * np.sqrt(2 / values[values > FLAT])
    return _Variances(covariance(logs), gradient(covariance, logs), curved @ curved.T)


def _error(parts: _Variances, contrast: Floats) -> tuple[float, float]:
    """Standard error of a contrast (p,) of the means, and Satterthwaite's degrees of freedom."""
    variance = float(contrast @ parts.covariance @ contrast)
    slopes = contrast @ parts.slopes @ contrast
    spread = float(slopes @ parts.uncertainty @ slopes)
    return float(np.sqrt(variance)), 2 * variance**2 / spread if spread > 0 else np.inf


def _mean(
    condition: Any, mean: float, parts: _Variances, contrast: Floats, level: float
) -> ConditionMean:
    error, degrees = _error(parts, contrast)
    reach = float(stats.t.ppf((1 + level) / 2, degrees)) * error
    return ConditionMean(condition, mean, error, degrees, mean - reach, mean + reach)


def _differences(
    names: list[Any], means: Floats, parts: _Variances, level: float
) -> tuple[MeanDifference, ...]:
    found = []
    for i, j in combinations(range(len(names)), 2):
        contrast = np.eye(len(names))[i] - np.eye(len(names))[j]
        error, degrees = _error(parts, contrast)
        value = float(contrast @ means)
        p = 2 * float(stats.t.sf(abs(value) / error, degrees))
        reach = float(stats.t.ppf((1 + level) / 2, degrees)) * error
        found.append(
            MeanDifference(
                names[i], names[j], value, error, degrees, p, np.nan, value - reach, value + reach
            )
        )
    adjusted = holm([difference.p for difference in found])
    return tuple(d._replace(p_holm=float(p)) for d, p in zip(found, adjusted, strict=True))


def _f_test(means: Floats, parts: _Variances) -> FTest:
    """Fai and Cornelius 1996: independent contrasts, whose t tests are put together."""
    count = means.size - 1
    if count == 0:
        return FTest(np.nan, 0, np.nan, np.nan)
    contrasts = np.eye(means.size)[:-1] - np.eye(means.size)[1:]
    values, vectors = np.linalg.eigh(contrasts @ parts.covariance @ contrasts.T)
    independent: Floats = vectors.T @ contrasts
    statistic = float(((independent @ means) ** 2 / values).mean())
    each = np.array([_error(parts, contrast)[1] for contrast in independent])
    if count == 1:
        degrees = float(each[0])
    else:
        expected = float((each / (each - 2))[each > 2].sum())
        degrees = 2 * expected / (expected - count) if expected > count else 2.0
    return FTest(statistic, count, degrees, float(stats.f.sf(statistic, count, degrees)))
