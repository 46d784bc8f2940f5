"""Is one network not worse than another by more than a margin of AUROC?

The margin, chosen before the data are seen, is the largest loss that would not matter. The first
network is not inferior when the lower limit of the one-sided 97.5 % interval of the difference
first - second, which is that of the two-sided 95 % interval, lies above -margin (Piaggio et al.
2012, CONSORT extension, JAMA 308:2594; for paired AUROCs Liu, Ma, Wu and Tai 2006, Stat. Med.
25:1219). A test of difference that finds none does not show that.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medrobust.statistics.delong import delong_test
from medrobust.statistics.inputs import Floats
from medrobust.statistics.resampling import percentile_interval

LEVEL = 0.95
"""Two-sided; its lower limit is one-sided at 97.5 %."""


class NonInferiority(NamedTuple):
    """Difference first - second with its lower limit and one-sided p; NaN if not estimable."""

    difference: float
    low: float
    """Lower limit of the one-sided 97.5 % interval."""
    p: float
    """Of "the first is worse by the margin or more"."""
    not_inferior: bool
    """Whether `low` lies above -margin; False when it cannot be estimated."""


def bootstrap_non_inferiority(difference: float, redrawn: Floats, margin: float) -> NonInferiority:
    """From the difference first - second and its values in the redraws of the patients (R,).

    p is the share of redraws at or below -margin, the observed sample added (Davison and
    Hinkley 1997); NaN values are left out, under the rule of the interval. Raises ValueError
    for a margin outside (0, 1).
    """
    _check(margin)
    low, _, defined = percentile_interval(redrawn, LEVEL)
    worse = int((redrawn <= -margin).sum())
    p = float("nan") if np.isnan(low) else (worse + 1) / (defined + 1)
    return NonInferiority(difference, low, p, low > -margin)


def delong_non_inferiority(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    margin: float,
    clusters: ArrayLike | None = None,
) -> NonInferiority:
    """From labels (n,) and both networks' scores (n,), by DeLong's variance of the difference.

    `clusters` (n,) are patient ids, as in `delong_test`. Limit and p agree exactly: p < 0.025
    where `low` lies above -margin. Raises ValueError for a margin outside (0, 1).
    """
    _check(margin)
    test = delong_test(labels, first, second, clusters, LEVEL)
    p = float(stats.norm.sf((test.difference + margin) / test.standard_error))
    return NonInferiority(test.difference, test.low, p, test.low > -margin)


def _check(margin: float) -> None:
    if not 0 < margin < 1:
        raise ValueError(f"expected a margin of AUROC between 0 and 1, got {margin:g}")
