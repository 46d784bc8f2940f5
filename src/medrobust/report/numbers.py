"""Looking up the numbers of a report: which model, under which condition, on which images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from medrobust.report.read import Run
from medrobust.report.text import branch_name, epsilon

NOISE = "noise-control"


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; `value` is NaN where it cannot be scored."""

    value: float
    low: float = np.nan
    high: float = np.nan
    n: float = np.nan
    n_positive: float = np.nan
    predictions: str = ""

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
        """`clean images`, `PGD, ε = 4/255`."""
        if not self.attack:
            return "clean images"
        if self.attack.startswith("corruption:"):
            return f"{self.attack.removeprefix('corruption:')}, severity {self.eps:g}"
        goal = f" ({self.goal})" if self.goal not in ("", "total") else ""
        return f"{attack_name(self.attack)}{goal}, ε = {epsilon(self.eps, self.norm)}"


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


@dataclass(frozen=True)
class Numbers:
    """All runs' `metrics.csv` for one evaluation; every attack goes through the scored branch."""

    runs: Sequence[Run]
    evaluation: Evaluation
    _found: dict[tuple[Any, ...], Estimate] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for run in self.runs:
            for row in own_rows(run, self.evaluation).itertuples(index=False):
                self._found[(run, *_key(row))] = _estimate(row)

    def get(
        self,
        run: Run,
        branch: str,
        condition: Condition = CLEAN,
        finding: str = "macro",
        metric: str = "auroc",
        interval: str = "bootstrap",
    ) -> Estimate | None:
        """One number, or None if it was not computed; without that interval, the plain number."""
        key = (run, branch, condition, finding, metric)
        return self._found.get((*key, interval)) or self._found.get((*key, ""))

    def stem(self, run: Run, branch: str, condition: Condition = CLEAN) -> str:
        """The name of the file of predictions that these numbers rest on; empty without any."""
        names = (e.predictions for k, e in self._found.items() if k[:3] == (run, branch, condition))
        return next(names, "")

    @cached_property
    def arms(self) -> list[Arm]:
        """Models in the order of the runs, those with numbers here only."""
        measured = {(k[0].name, k[1]) for k in self._found}
        return [arm for arm in arms_of(self.runs) if (arm.name, arm.branch) in measured]

    def runs_of(self, arm: Arm) -> list[Run]:
        """The seeds of one model that have numbers for its branch."""
        measured = {(k[0], k[1]) for k in self._found}
        return [run for run in self.runs if run.name == arm.name and (run, arm.branch) in measured]

    @cached_property
    def conditions(self) -> list[Condition]:
        """Every condition that was measured, the clean images first."""
        return sorted({k[2] for k in self._found})

    @cached_property
    def sweep(self) -> list[Condition]:
        """The PGD radii in rising order (one norm and goal: the most frequent)."""
        pgd = [k[2] for k in self._found if k[2].attack == "pgd"]
        if not pgd:
            return []
        (norm, goal), _ = Counter((c.norm, c.goal) for c in pgd).most_common(1)[0]
        return sorted({c for c in pgd if (c.norm, c.goal) == (norm, goal)})

    @cached_property
    def noise(self) -> list[Condition]:
        """The radii of the random-noise control."""
        return [c for c in self.conditions if c.attack == NOISE]

    @cached_property
    def training(self) -> Condition | None:
        """The PGD radius that the adversarial regimes trained with, else the middle one."""
        radii = Counter(
            float(run.config["attack"]["eps"])
            for run in sorted(self.runs, key=lambda r: r.regime == "standard")
            if "eps" in (run.config.get("attack") or {})
        )
        if not self.sweep:
            return None
        for eps, _ in radii.most_common():
            for condition in self.sweep:
                if np.isclose(condition.eps, eps, rtol=1e-3):
                    return condition
        return self.sweep[len(self.sweep) // 2]

    @cached_property
    def findings(self) -> list[str]:
        """The findings in the order of the files, without the macro average."""
        names = dict.fromkeys(k[3] for k in self._found)
        return [name for name in names if name != "macro"]

    def noise_at(self, condition: Condition) -> Condition | None:
        """The noise control of the same radius as an attack."""
        return next((c for c in self.noise if np.isclose(c.eps, condition.eps, rtol=1e-3)), None)


def arms_of(runs: Sequence[Run]) -> list[Arm]:
    """Every model and branch, in the order of the runs."""
    return list(dict.fromkeys(Arm(r.name, b, r.regime) for r in runs for b in r.branches))


def evaluations(runs: Sequence[Run]) -> list[Evaluation]:
    """Every scored (store, split) of the best checkpoints; the training store's test first."""
    home = Counter(run.store_name for run in runs).most_common(1)[0][0]
    found: dict[Evaluation, None] = {}
    for run in runs:
        table = run.metrics
        scored = table[(table["checkpoint"] == "best") & (table["split"] != "val")]
        for store, split in zip(scored["store"], scored["split"], strict=True):
            found[Evaluation(str(store), str(split))] = None
    return sorted(found, key=lambda e: (e.store != home, e.split != "test", e.store, e.split))


def own_rows(run: Run, evaluation: Evaluation) -> pd.DataFrame:
    """The run's rows of one evaluation, all patients, no attack through a foreign branch."""
    table = run.metrics
    return table[
        (table["store"] == evaluation.store)
        & (table["split"] == evaluation.split)
        & (table["checkpoint"] == evaluation.checkpoint)
        & (table["group"].isin(["", "all"]))
        & ((table["attacked_branch"] == table["branch"]) | (table["attacked_branch"] == ""))
    ]


def attack_name(attack: str) -> str:
    """`PGD`, `noise control`."""
    shorts = {"pgd", "fgsm", "apgd"}
    return attack.upper() if attack in shorts else attack.replace("-", " ")


def _key(row: Any) -> tuple[str, Condition, str, str, str]:
    condition = Condition(row.attack, row.norm, round(float(row.eps), 9), row.goal)
    return (row.branch, condition, row.finding, row.metric, row.interval)


def _estimate(row: Any) -> Estimate:
    return Estimate(row.value, row.low, row.high, row.n, row.n_positive, row.predictions)
