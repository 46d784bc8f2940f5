"""Decisions at thresholds chosen on validation images: how good, and is one model better?"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from medrobust.report import text
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table, estimate
from medrobust.report.terms import CLEAN, Arm, Condition
from medrobust.statistics import holm, mcnemar

RULES = {
    "": "Youden's index",
    "@sensitivity=0.95": "95 % sensitivity wanted",
    "@specificity=0.95": "95 % specificity wanted",
}
"""How a threshold was chosen: the ending of its metrics, and the words for it."""


def operating_table(material: Material) -> Table:
    """Macro sensitivity and specificity at every kind of threshold, clean and attacked."""
    rules = _rules(material.numbers)
    groups = [
        Group(
            condition.heading,
            [
                Row(
                    arm.label,
                    _pairs(material.numbers, arm, run, condition, "macro", rules),
                    material.numbers.note(run, arm.branch)
                    if condition.attack
                    else f"seed {run.seed}",
                    material.looks[arm],
                )
                for arm, run in material.models()
            ],
        )
        for condition in material.conditions
    ]
    return Table(
        "Sensitivity and specificity on test images, mean over findings, at thresholds that were "
        "chosen on clean validation images and not touched since.",
        ["Condition and model", *_columns(rules)],
        groups,
    )


def finding_operating_table(material: Material) -> Table:
    """The same per finding on clean images, with the thresholds."""
    numbers = material.numbers
    chosen = Numbers(numbers.runs, replace(numbers.evaluation, split="val"))
    rules = _rules(numbers)
    groups = []
    for arm, run in material.models():
        rows = []
        for finding in numbers.findings:
            cells = []
            for rule in rules:
                cells.append(_threshold(chosen, run, arm, finding, rule))
                cells += _pairs(numbers, arm, run, CLEAN, finding, [rule])
            rows.append(Row(finding, cells))
        groups.append(Group(f"{arm.label}, seed {run.seed}", rows))
    return Table(
        "Thresholds, and what they give on clean test images.",
        ["Model and finding", *_columns(rules, thresholds=True)],
        groups,
    )


def mcnemar_table(material: Material) -> Table | None:
    """Exact tests of which of two models decides more images rightly, per finding."""
    numbers = material.numbers
    chosen = Numbers(numbers.runs, replace(numbers.evaluation, split="val"))
    groups = [
        group
        for condition in material.conditions
        for second, first in combinations(material.first_seeds(), 2)
        if (group := _compared(material, chosen, condition, first, second)) is not None
    ]
    if not groups:
        return None
    return Table(
        "Which of two models decides more test images rightly, at Youden's thresholds: the number "
        "of images that only one of them decides rightly, and McNemar's exact test. p (Holm) is "
        "corrected for the number of findings. The test takes images as independent, which is too "
        "optimistic where patients have several.",
        ["Models and finding", "Only the first right", "Only the second right", "p", "p (Holm)"],
        groups,
    )


def _compared(
    material: Material,
    chosen: Numbers,
    condition: Condition,
    first: tuple[Arm, Run],
    second: tuple[Arm, Run],
) -> Group | None:
    ours = _decisions(material, chosen, condition, *first)
    theirs = _decisions(material, chosen, condition, *second)
    labelled = material.labelled(first[1], first[0], condition)
    if ours is None or theirs is None or labelled is None or set(ours.index) != set(theirs.index):
        return None
    _, labels = labelled
    theirs = theirs.loc[ours.index]
    findings = [finding for finding in ours if finding in theirs]
    tests = [mcnemar(labels[f], ours[f], theirs[f]) for f in findings]
    adjusted = holm(np.array([test.p for test in tests]))
    rows = [
        Row(
            str(finding),
            [
                Cell(text.count(test.only_first)),
                Cell(text.count(test.only_second)),
                Cell(text.p_value(test.p)),
                Cell(text.p_value(corrected)),
            ],
        )
        for finding, test, corrected in zip(findings, tests, adjusted, strict=True)
    ]
    names = []
    for arm, run in (first, second):
        mark = material.numbers.mark(run, arm.branch, condition)
        names.append(f"{arm.label} ({mark})" if mark else arm.label)
    return Group(f"{' against '.join(names)}, {condition.label}", rows)


def _decisions(
    material: Material, chosen: Numbers, condition: Condition, arm: Arm, run: Run
) -> pd.DataFrame | None:
    """True where positive at Youden's threshold: a row per image id, a column per finding."""
    frame = material.predicted.frame(run, arm.branch, condition)
    if frame is None:
        return None
    decided = {}
    for finding in material.numbers.findings:
        found = chosen.get(run, arm.branch, CLEAN, finding, "threshold")
        if found is not None and found.scorable and finding in frame:
            decided[finding] = frame[finding].to_numpy(float) >= found.value
    return pd.DataFrame(decided, index=frame["image_id"].astype(str))


def _rules(numbers: Numbers) -> list[str]:
    """The rules of which there are numbers."""
    there = numbers.metrics()
    return [rule for rule in RULES if f"sensitivity{rule}" in there]


def _columns(rules: Sequence[str], thresholds: bool = False) -> list[str]:
    parts = [*(["threshold"] if thresholds else []), "sensitivity", "specificity"]
    return [f"{RULES[rule]}: {part}" for rule in rules for part in parts]


def _pairs(
    numbers: Numbers,
    arm: Arm,
    run: Run,
    condition: Condition,
    finding: str,
    rules: Sequence[str],
) -> list[Cell]:
    return [
        estimate(numbers.get(run, arm.branch, condition, finding, f"{metric}{rule}"))
        for rule in rules
        for metric in ("sensitivity", "specificity")
    ]


def _threshold(chosen: Numbers, run: Run, arm: Arm, finding: str, rule: str) -> Cell:
    return estimate(chosen.get(run, arm.branch, CLEAN, finding, f"threshold{rule}"))
