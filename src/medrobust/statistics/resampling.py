"""Bootstrap of patients: intervals and paired differences that respect images of one patient.

Patients, not images, are drawn with replacement; all images of a patient are drawn with them
(Field and Welsh 2007, "Bootstrapping clustered data", J. R. Stat. Soc. B 69:369). A redraw is
then a weight per image, the same for every metric, finding and network that is compared.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.inputs import Floats, Statistic, whole

REDRAWS = 10_000
CHUNK = 2**18  # weights at a time: small enough to stay in a processor's cache


class Interval(NamedTuple):
    """A bootstrap interval; NaN ends when fewer than half of the redraws are defined."""

    low: float
    high: float
    defined: int
    """Redraws in which the statistic was defined (both classes drawn)."""


class Difference(NamedTuple):
    """A paired difference first - second with bootstrap interval and two-sided p."""

    value: float
    low: float
    high: float
    p: float
    defined: int


def redrawn_weights(clusters: ArrayLike, redraws: int = REDRAWS, seed: int = 0) -> Iterator[Floats]:
    """Weights (r, n) of successive redraws of the clusters (n,), such as patient ids.

    A redraw depends on the seed and the set of clusters, neither on the order of the images nor
    on the size of the chunks.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // max(1, member.size))
    for start in range(0, redraws, rows):
        yield _cluster_counts(generator, min(rows, redraws - start), names.size).take(
            member, axis=1
        )


def bootstrap(
    statistics: Sequence[Statistic], clusters: ArrayLike, redraws: int = REDRAWS, seed: int = 0
) -> Floats:
    """Each statistic in each redraw: (redraws, statistics), NaN where it is not defined."""
    values = [
        np.stack([statistic(weights) for statistic in statistics], axis=1)
        for weights in redrawn_weights(clusters, redraws, seed)
    ]
    return np.concatenate(values)


def percentile_interval(values: Floats, level: float = 0.95) -> Interval:
    """The central `level` of the redraws' values (R,) (Efron 1979); NaN values are left out."""
    defined = values[~np.isnan(values)]
    if 2 * defined.size < values.size or defined.size == 0:
        return Interval(float("nan"), float("nan"), int(defined.size))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), int(defined.size))


def bootstrap_interval(
    statistic: Statistic, clusters: ArrayLike, redraws: int = REDRAWS, seed: int = 0
) -> Interval:
    """Percentile 95 % interval of one statistic."""
    return percentile_interval(bootstrap([statistic], clusters, redraws, seed)[:, 0])


def bootstrap_p(values: Floats) -> float:
    """Two-sided p of "the statistic is 0" from its redraws (R,), NaN values left out.

    Twice the smaller share of redraws on either side of 0, each with the observed sample added,
    at most 1 (Davison and Hinkley 1997). NaN under the rule of the interval.
    """
    defined = values[~np.isnan(values)]
    if 2 * defined.size < values.size or defined.size == 0:
        return float("nan")
    smaller = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (defined.size + 1))


def bootstrap_difference(
    first: Sequence[Statistic],
    second: Sequence[Statistic],
    clusters: ArrayLike,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> Difference:
    """Mean of the first statistics minus mean of the second, both on the same redraws.

    One statistic each compares a finding; one per finding compares the macro averages.
    """
    n = np.size(np.asarray(clusters))
    value = np.mean([whole(s, n) for s in first]) - np.mean([whole(s, n) for s in second])
    redrawn = bootstrap([*first, *second], clusters, redraws, seed)
    difference = redrawn[:, : len(first)].mean(axis=1) - redrawn[:, len(first) :].mean(axis=1)
    interval = percentile_interval(difference)
    return Difference(
        float(value), interval.low, interval.high, bootstrap_p(difference), interval.defined
    )


def _cluster_counts(generator: np.random.Generator, rows: int, clusters: int) -> Floats:
    """How often each cluster is drawn: multinomial counts (rows, clusters)."""
    drawn = generator.integers(clusters, size=(rows, clusters))
    drawn += clusters * np.arange(rows)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
    return counts.reshape(rows, clusters).astype(np.float64)
