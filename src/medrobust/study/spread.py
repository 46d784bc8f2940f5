"""What makes ratings differ: guessed, told, or measured by the analysis of an earlier study."""

import math
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from medrobust.errors import MedrobustError
from medrobust.study.analysis.effects import PRIMARY
from medrobust.study.simulated import Biases

FACTORS = {
    **{"reader": "readers", "case": "cases", "patient": "cases", "map": "maps"},
    **{"reader by condition": "preferences", "rest": "rest"},
}
"""What `deviations.csv` calls them. Cases here are of different patients."""


class Spread(NamedTuple):
    """Standard deviations, in steps of a scale."""

    readers: float
    cases: float
    maps: float
    """Of a case under one condition: shared by all who see the same map."""
    preferences: float
    """Of readers for conditions."""
    rest: float

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.3g}" for name, value in self._asdict().items())


def guessed() -> Spread:
    """Of simulated readers as they are by default: no published study gives these numbers."""
    usual = Biases()
    return Spread(usual.readers, usual.cases, usual.maps, usual.preferences, usual.noise)


def spread_of(told: str | None, question: str) -> tuple[Spread, str]:
    """A spread, and in words where it is from.

    `told` is nothing, `readers=0.5,rest=0.6` (what is not named is guessed), or the folder that
    `medrobust study analyse` wrote, of an earlier study with the same `question`.

    Raises:
        MedrobustError: unknown names, numbers that are none, no such folder or question.
    """
    if not told:
        return guessed(), "guessed: that of simulated readers"
    if "=" in told:
        return _named(told), "as told; what is not is that of simulated readers"
    return _measured(Path(told), question), f"measured in {told}"


def _named(told: str) -> Spread:
    given = {}
    for part in told.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in Spread._fields:
            raise MedrobustError(
                f"--spread: expected some of {', '.join(Spread._fields)}, found {name!r}"
            )
        given[name] = _deviation(name, value)
    return guessed()._replace(**given)


def _deviation(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise MedrobustError(f"--spread: expected {name}=NUMBER of at least 0, found {value!r}")
    return number


def _measured(folder: Path, question: str) -> Spread:
    path = folder / "deviations.csv"
    if not path.is_file():
        raise MedrobustError(
            "--spread: expected readers=0.5,cases=0.6,… or the folder of an earlier study's "
            f"analysis, found {str(folder)!r} without deviations.csv"
        )
    rows = pd.read_csv(path, dtype={"question": "str"})
    own = rows[(rows["question"] == question) & (rows["analysis"] == PRIMARY)]
    if own.empty:
        known = ", ".join(dict.fromkeys(rows["question"])) or "none"
        raise MedrobustError(f"{path}: expected the question {question}, found {known}")
    variances = dict.fromkeys(Spread._fields, 0.0)
    for factor, deviation in zip(own["intercepts_of"], own["deviation"], strict=True):
        variances[FACTORS[factor]] += float(deviation) ** 2
    return Spread(**{name: math.sqrt(value) for name, value in variances.items()})
