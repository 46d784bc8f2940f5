"""Is one model better than another on the same images?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from medrobust.comparison import paired_comparison
from medrobust.report import text
from medrobust.report.numbers import Numbers
from medrobust.report.predicted import Predicted
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import CLEAN, Arm, Condition, records
from medrobust.statistics import holm

REDRAWS = 2000
ORDER = ("standard", "noise", "adversarial", "dual")
MOST_ARMS = 5
"""With more models than this, all are compared with the first only."""


@dataclass(frozen=True)
class Difference:
    """AUROC of `first` minus AUROC of `second`, same images, same condition, macro and findings."""

    condition: Condition
    first: Arm
    second: Arm
    seeds: tuple[int, int]
    rows: pd.DataFrame
    """One row per finding and `macro`, as `paired_comparison` gives them."""
    marks: tuple[str, str] = ("", "")
    """What stands beside the numbers of each model."""

    @property
    def key(self) -> tuple[Condition, Arm, Arm]:
        """What is compared."""
        return self.condition, self.first, self.second

    @property
    def macro(self) -> Any:
        """The row of the macro average."""
        return self.rows[self.rows["finding"] == "macro"].iloc[0]


def differences(numbers: Numbers, predicted: Predicted, labels: pd.DataFrame) -> list[Difference]:
    """Every pair of models on clean images and at the training radius; `labels`: store's table."""
    conditions = [CLEAN, *([numbers.training] if numbers.training else [])]
    found = (
        _difference(numbers, predicted, labels, condition, first, second)
        for condition in conditions
        for second, first in _pairs(numbers.arms)
    )
    return [one for one in found if one is not None]


def comparison_table(found: Sequence[Difference]) -> Table:
    """Macro AUROC differences with interval and p, also corrected for all of them."""
    corrected = holm(np.array([d.macro.p_bootstrap for d in found]))
    adjusted = {d.key: float(p) for d, p in zip(found, corrected, strict=True)}
    return Table(
        f"Paired differences of the macro AUROC, first model minus second, on the same images; "
        f"patients are redrawn {REDRAWS:,} times. p (Holm) is corrected for the "
        f"number of comparisons ({len(found)}).",
        ["First − second", "First", "Second", "Difference", "p", "p (Holm)"],
        [
            Group(head, [_row(d, adjusted[d.key]) for d in part])
            for head, part in _by_condition(found)
        ],
    )


def finding_comparison_table(found: Sequence[Difference]) -> Table:
    """The same per finding, with DeLong's p beside the bootstrap's."""
    groups = [
        Group(
            f"{d.first.label} − {d.second.label}, {d.condition.label}",
            _finding_rows(d),
        )
        for d in found
    ]
    return Table(
        "Paired AUROC differences per finding. The last p is corrected for the number of findings "
        "of the comparison (Holm).",
        [
            *("Finding", "First", "Second", "Difference", "p (bootstrap)", "p (DeLong)"),
            "p (DeLong, Holm)",
        ],
        groups,
    )


def sentence(found: Difference) -> str:
    """What the interval allows to say, in one sentence."""
    macro = found.macro
    where = f"Under {found.condition.phrase}" if found.condition.attack else "On clean images"
    first, second = (
        arm.phrase + (f" ({mark})" if mark else "")
        for arm, mark in zip((found.first, found.second), found.marks, strict=True)
    )
    if macro.low > 0 or macro.high < 0:
        word = "better" if macro.low > 0 else "worse"
        low, high = sorted((abs(macro.low), abs(macro.high)))
        return (
            f"{where}, {first} is {word} than {second} by {text.number(abs(macro.difference))} "
            f"(95 % interval {text.interval(low, high)}, p {_p(macro.p_bootstrap)})."
        )
    return (
        f"{where}, no difference can be seen between {first} and {second} (difference "
        f"{text.signed(macro.difference)}, 95 % interval "
        f"{text.signed_interval(macro.low, macro.high)}, p {_p(macro.p_bootstrap)})."
    )


def _pairs(arms: Sequence[Arm]) -> Iterator[tuple[Arm, Arm]]:
    ranked = sorted(arms, key=lambda a: ORDER.index(a.regime) if a.regime in ORDER else len(ORDER))
    if len(ranked) > MOST_ARMS:
        return ((ranked[0], other) for other in ranked[1:])
    return combinations(ranked, 2)


def _difference(
    numbers: Numbers,
    predicted: Predicted,
    labels: pd.DataFrame,
    condition: Condition,
    first: Arm,
    second: Arm,
) -> Difference | None:
    runs = same_seed(numbers.runs_of(first), numbers.runs_of(second))
    frames = [
        predicted.frame(run, arm.branch, condition)
        for run, arm in zip(runs, (first, second), strict=True)
    ]
    if frames[0] is None or frames[1] is None:
        return None
    rows = paired_comparison(frames[0], frames[1], labels, REDRAWS)
    marks = (
        numbers.mark(runs[0], first.branch, condition),
        numbers.mark(runs[1], second.branch, condition),
    )
    return Difference(condition, first, second, (runs[0].seed, runs[1].seed), rows, marks)


def same_seed(first: Sequence[Run], second: Sequence[Run]) -> tuple[Run, Run]:
    """The first run of each model, of the same seed where there is one."""
    by_seed = {run.seed: run for run in second}
    for run in first:
        if run.seed in by_seed:
            return run, by_seed[run.seed]
    return first[0], second[0]


def _by_condition(found: Sequence[Difference]) -> Iterator[tuple[str, list[Difference]]]:
    for condition in dict.fromkeys(d.condition for d in found):
        label = condition.label[0].upper() + condition.label[1:]
        yield label, [d for d in found if d.condition == condition]


def _row(found: Difference, corrected: float) -> Row:
    a, b = found.seeds
    note = f"seed {a}" if a == b else f"seeds {a} and {b}"
    p_values = [Cell(text.p_value(p)) for p in (found.macro.p_bootstrap, corrected)]
    cells = [*_values(found.macro, found.marks), *p_values]
    return Row(f"{found.first.label} − {found.second.label}", cells, note=note)


def _finding_rows(found: Difference) -> list[Row]:
    part = found.rows[found.rows["finding"] != "macro"]
    corrected = holm(part["p_delong"].to_numpy(float))
    rows = []
    for row, adjusted in zip(records(part), corrected, strict=True):
        p_values = [Cell(text.p_value(p)) for p in (row.p_bootstrap, row.p_delong, adjusted)]
        rows.append(Row(row.finding, [*_values(row, found.marks), *p_values]))
    return rows


def _values(row: Any, marks: tuple[str, str]) -> list[Cell]:
    return [
        Cell(text.number(row.auroc_a), mark=marks[0]),
        Cell(text.number(row.auroc_b), mark=marks[1]),
        Cell(text.signed(row.difference), text.signed_interval(row.low, row.high)),
    ]


def _p(p: float) -> str:
    shown = text.p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"
