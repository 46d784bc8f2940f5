"""What can be timed."""

from enum import StrEnum


class Subject(StrEnum):
    """A comparison of `medrobust bench`."""

    ATTACK = "attack"
    STEP = "step"
    SWEEP = "sweep"
    LOADER = "loader"
    MEMORY = "memory"
