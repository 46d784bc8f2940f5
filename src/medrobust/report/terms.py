"""What numbers are of: a model, a condition of the images, the images themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medrobust.report import flags
from medrobust.report.text import branch_name, epsilon

NOISE, CORRUPTION = "noise-control", "corruption:"
SUITES = ("strong", "fast", "apgd", "pgd", "square", "fgsm")
"""Attacks in the order in which their numbers are to be believed."""
SHORTS = ("pgd", "fgsm", "apgd")
COMBINED = ("mean", "router")
"""Ways to deploy several branches at once; no branches of their own."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; `value` is NaN where it cannot be scored."""

    value: float
    low: float = np.nan
    high: float = np.nan
    n: float = np.nan
    n_positive: float = np.nan
    predictions: str = ""
    flagged: bool = False
    """Whether it is one of robustness, and a check of the attack behind it failed."""

    @property
    def scorable(self) -> bool:
        """Whether there is a number at all."""
        return bool(np.isfinite(self.value))


@dataclass(frozen=True, order=True)
class Condition:
    """What was done to the images before the network saw them."""

    attack: str = ""
    norm: str = ""
    eps: float = 0.0
    goal: str = ""

    @property
    def label(self) -> str:
        """`clean images`, `PGD, ε = 4/255`, `strong attack saved as 8bit, ε = 4/255`."""
        if not self.attack:
            return "clean images"
        if self.corruption:
            return f"{self.corruption}, severity {self.eps:g}"
        goal = f" ({self.goal})" if self.goal not in ("", "total") else ""
        return f"{attack_name(self.attack)}{goal}, ε = {epsilon(self.eps, self.norm)}"

    @property
    def heading(self) -> str:
        """`Clean`, `Strong attack, ε = 4/255`."""
        return self.label[0].upper() + self.label[1:] if self.attack else "Clean"

    @property
    def phrase(self) -> str:
        """`the strong attack, ε = 4/255`; the label alone where it is a name."""
        return self.article + self.label

    @property
    def article(self) -> str:
        """`the ` before a description such as `strong attack`; empty before a name."""
        return "the " if self.robust and self.attack.partition("/")[0] not in SHORTS else ""

    @property
    def axis(self) -> str:
        """What stands below an axis of radii."""
        native = self.norm.endswith("-native")
        return "ε (native values)" if native else "ε (images in [0, 1])"

    @property
    def corruption(self) -> str:
        """The corruption's name; empty for anything else."""
        return self.attack.removeprefix(CORRUPTION) if self.attack.startswith(CORRUPTION) else ""

    @property
    def robust(self) -> bool:
        """Whether a number under it speaks of robustness to attacks."""
        return self.attack.partition("/")[0] in SUITES

    @property
    def saved(self) -> str:
        """How the attacked images were saved and read again: `8bit`; empty where they were not."""
        return self.attack.partition("/")[2]


CLEAN = Condition()


@dataclass(frozen=True)
class Arm:
    """A model as it would be deployed: a named recipe and one of its branches."""

    name: str
    branch: str
    regime: str

    @property
    def label(self) -> str:
        """`dual · clean branch`, or the name alone where there is one branch."""
        return " · ".join(filter(None, (self.name, branch_name(self.branch))))

    @property
    def phrase(self) -> str:
        """`the clean branch of dual`, or the name alone."""
        branch = branch_name(self.branch)
        return f"the {branch} of {self.name}" if branch else self.name


@dataclass(frozen=True)
class Evaluation:
    """The images that numbers were measured on, and the checkpoint that was measured."""

    store: str
    split: str = "test"
    checkpoint: str = "best"
    group: str = "all"
    """Of images: `sex=F`."""


def attack_name(attack: str) -> str:
    """`PGD`, `noise control`, `strong attack`, `strong attack saved as 8bit`."""
    name, _, saved = attack.partition("/")
    shown = name.upper() if name in SHORTS else name.replace("-", " ")
    if name in SUITES and name not in SHORTS:
        shown = f"{shown} attack"
    return f"{shown} saved as {saved}" if saved else shown


def records(table: pd.DataFrame) -> Iterator[Any]:
    """Rows with the columns as attributes."""
    yield from table.itertuples(index=False)


def condition_of(row: Any) -> Condition:
    """The condition of one row of `metrics.csv`."""
    return Condition(row.attack, row.norm, round(float(row.eps), 9), row.goal)


def estimate_of(row: Any, verdict: str) -> Estimate:
    """The number of one row of `metrics.csv`."""
    flagged = verdict == flags.FLAG and condition_of(row).robust
    interval = (row.value, row.low, row.high)
    return Estimate(*interval, row.n, row.n_positive, row.predictions, flagged)
