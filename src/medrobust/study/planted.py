"""What was planted in a study of simulated readers, beside what its analysis found."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr

from medrobust.aligned import aligned
from medrobust.study.analysis.effects import PRIMARY
from medrobust.study.simulated import Biases


class Comparison(NamedTuple):
    """A pair of conditions; differences are first - second, in steps."""

    first: str
    second: str
    planted: float
    found: float
    low: float
    """Of the 95 % interval, as `high`."""
    high: float
    p_holm: float

    @property
    def holds(self) -> bool:
        """Whether the interval has in it what was planted."""
        return self.low <= self.planted <= self.high


def expected_step(biases: Biases, condition: str, steps: int) -> float:
    """The mean of what simulated readers answer, over readers, cases, maps and readings.

    Their value is normal; it is rounded and ends with the scale, which makes large effects
    smaller. The mean of a number in 0 … n is the sum of P(above k) over k < n.
    """
    middle = (steps - 1) / 2 + biases.scale.get(condition, 0.0)
    parts = (biases.readers, biases.cases, biases.maps, biases.preferences, biases.noise)
    borders = np.arange(steps - 1) + 0.5
    return float(ndtr((middle - borders) / np.linalg.norm(parts)).sum())


def compare(analysis: Path, biases: Biases, question: str, steps: int) -> list[Comparison]:
    """Every pair of conditions in `differences.csv` of an analysis, by the main model."""
    table = pd.read_csv(analysis / "differences.csv")
    rows = table[(table["analysis"] == PRIMARY) & (table["question"] == question)]
    return [
        Comparison(
            *(row["first"], row["second"]),
            expected_step(biases, row["first"], steps)
            - expected_step(biases, row["second"], steps),
            *(row[name] for name in ("difference", "low", "high", "p_holm")),
        )
        for row in rows.to_dict("records")
    ]


def as_text(found: list[Comparison]) -> str:
    """An aligned table, a line each."""
    head = ("difference", "planted", "found", "95 % interval", "holds it", "p (Holm)")
    lines = [
        (
            f"{one.first} - {one.second}",
            *(f"{one.planted:+.2f}", f"{one.found:+.2f}", f"{one.low:+.2f} to {one.high:+.2f}"),
            *("yes" if one.holds else "no", f"{one.p_holm:.2g}"),
        )
        for one in found
    ]
    return "\n".join(aligned([head, *lines]))
