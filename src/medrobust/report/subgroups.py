"""Does a model work as well for everyone? Groups of images, and their gaps to all others."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medrobust.report import plots, text
from medrobust.report.curves import Figure, as_figure
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.plots import Interval
from medrobust.report.read import Run
from medrobust.report.tables import (
    Cell,
    Group,
    Row,
    Table,
    estimate,
    mark_of,
    signed_estimate,
)
from medrobust.report.terms import CLEAN, Arm, Condition, Estimate

METRICS = {"auroc": "AUROC", "sensitivity": "Sensitivity", "specificity": "Specificity"}
MOST = 6
"""Gaps that are put into words."""
ByGroup = dict[str, Numbers]
"""`sex=F` -> the numbers of these images."""


def by_group(numbers: Numbers) -> ByGroup:
    """The numbers of every group of images, in the order of the files."""
    groups: dict[str, None] = {}
    for run in numbers.runs:
        groups |= dict.fromkeys(run.metrics["group"].astype(str))
    names = [name for name in groups if name not in ("", "all")]
    found = {n: Numbers(numbers.runs, replace(numbers.evaluation, group=n)) for n in names}
    return {name: one for name, one in found.items() if one.conditions}


def group_conditions(material: Material, groups: ByGroup) -> list[Condition]:
    """Clean images, and the attack that is quoted, if groups were scored under it."""
    measured = {c for one in groups.values() for c in one.conditions}
    training, swept = material.numbers.training, material.numbers.swept
    attacked = next((c for c in (training, swept) if c in measured), None)
    return [c for c in (CLEAN, attacked) if c is not None and c in measured]


def group_figures(material: Material, groups: ByGroup) -> list[Figure]:
    """AUROC gaps of the groups, a figure for each condition."""
    return [_figure(material, groups, c) for c in group_conditions(material, groups)]


def group_sentences(material: Material, groups: ByGroup) -> list[str]:
    """The largest gaps of AUROC whose interval excludes 0, for the first seed of every model."""
    said: dict[str, float] = {}
    looked = 0
    for condition in group_conditions(material, groups):
        for arm in material.numbers.arms:
            for name, numbers in groups.items():
                gap = _gap(material, numbers, arm, condition)
                looked += gap is not None
                if gap is not None and (gap.low > 0 or gap.high < 0):
                    said[_sentence(condition, arm, name, gap)] = abs(gap.value)
    if not looked:
        return []
    largest = sorted(said, key=lambda sentence: -said[sentence])[:MOST]
    counted = (
        f"{text.plural(looked, 'gap')} between a group and all other images: {len(said)} with an "
        "interval that excludes 0. By chance alone it would be about one in 20."
    )
    return [counted, *largest]


def _sentence(condition: Condition, arm: Arm, group: str, gap: Estimate) -> str:
    where, mark = _where(condition), mark_of(gap)
    limits = text.signed_interval(gap.low, gap.high)
    return (
        f"{where[0].upper()}{where[1:]}, {arm.phrase} is {'better' if gap.value > 0 else 'worse'} "
        f"for {group_name(group)} ({text.plural(int(gap.n), 'image')}) by "
        f"{text.number(abs(gap.value))} AUROC (95 % interval of the difference {limits}"
        f"{f'; {mark}' if mark else ''})."
    )


def _where(condition: Condition) -> str:
    return f"under {condition.phrase}" if condition.attack else "on clean images"


def group_tables(material: Material, groups: ByGroup) -> list[Table]:
    """Macro numbers and gaps of every group and model, a table for each condition."""
    return [_table(material, groups, c) for c in group_conditions(material, groups)]


def group_name(group: str) -> str:
    """`sex F`, `age 40–59`."""
    column, _, value = group.partition("=")
    return f"{column} {value.replace('-', text.DASH)}"


def _figure(material: Material, groups: ByGroup, condition: Condition) -> Figure:
    models, words = [], []
    for arm in material.numbers.arms:
        found = [_gap(material, one, arm, condition) or Estimate(np.nan) for one in groups.values()]
        models.append(
            Interval(
                [e.value for e in found],
                [e.low for e in found],
                [e.high for e in found],
                material.looks[arm],
            )
        )
        words.append(f"{arm.label} {', '.join(text.signed(e.value, 2) for e in found)}")
    names = [group_name(name) for name in groups]
    title = "Clean images" if condition == CLEAN else condition.heading
    svg = plots.forest(title, names, models, "AUROC of the group minus AUROC of all others")
    alt = f"AUROC gaps on {condition.label} of {', '.join(names)}: {'; '.join(words)}."
    return as_figure(svg, alt)


def _gap(material: Material, numbers: Numbers, arm: Arm, condition: Condition) -> Estimate | None:
    """The AUROC gap of the model's first seed."""
    run = material.numbers.runs_of(arm)[0]
    found = numbers.get(run, arm.branch, condition, metric="auroc_gap")
    return found if found is not None and found.scorable else None


def _table(material: Material, groups: ByGroup, condition: Condition) -> Table:
    rows = [
        Group(
            arm.label,
            [
                Row(group_name(name), _cells(numbers, arm, run, condition))
                for name, numbers in groups.items()
            ],
            material.numbers.note(run, arm.branch) if condition.attack else f"seed {run.seed}",
        )
        for arm, run in material.models()
    ]
    columns: list[str] = ["Model and group", "Images"]
    for name in METRICS.values():
        columns += [name, f"{name} gap"]
    return Table(
        f"Groups {_where(condition)}: macro averages with 95 % bootstrap intervals, at the "
        "thresholds of all images. A gap is the group minus all other images.",
        columns,
        rows,
    )


def _cells(numbers: Numbers, arm: Arm, run: Run, condition: Condition) -> Sequence[Cell]:
    found = {
        metric: numbers.get(run, arm.branch, condition, metric=metric)
        for metric in (m + kind for m in METRICS for kind in ("", "_gap"))
    }
    auroc = found["auroc"]
    cells = [Cell(text.count(auroc.n) if auroc else text.DASH)]
    for metric in METRICS:
        cells += [estimate(found[metric]), signed_estimate(found[f"{metric}_gap"])]
    return cells
