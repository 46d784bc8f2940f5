"""Several readers, several cases, several conditions: do the AUROCs differ (MRMC)?

Obuchowski and Rockette 1995, Commun. Stat. Simul. Comput. 24:285, with the degrees of freedom of
Hillis 2007, Stat. Med. 26:596. The AUROCs of conditions and readers are an analysis of variance
whose errors are correlated, as all of them come from the same cases.
"""

from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from medrobust.statistics import delong_covariance, holm, weighted_auroc
from medrobust.statistics.inputs import Flags, Floats

Effects = Literal["random", "fixed"]
Covariance = Literal["delong", "jackknife"]

ROUNDING = 1e-15
"""Errors up to here are 0 but for rounding: nothing can be tested against them."""


class Components(NamedTuple):
    """Error variance and covariances of the AUROCs, and the mean squares of the AUROCs.

    NaN where the design has none: covariances of readers with one reader, mean squares of
    interaction with one reader, of conditions with one condition.
    """

    variance: float
    covariance_readings: float
    """Cov1: same reader, different conditions."""
    covariance_readers: float
    """Cov2: same condition, different readers."""
    covariance_both: float
    """Cov3: both different."""
    square_conditions: float
    square_readers: float
    square_interaction: float


class GlobalTest(NamedTuple):
    """Are the conditions' mean AUROCs equal? An F test; for fixed readers chi-square / df."""

    statistic: float
    degrees: float
    denominator_degrees: float
    """Infinite for fixed readers."""
    p: float


class ConditionAuroc(NamedTuple):
    """The mean AUROC of a condition over readers, with an interval from its ratings alone."""

    auroc: float
    standard_error: float
    degrees: float
    low: float
    high: float


class AurocDifference(NamedTuple):
    """Difference first - second of two conditions' mean AUROCs."""

    first: int
    second: int
    difference: float
    standard_error: float
    degrees: float
    p: float
    p_holm: float
    """Over all pairs of conditions."""
    low: float
    high: float


class Mrmc(NamedTuple):
    """An analysis of T conditions and R readers."""

    aurocs: Floats
    """(T, R)"""
    components: Components
    test: GlobalTest
    conditions: tuple[ConditionAuroc, ...]
    differences: tuple[AurocDifference, ...]
    cases: int
    """Cases with known truth that every reader rated in every condition: the ones used."""
    left_out: int


class _Error(NamedTuple):
    """Variance of a mean AUROC over readers, times the readers, with its degrees of freedom."""

    square: float
    degrees: float


def obuchowski_rockette(
    truth: ArrayLike,
    scores: ArrayLike,
    readers: Effects = "random",
    cases: Effects = "random",
    covariance: Covariance = "delong",
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> Mrmc:
    """Compare AUROCs of truth (n,) and scores (T conditions, R readers, n cases).

    Truth is 1, 0 or NaN; a case with unknown truth, or with a NaN score anywhere, is left out
    and counted. Random readers and cases generalise to the populations both come from, fixed
    ones only hold for those of the study; both fixed leaves nothing to test (ValueError). Random
    readers need two of them, else tests are NaN. `clusters` (n,) are patients with several
    cases.
    """
    if readers == cases == "fixed":
        raise ValueError("expected readers or cases to be random, got both fixed")
    known, given, kept = _complete(truth, scores)
    conditions, n_readers = given.shape[:2]
    members = np.arange(known.size) if clusters is None else np.asarray(clusters)[kept]
    aurocs, errors = _aurocs(known, given.reshape(conditions * n_readers, -1), covariance, members)
    table = aurocs.reshape(conditions, n_readers)
    blocks = errors.reshape(conditions, n_readers, conditions, n_readers)
    components = _components(table, blocks)
    error = _difference_error(components, table.shape, readers, cases)
    return Mrmc(
        table,
        components,
        _test(components, error, conditions),
        tuple(
            _condition(table[t], blocks[t, :, t], readers, cases, level) for t in range(conditions)
        ),
        _differences(table, error, level),
        int(kept.sum()),
        int((~kept).sum()),
    )


def _complete(truth: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Flags]:
    """Truth and scores of the cases to use, and which (n,) they are."""
    labels, given = np.asarray(truth, np.float64), np.asarray(scores, np.float64)
    if given.ndim != 3 or labels.shape != given.shape[2:]:
        raise ValueError(
            f"expected truth (n,) and scores (conditions, readers, n), got {labels.shape} and "
            f"{given.shape}"
        )
    kept = ~np.isnan(labels) & ~np.isnan(given).any(axis=(0, 1))
    return labels[kept], given[:, :, kept], kept


def _aurocs(
    truth: Floats, scores: Floats, method: Covariance, clusters: NDArray[Any]
) -> tuple[Floats, Floats]:
    """AUROCs (S,) of scores (S, n) and their covariance (S, S)."""
    aurocs, covariance = delong_covariance(truth, scores, clusters)
    if method == "delong":
        return aurocs, covariance
    names = np.unique(clusters)
    without = (clusters != names[:, None]).astype(np.float64)
    left = np.stack([weighted_auroc(truth, row)(without) for row in scores])
    deviations = left - left.mean(axis=1, keepdims=True)
    return aurocs, (names.size - 1) / names.size * deviations @ deviations.T


def _components(aurocs: Floats, covariance: Floats) -> Components:
    """From AUROCs (T, R) and their covariance (T, R, T, R)."""
    conditions, readers = aurocs.shape
    same_condition = np.eye(conditions, dtype=bool)[:, None, :, None]
    same_reader = np.eye(readers, dtype=bool)[None, :, None, :]
    of_conditions = aurocs.mean(axis=1) - aurocs.mean()
    of_readers = aurocs.mean(axis=0) - aurocs.mean()
    rest = aurocs - aurocs.mean() - of_conditions[:, None] - of_readers
    return Components(
        _mean(covariance, same_condition & same_reader),
        _mean(covariance, ~same_condition & same_reader),
        _mean(covariance, same_condition & ~same_reader),
        _mean(covariance, ~same_condition & ~same_reader),
        _quotient(readers * float(of_conditions @ of_conditions), conditions - 1),
        _quotient(conditions * float(of_readers @ of_readers), readers - 1),
        _quotient(float((rest**2).sum()), (conditions - 1) * (readers - 1)),
    )


def _difference_error(
    components: Components, shape: tuple[int, ...], readers: Effects, cases: Effects
) -> _Error:
    """The denominator of the test of conditions."""
    conditions, n_readers = shape
    shared = _excess(components.covariance_readers, components.covariance_both)
    if readers == "fixed":
        own = components.variance - components.covariance_readings
        return _Error(own + (n_readers - 1) * shared, np.inf)
    square, degrees = components.square_interaction, (conditions - 1) * (n_readers - 1)
    if cases == "fixed":
        return _Error(square, degrees)
    return _satterthwaite(square, n_readers * shared, degrees)


def _condition(
    aurocs: Floats, covariance: Floats, readers: Effects, cases: Effects, level: float
) -> ConditionAuroc:
    """One condition from its own AUROCs (R,) and covariance (R, R)."""
    n = aurocs.size
    others = ~np.eye(n, dtype=bool)
    shared = _excess(_mean(covariance, others), 0.0)
    square = float(aurocs.var(ddof=1)) if n > 1 else float("nan")
    if readers == "fixed":
        error = _Error(float(np.diag(covariance).mean()) + (n - 1) * shared, np.inf)
    elif cases == "fixed":
        error = _Error(square, n - 1)
    else:
        error = _satterthwaite(square, n * shared, n - 1)
    mean, deviation = float(aurocs.mean()), float(np.sqrt(error.square / n))
    reach = _quantile(error.degrees, level) * deviation
    low, high = np.clip([mean - reach, mean + reach], 0.0, 1.0)
    return ConditionAuroc(mean, deviation, error.degrees, float(low), float(high))


def _test(components: Components, error: _Error, conditions: int) -> GlobalTest:
    if not error.square > ROUNDING or conditions < 2:
        return GlobalTest(np.nan, conditions - 1, error.degrees, np.nan)
    statistic = components.square_conditions / error.square
    if np.isinf(error.degrees):
        p = float(stats.chi2.sf(statistic * (conditions - 1), conditions - 1))
    else:
        p = float(stats.f.sf(statistic, conditions - 1, error.degrees))
    return GlobalTest(statistic, conditions - 1, error.degrees, p)


def _differences(aurocs: Floats, error: _Error, level: float) -> tuple[AurocDifference, ...]:
    pairs = combinations(range(len(aurocs)), 2)
    found = [_difference(aurocs, pair, error, level) for pair in pairs]
    adjusted = holm([difference.p for difference in found])
    return tuple(d._replace(p_holm=float(p)) for d, p in zip(found, adjusted, strict=True))


def _difference(
    aurocs: Floats, pair: tuple[int, int], error: _Error, level: float
) -> AurocDifference:
    first, second = pair
    value = float(aurocs[first].mean() - aurocs[second].mean())
    square = error.square if error.square > ROUNDING else float("nan")
    deviation = float(np.sqrt(2 / aurocs.shape[1] * square))
    # stats.t with infinite degrees of freedom is the normal distribution.
    p = 2 * float(stats.t.sf(abs(value / deviation), error.degrees))
    reach = _quantile(error.degrees, level) * deviation
    low, high = np.clip([value - reach, value + reach], -1.0, 1.0)
    return AurocDifference(
        first, second, value, deviation, error.degrees, p, np.nan, float(low), float(high)
    )


def _satterthwaite(square: float, shared: float, degrees: int) -> _Error:
    """A mean square plus an error of the cases that counts as known."""
    if square == 0:
        return _Error(shared, np.inf)
    return _Error(square + shared, degrees * ((square + shared) / square) ** 2)


def _quantile(degrees: float, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, degrees)) if degrees > 0 else float("nan")


def _mean(covariance: Floats, chosen: Flags) -> float:
    picked = covariance[np.broadcast_to(chosen, covariance.shape)]
    return float(picked.mean()) if picked.size else float("nan")


def _quotient(total: float, degrees: int) -> float:
    return total / degrees if degrees else float("nan")


def _excess(more: float, less: float) -> float:
    """How much two covariances differ; 0 where they should not (negative) or there are none."""
    return more - less if more > less else 0.0
