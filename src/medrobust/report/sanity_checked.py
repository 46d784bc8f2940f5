"""The checks of saliency maps of every model, as `explain/sanity.csv` has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from medrobust.explain.sanity.table import read_sanity
from medrobust.report.material import Material
from medrobust.report.read import Run
from medrobust.report.terms import Arm

EDGE = "edge"
CHECKS = {
    "randomisation": "Weights erased",
    "labels": "Shuffled labels",
    "repeatability": "Another seed",
    "reproducibility": "Another network",
    "noise": "Slight noise",
    "attack": "Attack",
    "deletion": "Deletion gain",
    "insertion": "Insertion gain",
}


@dataclass(frozen=True)
class Checked:
    """The checks of one model's maps."""

    arm: Arm
    run: Run
    rows: pd.DataFrame
    """Of its branch, on the evaluation's images; see `explain.sanity.table`."""

    @cached_property
    def methods(self) -> list[str]:
        """The methods, the edge detector last."""
        names = dict.fromkeys(map(str, self.rows["method"]))
        return [name for name in names if name != EDGE] + [EDGE] * (EDGE in names)

    def judged(self, method: str, check: str) -> pd.DataFrame:
        """Rows with a verdict on this method and check: one per finding and compared run."""
        rows = self.rows[(self.rows["method"] == method) & (self.rows["check"] == check)]
        return rows[rows["verdict"] != ""]


def read_checked(material: Material) -> list[Checked]:
    """Of every model and seed that has been checked.

    Raises `MedrobustError` for a file that is no such table.
    """
    found, evaluation = [], material.numbers.evaluation
    for arm, run in material.models():
        file = run.path / "explain" / "sanity.csv"
        if not file.is_file():
            continue
        rows = read_sanity(file)
        here = (rows["store"] == evaluation.store) & (rows["split"] == evaluation.split)
        rows = rows[here & (rows["branch"] == arm.branch)]
        if len(rows):
            found.append(Checked(arm, run, rows))
    return found


def first_seeds(found: Sequence[Checked]) -> list[Checked]:
    """Of every model, the first seed that has been checked."""
    first: dict[Arm, Checked] = {}
    for one in found:
        first.setdefault(one.arm, one)
    return list(first.values())


def decided(judged: pd.DataFrame) -> pd.DataFrame:
    """Without what could not be checked."""
    return judged[judged["verdict"].isin(["pass", "fail"])]


def named(method: str) -> str:
    """A method as a reader is told of it."""
    return "edge detector" if method == EDGE else method
