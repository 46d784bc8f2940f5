"""Variance of the AUROC without resampling: DeLong, and Obuchowski for several images a patient.

DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837, by midranks (Sun and Xu 2014, IEEE
Signal Processing Letters 21:1389). Obuchowski 1997, "Nonparametric analysis of clustered ROC
curve data", Biometrics 53:567, sums the same components within clusters; with one image per
cluster her variance is DeLong's exactly.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from medrobust.statistics.inputs import Flags, Floats, Integers, checked

NOT_ESTIMABLE = 1e-15
"""Variances up to here are 0 but for rounding (perfect separation, equal scores) or negative."""


class DeLongInterval(NamedTuple):
    """An AUROC with its standard error and interval; NaN where they cannot be estimated."""

    auroc: float
    standard_error: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """Difference first - second of two AUROCs on the same images, with its normal test."""

    difference: float
    standard_error: float
    z: float
    p: float
    """Two-sided."""
    low: float
    high: float


def delong_covariance(
    labels: ArrayLike, scores: ArrayLike, clusters: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """AUROCs (S,) of the score vectors (S, n) on the same images, and their covariance (S, S).

    Labels (n,) are 1, 0 or NaN (left out); `clusters` (n,) are patient ids, None makes every
    image its own. AUROCs are NaN when a class is missing, covariances also when all positives
    or all negatives belong to one cluster.
    """
    vectors = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    truth = checked(labels, vectors[0])[0]
    known = ~np.isnan(truth)
    positive = truth[known] == 1
    if positive.all() or not positive.any():
        return np.full(len(vectors), np.nan), np.full((len(vectors), len(vectors)), np.nan)
    placements = np.stack([_placements(positive, checked(labels, v)[1][known]) for v in vectors])
    aurocs = placements[:, positive].mean(axis=1)
    members = np.arange(truth.size) if clusters is None else np.asarray(clusters)
    return aurocs, _covariance(placements - aurocs[:, None], positive, members[known])


def delong_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> DeLongInterval:
    """AUROC with standard error and Wald interval on the logit scale, so never outside [0, 1].

    On that scale coverage stays near `level` for high AUROCs and small samples, where the plain
    Wald interval is too narrow and passes 1 (Pepe 2003, p. 107; Kottas, Kuss and Zapf 2014,
    BMC Med. Res. Methodol. 14:26). An AUROC of exactly 0 or 1 has estimated variance 0,
    from which no interval follows (Obuchowski and Lieber 2002): error and interval are NaN.
    """
    aurocs, covariance = delong_covariance(labels, scores, clusters)
    auroc, error = float(aurocs[0]), _standard_error(covariance[0, 0])
    if np.isnan(error):
        return DeLongInterval(auroc, error, error, error)
    reach = stats.norm.ppf((1 + level) / 2) * error / (auroc * (1 - auroc))
    low, high = special.expit(special.logit(auroc) + np.array([-reach, reach]))
    return DeLongInterval(auroc, error, float(low), float(high))


def delong_test(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> PairedTest:
    """Are two AUROCs on the same images equal? Normal test and interval of their difference.

    Equal AUROCs have z = 0, p = 1; a difference whose variance cannot be estimated has NaN.
    """
    aurocs, covariance = delong_covariance(labels, np.stack([first, second]), clusters)
    difference = float(aurocs[0] - aurocs[1])
    error = _standard_error(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    z = 0.0 if difference == 0 else difference / error
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    low, high = np.clip([difference - reach, difference + reach], -1.0, 1.0)
    p = 2 * float(stats.norm.sf(abs(z)))
    return PairedTest(difference, error, z, p, float(low), float(high))


def _standard_error(variance: float) -> float:
    """Root of a variance; NaN for one that is NaN or not above rounding."""
    return float(np.sqrt(variance)) if variance > NOT_ESTIMABLE else float("nan")


def _placements(positive: Flags, scores: Floats) -> Floats:
    """Structural components (n,), as differences of midranks.

    Of a positive the share of negatives below it (V10), of a negative the share of positives
    above it (V01), ties half.
    """
    among_all = stats.rankdata(scores)
    placements = np.empty(scores.size)
    below = among_all[positive] - stats.rankdata(scores[positive])
    placements[positive] = below / (~positive).sum()
    below = among_all[~positive] - stats.rankdata(scores[~positive])
    placements[~positive] = 1 - below / positive.sum()
    return placements


def _covariance(deviations: Floats, positive: Flags, clusters: NDArray[Any]) -> Floats:
    """Covariance (S, S) of AUROCs from placements minus AUROC (S, n).

    S10 / M, S01 / N and S11 / MN of the paper: sums over clusters, each with its I / (I - 1).
    """
    names, member = np.unique(clusters, return_inverse=True)
    with_positives = np.unique(member[positive]).size
    with_negatives = np.unique(member[~positive]).size
    if min(with_positives, with_negatives) < 2:
        return np.full((len(deviations), len(deviations)), np.nan)
    up = _sums(deviations * positive, member, names.size) / positive.sum()
    down = _sums(deviations * ~positive, member, names.size) / (~positive).sum()
    crossed = _unbiased(names.size) * up @ down.T
    squares = _unbiased(with_positives) * up @ up.T + _unbiased(with_negatives) * down @ down.T
    covariance: Floats = squares + crossed + crossed.T
    return covariance


def _sums(values: Floats, member: Integers, clusters: int) -> Floats:
    """Sums within clusters: (S, n) -> (S, clusters)."""
    return np.stack([np.bincount(member, row, minlength=clusters) for row in values])


def _unbiased(clusters: int) -> float:
    return clusters / (clusters - 1)
