"""A number over training seeds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class AcrossSeeds(NamedTuple):
    """Mean and sample standard deviation (n - 1) of one number over n training seeds."""

    mean: float
    standard_deviation: float
    """NaN for a single seed."""
    n: int


def across_seeds(values: ArrayLike) -> AcrossSeeds:
    """Summary of one metric of networks that differ in nothing but the seed; NaN left out."""
    given = np.asarray(values, dtype=np.float64).ravel()
    given = given[~np.isnan(given)]
    mean = float(given.mean()) if given.size else float("nan")
    deviation = float(given.std(ddof=1)) if given.size > 1 else float("nan")
    return AcrossSeeds(mean, deviation, int(given.size))
