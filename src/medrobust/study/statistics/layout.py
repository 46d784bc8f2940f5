"""How ratings lie in arrays: one row per answer, or a table with NaN where there is no answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medrobust.errors import MedrobustError
from medrobust.statistics.inputs import Floats

Names = NDArray[Any]


def pivoted(values: ArrayLike, keys: Sequence[ArrayLike]) -> tuple[Floats, tuple[Names, ...]]:
    """Answers (n,) as a table with one axis per key, and the sorted names along each axis.

    `pivoted(ratings, [readers, cases, conditions])` is (readers, cases, conditions); NaN where
    nobody answered. Raises MedrobustError for two answers in one place: a repeat has to be taken
    out, or averaged, beforehand.
    """
    given = np.asarray(values, dtype=np.float64)
    named = [np.unique(np.asarray(key), return_inverse=True) for key in keys]
    shape = tuple(names.size for names, _ in named)
    place = np.ravel_multi_index([index for _, index in named], shape)
    if np.unique(place).size < place.size:
        twice = int(np.bincount(place).max())
        raise MedrobustError(
            f"expected one answer per {len(shape)} keys, found {twice} in one place: "
            "take hidden repeats out or average them first"
        )
    table = np.full(int(np.prod(shape)), np.nan)
    table[place] = given
    return table.reshape(shape), tuple(names for names, _ in named)


def complete(table: ArrayLike) -> tuple[Floats, int]:
    """The rows of a table (n, k) without NaN, and how many rows were left out."""
    given = np.asarray(table, dtype=np.float64)
    if given.ndim != 2:
        raise ValueError(f"expected a table (rows, columns), got shape {given.shape}")
    whole = ~np.isnan(given).any(axis=1)
    return given[whole], int((~whole).sum())
