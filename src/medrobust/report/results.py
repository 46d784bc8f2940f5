"""The tables of numbers: AUROC under every condition, per finding, and all other metrics."""

from collections.abc import Sequence
from dataclasses import replace

from medrobust.report import text
from medrobust.report.figures import Style
from medrobust.report.numbers import Numbers
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table, estimate, mark_of
from medrobust.report.terms import CLEAN, Arm, Condition, Estimate
from medrobust.statistics import across_seeds

OTHER_METRICS = {
    "auprc": "AUPRC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "brier": "Brier",
    "ece": "ECE",
}


def auroc_table(numbers: Numbers, looks: dict[Arm, Style]) -> Table:
    """Macro AUROC: a row per run and branch, a column per condition."""
    conditions = numbers.shown
    groups = [
        Group(
            "",
            [
                Row(
                    arm.label,
                    [estimate(numbers.get(run, arm.branch, c)) for c in conditions],
                    note=numbers.note(run, arm.branch),
                    style=looks[arm],
                )
                for run in numbers.runs_of(arm)
            ],
        )
        for arm in numbers.arms
    ]
    return Table(
        "Macro AUROC with 95 % bootstrap interval. Every attack goes through the branch that is "
        "scored.",
        ["Model and branch", *(c.heading for c in conditions)],
        groups,
    )


def seeds_table(numbers: Numbers, looks: dict[Arm, Style]) -> Table | None:
    """Mean ± SD over seeds of the macro AUROC; None where every model has one seed."""
    conditions = numbers.shown
    rows = []
    for arm in numbers.arms:
        runs = numbers.runs_of(arm)
        if len(runs) > 1:
            cells = [_over_seeds([numbers.get(r, arm.branch, c) for r in runs]) for c in conditions]
            rows.append(Row(arm.label, cells, note=f"{len(runs)} seeds", style=looks[arm]))
    if not rows:
        return None
    return Table(
        "Macro AUROC over seeds: mean ± standard deviation of whole trainings on the same test "
        "images. It says how much training varies, the intervals above how much patients do.",
        ["Model and branch", *(c.heading for c in conditions)],
        [Group("", rows)],
    )


def finding_table(numbers: Numbers, looks: dict[Arm, Style]) -> Table:
    """AUROC per finding, clean and at the training radius, with both kinds of interval."""
    conditions = [CLEAN, *([numbers.training] if numbers.training else [])]
    columns = ["Finding and model"]
    for condition in conditions:
        columns += [condition.heading, "DeLong interval"]
    groups = [
        Group(
            finding, _finding_rows(numbers, looks, finding, conditions), _support(numbers, finding)
        )
        for finding in numbers.findings
    ]
    return Table(
        "AUROC per finding. Below each value the 95 % bootstrap interval; beside it DeLong's "
        "(Obuchowski's for several images of a patient).",
        columns,
        groups,
    )


def other_tables(numbers: Numbers) -> list[Table]:
    """Every other metric, a table per condition (clean, training radius)."""
    conditions = [CLEAN, *([numbers.training] if numbers.training else [])]
    return [_other_table(numbers, condition) for condition in conditions]


def every_condition_table(numbers: Numbers, looks: dict[Arm, Style]) -> Table | None:
    """Macro AUROC under the conditions that the main table leaves out."""
    apart = {*numbers.shown, *(c for c in numbers.conditions if c.corruption or c.saved)}
    rest = [c for c in numbers.conditions if c not in apart]
    if not rest:
        return None
    groups = [
        Group(
            condition.heading,
            [
                Row(
                    arm.label,
                    [estimate(numbers.get(run, arm.branch, condition))],
                    note=numbers.note(run, arm.branch),
                    style=looks[arm],
                )
                for arm in numbers.arms
                for run in numbers.runs_of(arm)
                if numbers.get(run, arm.branch, condition)
            ],
        )
        for condition in rest
    ]
    return Table(
        "Macro AUROC under every further condition.", ["Condition and model", "AUROC"], groups
    )


def _finding_rows(
    numbers: Numbers, looks: dict[Arm, Style], finding: str, conditions: Sequence[Condition]
) -> list[Row]:
    return [
        Row(
            arm.label,
            _finding_cells(numbers, run, arm, finding, conditions),
            note=numbers.note(run, arm.branch),
            style=looks[arm],
        )
        for arm in numbers.arms
        for run in numbers.runs_of(arm)
    ]


def _finding_cells(
    numbers: Numbers, run: Run, arm: Arm, finding: str, conditions: Sequence[Condition]
) -> list[Cell]:
    cells = []
    for condition in conditions:
        cells.append(estimate(numbers.get(run, arm.branch, condition, finding)))
        delong = numbers.get(run, arm.branch, condition, finding, interval="delong")
        cells.append(Cell(text.interval(delong.low, delong.high) if delong else text.DASH))
    return cells


def _support(numbers: Numbers, finding: str) -> str:
    found = (
        numbers.get(run, arm.branch, CLEAN, finding)
        for arm in numbers.arms
        for run in numbers.runs_of(arm)
    )
    known = next((e for e in found if e), None)
    if known is None:
        return ""
    return f"{text.count(known.n_positive)} positive of {text.count(known.n)} with a known label"


def _other_table(numbers: Numbers, condition: Condition) -> Table:
    thresholds = Numbers(numbers.runs, replace(numbers.evaluation, split="val"))
    groups = []
    for arm in numbers.arms:
        for run in numbers.runs_of(arm):
            rows = [
                Row(
                    finding,
                    [
                        *(
                            estimate(numbers.get(run, arm.branch, condition, finding, metric))
                            for metric in OTHER_METRICS
                        ),
                        estimate(thresholds.get(run, arm.branch, CLEAN, finding, "threshold")),
                    ],
                )
                for finding in [*numbers.findings, "macro"]
            ]
            groups.append(Group(f"{arm.label}, seed {run.seed}", rows))
    return Table(
        f"All other metrics on {condition.label}. Sensitivity, specificity and accuracy at the "
        "threshold chosen on clean validation images.",
        ["Model and finding", *OTHER_METRICS.values(), "Threshold"],
        groups,
    )


def _over_seeds(found: Sequence[Estimate | None]) -> Cell:
    summary = across_seeds([e.value for e in found if e is not None])
    if summary.n < 2:
        return Cell(text.DASH)
    marks = [mark_of(e) for e in found if e is not None]
    shown = f"{text.number(summary.mean)} ± {text.number(summary.standard_deviation)}"
    return Cell(shown, mark=max(marks))
