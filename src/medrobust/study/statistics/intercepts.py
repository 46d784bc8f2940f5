"""Random intercepts of crossed factors, such as reader and case, as an incidence matrix."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from medrobust.errors import MedrobustError
from medrobust.statistics.inputs import Flags, Floats, Integers


class Intercepts(NamedTuple):
    """q intercepts of n ratings."""

    factors: tuple[str, ...]
    incidence: sparse.csr_array
    """(n, q): 1 where a rating has the intercept."""
    factor: Integers
    """(q,) number of the factor each intercept belongs to."""

    def products(self, weights: Floats) -> Floats:
        """Z'WZ (q, q) for weights (n,)."""
        weighted = self.incidence.multiply(weights[:, None])
        crossed: Floats = (self.incidence.T @ weighted).toarray()
        return crossed


def intercepts(groups: Mapping[str, ArrayLike], kept: Flags) -> Intercepts:
    """Of the kept ratings (n,), from each factor's name and its level per rating (n,).

    Raises MedrobustError for a factor with a single level: it has no variance to estimate; and
    without any factor.
    """
    if not groups:
        raise MedrobustError(
            "expected several readers, or cases judged more than once, found neither: "
            "a mixed model needs one of them"
        )
    blocks, factor = [], []
    for number, (name, levels) in enumerate(groups.items()):
        names, level = np.unique(np.asarray(levels)[kept], return_inverse=True)
        if names.size < 2:
            raise MedrobustError(
                f"expected at least two levels of {name}, found {names.size}: leave it out"
            )
        ones, rows = np.ones(level.size), np.arange(level.size)
        blocks.append(sparse.csr_array((ones, (rows, level)), shape=(level.size, names.size)))
        factor.append(np.full(names.size, number))
    return Intercepts(tuple(groups), sparse.hstack(blocks, format="csr"), np.concatenate(factor))
