"""Several tests at once: p values that keep the chance of any false alarm at the level."""

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.inputs import Floats


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p values (k,) by Holm's step-down procedure; NaN stays NaN and does not count.

    Rejecting where the adjusted p <= alpha bounds the chance of any false rejection by alpha,
    however the tests depend on each other (Holm 1979, Scand. J. Stat. 6:65). Raises ValueError
    for other shapes and values outside [0, 1].
    """
    given = np.asarray(p_values, dtype=np.float64)
    tested = given[~np.isnan(given)]
    if given.ndim != 1 or not ((tested >= 0) & (tested <= 1)).all():
        raise ValueError("expected p values (k,) in [0, 1] or NaN, got others")
    order = np.argsort(tested, kind="stable")
    stepped = np.maximum.accumulate(tested[order] * np.arange(tested.size, 0, -1))
    adjusted = np.full(given.shape, np.nan)
    adjusted[np.flatnonzero(~np.isnan(given))[order]] = np.minimum(stepped, 1.0)
    return adjusted
