"""How a store is made: the part that decides its images."""

from dataclasses import dataclass
from typing import Literal

from medrobust.data.splits import Fractions, check_fractions
from medrobust.errors import MedrobustError

Size = int | tuple[int, ...] | None
Duplicates = Literal["stop", "report", "drop-from-train"]


@dataclass(frozen=True)
class Settings:
    """How a store is made."""

    size: Size
    """Store pixels per side, or of each axis; None keeps the images' own size, which must then
    be equal."""
    bits: Literal[8, 16] = 8
    keep_aspect: bool = False
    """Add a border of x = 0 instead of stretching."""
    splits: Fractions = (0.7, 0.1, 0.2)
    """Shares of patients in train, val and test, where the data set has no split."""
    seed: int = 0
    max_rejects: float = 0.01
    """Largest share of images that may turn out to be unusable."""
    duplicates: Duplicates | None = None
    """What happens when identical images lie in different splits; None: `stop` where the split
    was made here, `report` where it is the data set's own."""

    def __post_init__(self) -> None:
        check_fractions(self.splits)
        sides = (self.size,) if isinstance(self.size, int) else self.size or ()
        if any(side < 1 for side in sides):
            raise MedrobustError(f"size must be at least 1 pixel, got {self.size}")
        if not 0 <= self.max_rejects <= 1:
            raise MedrobustError(f"max_rejects must be in [0, 1], got {self.max_rejects}")
