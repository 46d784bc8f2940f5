"""Which native values become x = 0 and x = 1."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medrobust.errors import MedrobustError

EXPECTED = "-1000:400 (values), percentile:1:99, range (of the file's type) or file (its own)"


@dataclass(frozen=True)
class Window:
    """A rule that gives the window of an image."""

    kind: Literal["file", "range", "values", "percentile"]
    """`file`: what the file itself says; `range`: all its pixels' type can hold."""
    low: float = np.nan
    high: float = np.nan
    """Native values, or percentiles of the pixels."""

    def limits(self, pixels: NDArray[Any], default: tuple[float, float]) -> tuple[float, float]:
        """The native values of x = 0 and x = 1; `default` for the kinds that the file decides.

        Raises:
            MedrobustError: both percentiles are the same value.
        """
        if self.kind == "values":
            return self.low, self.high
        if self.kind != "percentile":
            return default
        low, high = np.percentile(pixels, [self.low, self.high]).tolist()
        if not low < high:
            raise MedrobustError(
                f"percentiles {self.low:g} and {self.high:g} of the pixels are the same value"
            )
        return low, high


def parse_window(text: str) -> Window:
    """Read `-1000:400`, `percentile:1:99`, `range` or `file`.

    Raises:
        MedrobustError: something else, or an empty window.
    """
    if text in ("file", "range"):
        return Window("file" if text == "file" else "range")
    rest = text.removeprefix("percentile:")
    try:
        low, high = (float(part) for part in rest.split(":"))
    except ValueError as error:
        raise MedrobustError(f"window: expected {EXPECTED}, found {text!r}") from error
    if not (np.isfinite([low, high]).all() and low < high):
        raise MedrobustError(f"window: expected low < high, found {text!r}")
    if text == rest:
        return Window("values", low, high)
    if not 0 <= low < high <= 100:
        raise MedrobustError(f"window: expected percentiles from 0 to 100, found {text!r}")
    return Window("percentile", low, high)
