"""Derivatives of smooth functions by central differences."""

from collections.abc import Callable

import numpy as np

from medrobust.statistics.inputs import Floats

STEP = 1e-3
"""For functions of logarithms and logits, which change over units: error of the order of 1e-6."""


def gradient(function: Callable[[Floats], Floats], at: Floats) -> Floats:
    """Derivatives (p, ...) of a function of (p,) with values of any shape."""
    steps = STEP * np.eye(at.size)
    return np.stack([(function(at + step) - function(at - step)) / (2 * STEP) for step in steps])


def hessian(function: Callable[[Floats], float], at: Floats) -> Floats:
    """Second derivatives (p, p) of a function of (p,)."""
    steps = STEP * np.eye(at.size)
    second = np.empty((at.size, at.size))
    for i, one in enumerate(steps):
        for j, other in enumerate(steps[: i + 1]):
            along = function(at + one + other) + function(at - one - other)
            across = function(at + one - other) + function(at - one + other)
            second[i, j] = second[j, i] = (along - across) / (4 * STEP**2)
    return second
