"""The mixed model of complete ratings in closed form: for simulations, many times as fast.

Every reader rates every case under every condition; intercepts are those of reader, case, map
(case and condition), and reader and condition. The restricted likelihood is then that of five
independent mean squares. Expected ones are sums of variances and thus ordered: the best estimates
are the mean squares, pooled where they are not in this order (Thompson 1962, Ann. Math. Stat.
33:273). It is what `mixed_model` finds by search.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from medrobust.statistics.inputs import Floats, Integers
from medrobust.study.statistics.reml import ROUNDING

REST, PREFERENCE, MAP, READER, CASE = range(5)
BELOW = {PREFERENCE: REST, MAP: REST, READER: PREFERENCE, CASE: MAP}
"""The stratum whose expected mean square is not larger: it lacks a variance."""


class Complete(NamedTuple):
    """Means (k,) of conditions, and what the difference of any two of them is tested by."""

    means: Floats
    standard_error: float
    degrees: float
    """Satterthwaite's."""

    @property
    def p(self) -> list[float]:
        """Of every pair of conditions, two-sided, in the order of `combinations`."""
        apart = [abs(float(a - b)) for a, b in combinations(self.means, 2)]
        return [2 * float(stats.t.sf(value / self.standard_error, self.degrees)) for value in apart]


def complete_model(ratings: Floats) -> Complete:
    """Of ratings (readers, cases, conditions), two or more of each, that vary within conditions."""
    readers, cases, _ = ratings.shape
    squares, degrees = _strata(ratings)
    squares[REST] = max(squares[REST], ROUNDING * squares.sum())
    groups = _ordered(squares, degrees)
    total = np.maximum(np.bincount(groups, degrees, minlength=5), 1)
    means = np.bincount(groups, squares, minlength=5) / total
    weights = np.bincount(groups[[PREFERENCE, MAP, REST]], [1, 1, -1], minlength=5)
    parts = weights * means
    variance = float(parts.sum())
    freedom = variance**2 / float((parts**2 / total).sum())
    error = float(np.sqrt(2 * variance / (readers * cases)))
    return Complete(ratings.mean(axis=(0, 1)), error, freedom)


def _strata(ratings: Floats) -> tuple[Floats, Floats]:
    """Sums of squares (5,) and their degrees of freedom (5,)."""
    readers, cases, conditions = ratings.shape
    centred = ratings - ratings.mean(axis=(0, 1))
    by_reader, by_case = centred.mean(axis=1), centred.mean(axis=0)
    reader, case = by_reader.mean(axis=1), by_case.mean(axis=1)
    squares = [
        ((centred - by_reader[:, None] - by_case) ** 2).sum(),
        cases * ((by_reader - reader[:, None]) ** 2).sum(),
        readers * ((by_case - case[:, None]) ** 2).sum(),
        cases * conditions * (reader**2).sum(),
        readers * conditions * (case**2).sum(),
    ]
    of_readers, of_cases, more = readers - 1, cases - 1, conditions - 1
    degrees = [
        of_readers * of_cases * conditions,
        *(of_readers * more, of_cases * more, of_readers, of_cases),
    ]
    return np.array(squares, dtype=np.float64), np.array(degrees, dtype=np.float64)


def _ordered(squares: Floats, degrees: Floats) -> Integers:
    """The group (5,) that each stratum is pooled in, named by its lowest stratum."""
    groups = np.arange(5)
    while True:
        pooled = np.bincount(groups, squares, minlength=5)
        means = pooled / np.maximum(np.bincount(groups, degrees, minlength=5), 1)
        too_small = [
            one for one in BELOW if groups[one] == one and means[one] < means[groups[BELOW[one]]]
        ]
        if not too_small:
            return groups
        smallest = min(too_small, key=lambda one: float(means[one]))
        groups[groups == smallest] = groups[BELOW[smallest]]
