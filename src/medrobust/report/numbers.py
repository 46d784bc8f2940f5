"""Looking up the numbers of a report: which model, under which condition, on which images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from medrobust.report import flags
from medrobust.report.read import Run
from medrobust.report.terms import (
    CLEAN,
    COMBINED,
    NOISE,
    SUITES,
    Arm,
    Condition,
    Estimate,
    Evaluation,
    condition_of,
    estimate_of,
    records,
)

MOST_RADII = 4
"""Of the sweep, in tables; of more, those next to half, once and twice the training radius."""


@dataclass(frozen=True)
class Numbers:
    """All runs' `metrics.csv` for one evaluation; every attack goes through the scored branch."""

    runs: Sequence[Run]
    evaluation: Evaluation
    _found: dict[tuple[Any, ...], Estimate] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for run in self.runs:
            for row in records(own_rows(run, self.evaluation)):
                verdict = self.verdict(run, row.branch, row.norm)
                self._found[(run, *_key(row))] = estimate_of(row, verdict)

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
        return self._stems.get((run, branch, condition), "")

    def verdict(self, run: Run, branch: str, norm: str | None = None) -> str:
        """Of the checks of the attacks on it: `flag`, `pass` or `not checked`.

        Checks in one norm say nothing of another; without a norm it is the worst of all.
        """
        found = self._verdicts[run].items()
        return flags.worst([v for (b, n), v in found if b == branch and norm in (None, n)])

    def mark(self, run: Run, branch: str, condition: Condition) -> str:
        """What stands beside a robust number that a check speaks against; else empty."""
        flagged = condition.robust and self.verdict(run, branch, condition.norm) == flags.FLAG
        return flags.MARK if flagged else ""

    def metrics(self) -> set[str]:
        """The names of all metrics that there are numbers of."""
        return {key[4] for key in self._found}

    def note(self, run: Run, branch: str) -> str:
        """What a row of robust numbers says below its name: the seed, and what was not checked."""
        known = self.verdict(run, branch) != flags.NOT_CHECKED or not self.attacks
        return f"seed {run.seed}" + ("" if known else ", attack not checked")

    @cached_property
    def _stems(self) -> dict[tuple[Any, ...], str]:
        stems: dict[tuple[Any, ...], str] = {}
        for key, found in self._found.items():
            stems.setdefault(key[:3], found.predictions)
        return stems

    @cached_property
    def _verdicts(self) -> dict[Run, dict[tuple[str, str], str]]:
        return {run: flags.verdicts(flags.rows_of(run.trust, self.evaluation)) for run in self.runs}

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
    def attacks(self) -> dict[Condition, int]:
        """Every attack on the whole image's labels, with the number of branches it was made on."""
        measured = {k[:3] for k in self._found if k[2].robust and not k[2].saved}
        return Counter(condition for _, branch, condition in measured if branch not in COMBINED)

    @cached_property
    def sweep(self) -> list[Condition]:
        """The radii of one attack, rising: the attack of most models, then of most radii."""
        families: dict[tuple[str, str, str], list[Condition]] = {}
        for condition in sorted(self.attacks):
            family = (condition.attack, condition.norm, condition.goal)
            families.setdefault(family, []).append(condition)

        def worth(radii: list[Condition]) -> tuple[int, int, bool, int]:
            models = max(self.attacks[condition] for condition in radii)
            usual = radii[0].goal in ("", "total")
            return models, len(radii), usual, -SUITES.index(radii[0].attack)

        return max(families.values(), key=worth, default=[])

    @cached_property
    def shown(self) -> list[Condition]:
        """What tables have columns for: clean, noise, few radii of the sweep, the strong attack."""
        noise = self.noise_at(self.training) if self.training else None
        radii, strong = self.sweep, [c for c in self.attacks if c.attack == "strong"]
        if self.training and len(radii) > MOST_RADII:
            wanted = [factor * self.training.eps for factor in (0.5, 1, 2)]
            radii = sorted({min(radii, key=lambda c: abs(c.eps - w)) for w in wanted})
        usual = sorted(c for c in strong if c.goal == radii[0].goal and c not in radii)
        return [CLEAN, *([noise] if noise else []), *radii, *usual]

    @cached_property
    def noise(self) -> list[Condition]:
        """The radii of the random-noise control."""
        return [c for c in self.conditions if c.attack == NOISE]

    @cached_property
    def training(self) -> Condition | None:
        """The attack to quote: the strongest at the training radius that most models have."""
        swept = self.swept
        if swept is None:
            return None
        at_radius = [
            c
            for c in self.attacks
            if (c.norm, c.goal) == (swept.norm, swept.goal) and _same(c.eps, swept.eps)
        ]
        return max(at_radius, key=lambda c: (self.attacks[c], -SUITES.index(c.attack)))

    @cached_property
    def swept(self) -> Condition | None:
        """The sweep at the radius that the adversarial regimes trained with, else the middle."""
        radii = Counter(
            float(run.config["attack"]["eps"])
            for run in sorted(self.runs, key=lambda r: r.regime == "standard")
            if "eps" in (run.config.get("attack") or {})
        )
        if not self.sweep:
            return None
        for eps, _ in radii.most_common():
            for condition in self.sweep:
                if _same(condition.eps, eps):
                    return condition
        return self.sweep[len(self.sweep) // 2]

    @cached_property
    def findings(self) -> list[str]:
        """The findings in the order of the files, without the macro average."""
        names = dict.fromkeys(k[3] for k in self._found)
        return [name for name in names if name != "macro"]

    def noise_at(self, condition: Condition) -> Condition | None:
        """The noise control of the same radius as an attack."""
        return next((c for c in self.noise if _same(c.eps, condition.eps)), None)


def arms_of(runs: Sequence[Run]) -> list[Arm]:
    """Every model and branch, in the order of the runs."""
    branches = ((run, b) for run in runs for b in run.branches if b not in COMBINED)
    return list(dict.fromkeys(Arm(run.name, b, run.regime) for run, b in branches))


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
    """The run's rows of one evaluation, no attack through a foreign branch."""
    table = rows_of(run, evaluation)
    foreign = ~table["attacked_branch"].isin([""]) & (table["attacked_branch"] != table["branch"])
    return table[~foreign]


def rows_of(run: Run, evaluation: Evaluation) -> pd.DataFrame:
    """The run's rows of one evaluation, whichever branch was attacked."""
    table = run.metrics
    return table[
        (table["store"] == evaluation.store)
        & (table["split"] == evaluation.split)
        & (table["checkpoint"] == evaluation.checkpoint)
        & (table["group"].replace("", "all") == evaluation.group)
    ]


def _key(row: Any) -> tuple[str, Condition, str, str, str]:
    return (row.branch, condition_of(row), row.finding, row.metric, row.interval)


def _same(first: float, second: float) -> bool:
    return bool(np.isclose(first, second, rtol=1e-3))
