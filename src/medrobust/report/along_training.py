"""AUROC of every branch along training, where several checkpoints were evaluated."""

import re
from dataclasses import replace

import numpy as np

from medrobust.report import plots, text
from medrobust.report.curves import Figure, as_figure
from medrobust.report.figures import Line
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.plots import Plane
from medrobust.report.read import Run
from medrobust.report.terms import CLEAN, Arm, Condition

LEAST = 2
"""Checkpoints that make a curve."""


def training_figures(material: Material) -> list[Figure]:
    """A figure per run: test AUROC of its branches, clean and attacked, at each checkpoint."""
    found = []
    for run in material.numbers.runs:
        epochs = _epochs(run)
        if len(epochs) >= LEAST:
            found.append(_figure(material, run, epochs))
    return found


def _figure(material: Material, run: Run, epochs: dict[int, str]) -> Figure:
    home = material.numbers
    along = {
        epoch: Numbers([run], replace(home.evaluation, checkpoint=name))
        for epoch, name in sorted(epochs.items())
    }
    lines, words = [], []
    for arm in home.arms:
        if arm.name != run.name:
            continue
        for condition in _conditions(home):
            line = _line(material, along, arm, run, condition)
            if line is not None:
                lines.append(line)
                ends = " to ".join(text.number(line.y[end], 2) for end in (0, -1))
                words.append(f"{arm.label} on {condition.label} {ends}")
    plane = Plane("epoch", "AUROC", ylim=(-0.02, 1.02), level=0.5, marks=True, size=(4.0, 3.0))
    alt = f"Test AUROC of {run.label} at {len(epochs)} checkpoints: {'; '.join(words)}."
    return as_figure(plots.curves(run.label, lines, plane), alt)


def _line(
    material: Material, along: dict[int, Numbers], arm: Arm, run: Run, condition: Condition
) -> Line | None:
    found = {
        epoch: one.value
        for epoch, numbers in along.items()
        if (one := numbers.get(run, arm.branch, condition)) is not None and one.scorable
    }
    if not found:
        return None
    x, y = np.array(list(found), float), np.array(list(found.values()))
    return Line(x, y, material.looks[arm], hollow=condition != CLEAN)


def _conditions(numbers: Numbers) -> list[Condition]:
    return [CLEAN, *([numbers.swept] if numbers.swept else [])]


def _epochs(run: Run) -> dict[int, str]:
    """Epoch -> checkpoint that was evaluated; the selected one stands at its epoch."""
    evaluated = set(run.metrics.loc[run.metrics["split"] != "val", "checkpoint"].astype(str))
    found: dict[int, str] = {}
    if "last" in evaluated and run.epochs:
        found[run.epochs[-1].epoch] = "last"
    if "best" in evaluated and run.selected:
        found[run.selected.epoch] = "best"
    for name in sorted(evaluated):
        if match := re.fullmatch(r"epoch-(\d+)", name):
            found[int(match.group(1))] = name
    return found
