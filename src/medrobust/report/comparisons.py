"""Is one model better than another on the same images?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from medrobust.comparison import paired_comparison
from medrobust.report import text
from medrobust.report.numbers import CLEAN, Arm, Condition, Numbers
from medrobust.report.predicted import Predicted
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table

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
    """Macro AUROC differences with interval and p."""
    return Table(
        f"Paired differences of the macro AUROC, first model minus second, on the same images; "
        f"patients are redrawn {REDRAWS:,} times. {text.plural(len(found), 'comparison')}, p not "
        "corrected for their number.",
        ["First − second", "First", "Second", "Difference", "p"],
        [Group(head, [_row(d) for d in part]) for head, part in _by_condition(found)],
    )


def finding_comparison_table(found: Sequence[Difference]) -> Table:
    """The same per finding, with DeLong's p beside the bootstrap's."""
    groups = [
        Group(
            f"{d.first.label} − {d.second.label}, {d.condition.label}",
            [_finding_row(row) for row in d.rows.itertuples() if row.finding != "macro"],
        )
        for d in found
    ]
    return Table(
        "Paired AUROC differences per finding.",
        ["Finding", "First", "Second", "Difference", "p (bootstrap)", "p (DeLong)"],
        groups,
    )


def sentence(found: Difference) -> str:
    """What the interval allows to say, in one sentence."""
    macro = found.macro
    where = f"Under {found.condition.label}" if found.condition.attack else "On clean images"
    first, second = found.first.phrase, found.second.phrase
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
    runs = _same_seed(numbers.runs_of(first), numbers.runs_of(second))
    frames = [
        predicted.frame(run, arm.branch, condition)
        for run, arm in zip(runs, (first, second), strict=True)
    ]
    if frames[0] is None or frames[1] is None:
        return None
    rows = paired_comparison(frames[0], frames[1], labels, REDRAWS)
    return Difference(condition, first, second, (runs[0].seed, runs[1].seed), rows)


def _same_seed(first: Sequence[Run], second: Sequence[Run]) -> tuple[Run, Run]:
    by_seed = {run.seed: run for run in second}
    for run in first:
        if run.seed in by_seed:
            return run, by_seed[run.seed]
    return first[0], second[0]


def _by_condition(found: Sequence[Difference]) -> Iterator[tuple[str, list[Difference]]]:
    for condition in dict.fromkeys(d.condition for d in found):
        label = condition.label[0].upper() + condition.label[1:]
        yield label, [d for d in found if d.condition == condition]


def _row(found: Difference) -> Row:
    a, b = found.seeds
    note = f"seed {a}" if a == b else f"seeds {a} and {b}"
    cells = [*_values(found.macro), Cell(text.p_value(found.macro.p_bootstrap))]
    return Row(f"{found.first.label} − {found.second.label}", cells, note=note)


def _finding_row(row: Any) -> Row:
    p_values = [Cell(text.p_value(p)) for p in (row.p_bootstrap, row.p_delong)]
    return Row(row.finding, [*_values(row), *p_values])


def _values(row: Any) -> list[Cell]:
    return [
        Cell(text.number(row.auroc_a)),
        Cell(text.number(row.auroc_b)),
        Cell(text.signed(row.difference), text.signed_interval(row.low, row.high)),
    ]


def _p(p: float) -> str:
    shown = text.p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"
