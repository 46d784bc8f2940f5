"""Where a model looks on average: the mean of many images' maps."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]


def class_average(maps: Iterable[Map]) -> tuple[NDArray[np.float64] | None, int]:
    """The mean of maps, each divided by its own largest |value|, so that each counts alike.

    It means something where images are aligned: an average of patients lying differently is blur.

    Args:
        maps: of equal shape, signed or not; of one finding's positives, for example. They are
            taken one by one, so that a generator needs the memory of one map.

    Returns:
        The mean, of values in [-1, 1], and the number of maps in it. Maps of zeros and maps that
        are not finite say nothing and are left out; if no map is left there is no mean: None.
    """
    total: NDArray[np.float64] | None = None
    count = 0
    for saliency in maps:
        exact = saliency.astype(np.float64)
        largest = np.abs(exact).max(initial=0.0)
        if not 0 < largest < np.inf:  # NaN is neither
            continue
        total = exact / largest if total is None else total + exact / largest
        count += 1
    return (None, 0) if total is None else (total / count, count)
