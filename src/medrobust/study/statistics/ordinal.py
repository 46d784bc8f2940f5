"""Ratings as ordered categories: cumulative logits with crossed random intercepts.

logit P(rating <= j) = threshold j - effects - intercept of the reader - intercept of the case,
so that a positive effect means higher ratings and exp(effect) is an odds ratio, the same at every
threshold. Fitted by the Laplace approximation, as `clmm` of R's package ordinal does (Christensen
2019; McCullagh 1980, J. R. Stat. Soc. B 42:109; Pinheiro and Bates 1995, J. Comput. Graph. Stat.
4:12).
"""

from collections.abc import Mapping
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize, special, stats

from medrobust.errors import MedrobustError
from medrobust.statistics import holm
from medrobust.statistics.inputs import Floats, Integers
from medrobust.study.statistics.intercepts import Intercepts, intercepts
from medrobust.study.statistics.numerical import hessian

NEWTON_STEPS = 50
NEWTON_PRECISION = 1e-9
BOUNDARY = 1e-3
"""Standard deviations of intercepts, in logits, up to here are 0."""
FARTHEST = 30.0
"""Logits beyond which an estimate counts as infinite: an effect that separates the ratings."""


class Effect(NamedTuple):
    """A coefficient in logits with its Wald test; exp of it is an odds ratio."""

    name: str
    value: float
    standard_error: float
    z: float
    p: float
    low: float
    high: float


class OrdinalModel(NamedTuple):
    """A fitted model."""

    effects: tuple[Effect, ...]
    covariance: Floats
    """Of the effects (p, p)."""
    thresholds: dict[str, Effect]
    """Between neighbouring categories that were used, such as "2|3"."""
    deviations: dict[str, float]
    """Standard deviation of each factor's intercepts, in logits."""
    log_likelihood: float
    parameters: int
    ratings: int
    left_out: int


class OddsDifference(NamedTuple):
    """Difference first - second of two conditions in logits; exp of it is their odds ratio."""

    first: str
    second: str
    log_odds: float
    standard_error: float
    p: float
    p_holm: float
    """Over all pairs of conditions."""
    low: float
    high: float


class LikelihoodRatio(NamedTuple):
    """Does the larger of two nested models fit better?"""

    statistic: float
    degrees: int
    p: float


class _Data(NamedTuple):
    category: Integers
    """(n,) from 0, categories that were used."""
    effects: Floats
    """(n, p)"""
    random: Intercepts


class _Parts(NamedTuple):
    """Parameters as what they mean."""

    thresholds: Floats
    effects: Floats
    deviations: Floats


def condition_effects(conditions: ArrayLike, reference: Any = None) -> dict[str, Floats]:
    """Columns (n,) of 0 and 1 for every condition of (n,) but the reference (the first)."""
    given = np.asarray(conditions)
    names = np.unique(given)
    base = names[0] if reference is None else reference
    return {str(name): (given == name).astype(np.float64) for name in names if name != base}


def ordinal_mixed_model(
    ratings: ArrayLike,
    effects: Mapping[str, ArrayLike],
    groups: Mapping[str, ArrayLike],
    level: float = 0.95,
) -> OrdinalModel:
    """Fit ratings (n,), NaN left out and counted, by effects (columns (n,)) and factors (n,).

    `groups` as in `mixed_model`: `{"reader": ..., "case": ...}`. Categories nobody used do not
    count. Raises MedrobustError for a factor with one level, for fewer than two categories, and
    where an effect separates the ratings, which would make it infinite.
    """
    given = np.asarray(ratings, dtype=np.float64)
    kept = ~np.isnan(given)
    names, category = np.unique(given[kept], return_inverse=True)
    if names.size < 2:
        raise MedrobustError(f"expected at least two different ratings, found {names.size}")
    columns = [np.asarray(column, dtype=np.float64)[kept] for column in effects.values()]
    table = np.stack(columns, axis=1) if columns else np.empty((category.size, 0))
    data = _Data(category, table, intercepts(groups, kept))
    best, log_likelihood = _maximised(data, names.size)
    estimates, covariance = _natural(data, best, names.size)
    steps = [f"{a:g}|{b:g}" for a, b in pairwise(names)]
    found = [
        _effect(name, value, variance, level)
        for name, value, variance in zip(
            [*steps, *effects], estimates, np.diag(covariance), strict=True
        )
    ]
    deviations = _parts(best, names.size, len(effects)).deviations
    return OrdinalModel(
        tuple(found[len(steps) :]),
        covariance[len(steps) :, len(steps) :],
        dict(zip(steps, found, strict=False)),
        dict(zip(groups, map(float, deviations), strict=True)),
        log_likelihood,
        best.size,
        category.size,
        int((~kept).sum()),
    )


def likelihood_ratio(larger: OrdinalModel, smaller: OrdinalModel) -> LikelihoodRatio:
    """Test of the effects the smaller of two nested models of the same ratings lacks.

    Raises ValueError where they are not such models.
    """
    degrees = larger.parameters - smaller.parameters
    if degrees < 1 or larger.ratings != smaller.ratings:
        raise ValueError("expected the larger of two models of the same ratings first")
    statistic = 2 * max(larger.log_likelihood - smaller.log_likelihood, 0.0)
    return LikelihoodRatio(statistic, degrees, float(stats.chi2.sf(statistic, degrees)))


def condition_differences(
    model: OrdinalModel, reference: str, level: float = 0.95
) -> tuple[OddsDifference, ...]:
    """All pairs of conditions of a model with `condition_effects`; `reference` is their first."""
    values = np.array([0.0, *(effect.value for effect in model.effects)])
    covariance = np.pad(model.covariance, ((1, 0), (1, 0)))
    names = [reference, *(effect.name for effect in model.effects)]
    found = []
    for i, j in combinations(range(len(names)), 2):
        variance = float(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j])
        _, value, error, _, p, low, high = _effect("", values[i] - values[j], variance, level)
        found.append(OddsDifference(names[i], names[j], value, error, p, np.nan, low, high))
    adjusted = holm([difference.p for difference in found])
    return tuple(d._replace(p_holm=float(p)) for d, p in zip(found, adjusted, strict=True))


def _parts(parameters: Floats, categories: int, effects: int) -> _Parts:
    """First threshold, logarithms of the steps between thresholds, effects, deviations."""
    first, steps = parameters[:1], np.exp(parameters[1 : categories - 1])
    thresholds = np.cumsum(np.concatenate([first, steps]))
    cut = categories - 1 + effects
    return _Parts(thresholds, parameters[categories - 1 : cut], parameters[cut:])


def _maximised(data: _Data, categories: int) -> tuple[Floats, float]:
    """Parameters of the highest Laplace likelihood, and its logarithm."""
    effects, factors = data.effects.shape[1], len(data.random.factors)
    shares = np.cumsum(np.bincount(data.category) / data.category.size)[:-1]
    thresholds = special.logit(shares)
    start = np.concatenate(
        [thresholds[:1], np.log(np.diff(thresholds)), np.zeros(effects), np.ones(factors)]
    )
    modes = np.zeros(data.random.factor.size)

    def loss(parameters: Floats) -> float:
        return -_laplace(data, _parts(parameters, categories, effects), modes)

    limits = [(-FARTHEST, FARTHEST)] * (start.size - factors) + [(0.0, FARTHEST)] * factors
    found = optimize.minimize(
        loss,
        start,
        method="L-BFGS-B",
        jac="3-point",
        bounds=limits,
        options={"ftol": 1e-13, "gtol": 1e-5},
    )
    best: Floats = found.x
    if (np.abs(best) > FARTHEST - 1).any():
        raise MedrobustError(
            "expected ratings that overlap between conditions and readers, found ones that an "
            "effect or intercept separates: its estimate is infinite, use rank tests instead"
        )
    return best, -float(found.fun)


def _natural(data: _Data, best: Floats, categories: int) -> tuple[Floats, Floats]:
    """Thresholds and effects, and their covariance, from the observed information.

    The information is that of all parameters; deviations at the boundary count as known to be 0.
    """
    effects = data.effects.shape[1]
    parts = _parts(best, categories, effects)
    active = parts.deviations > BOUNDARY
    estimates = np.concatenate([parts.thresholds, parts.effects])
    modes = np.zeros(data.random.factor.size)

    def loss(values: Floats) -> float:
        thresholds, rest = values[: categories - 1], values[categories - 1 : estimates.size]
        deviations = np.zeros(parts.deviations.size)
        deviations[active] = values[estimates.size :]
        return -_laplace(data, _Parts(thresholds, rest, deviations), modes)

    information = hessian(loss, np.concatenate([estimates, parts.deviations[active]]))
    covariance: Floats = linalg.inv(information)[: estimates.size, : estimates.size]
    return estimates, covariance


def _laplace(data: _Data, parts: _Parts, modes: Floats) -> float:
    """Laplace's approximation of the log-likelihood.

    `modes` (q,), the intercepts in standard deviations, are where Newton's method starts and,
    afterwards, where it ended: the next call with parameters nearby needs few steps. The
    log-posterior is concave, so there is one mode.
    """
    scale = parts.deviations[data.random.factor]
    fixed = data.effects @ parts.effects
    value, slope, curvature = _posterior(data, parts, fixed, scale, modes)
    for _ in range(NEWTON_STEPS):
        step = linalg.cho_solve(linalg.cho_factor(curvature), slope)
        if np.abs(step).max() < NEWTON_PRECISION:
            break
        length = 1.0
        while True:
            trial = _posterior(data, parts, fixed, scale, modes + length * step)
            if trial[0] >= value - 1e-10 or length < 1e-6:
                break
            length /= 2
        modes += length * step
        value, slope, curvature = trial
    return value - float(np.linalg.slogdet(curvature).logabsdet) / 2


def _posterior(
    data: _Data, parts: _Parts, fixed: Floats, scale: Floats, modes: Floats
) -> tuple[float, Floats, Floats]:
    """Log-density of ratings and intercepts, its slope (q,) and negative curvature (q, q)."""
    predictor = fixed + data.random.incidence @ (scale * modes)
    bounds = np.concatenate([[-np.inf], parts.thresholds, [np.inf]])
    upper, lower = bounds[data.category + 1] - predictor, bounds[data.category] - predictor
    # F(u) - F(l) = F(u) (1 - F(l)) (1 - exp(l - u)) for the logistic F: no digits are lost.
    inside = special.log_expit(upper) + special.log_expit(-lower) + np.log(-np.expm1(lower - upper))
    above, below = special.expit(upper), special.expit(lower)
    slope = scale * (data.random.incidence.T @ (above + below - 1)) - modes
    weights = above * (1 - above) + below * (1 - below)
    curvature = scale[:, None] * data.random.products(weights) * scale + np.eye(scale.size)
    return float(inside.sum()) - float(modes @ modes) / 2, slope, curvature


def _effect(name: str, value: float, variance: float, level: float) -> Effect:
    error = float(np.sqrt(variance))
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    z = float(value) / error
    p = 2 * float(stats.norm.sf(abs(z)))
    return Effect(name, float(value), error, z, p, float(value) - reach, float(value) + reach)
