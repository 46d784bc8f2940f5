"""The figures of a report, from its numbers and predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrobust.predictions import LOGIT, labels_of
from medrobust.report import figures, pictures, text
from medrobust.report.figures import Line, Style
from medrobust.report.numbers import Numbers
from medrobust.report.predicted import Predicted
from medrobust.report.read import Run
from medrobust.report.terms import CLEAN, Arm, Condition, Estimate, attack_name
from medrobust.statistics import RocCurve, roc_curve

GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class Figure:
    """A picture with the words that stand for it."""

    uri: str
    alt: str


def roc_figures(
    numbers: Numbers, predicted: Predicted, looks: dict[Arm, Style], labels: pd.DataFrame
) -> list[Figure]:
    """ROC curves of the macro average and every finding, clean and at the training radius."""
    conditions = [CLEAN, *([numbers.training] if numbers.training else [])]
    curves = {c: _curves(numbers, predicted, labels, c) for c in conditions}
    return [
        _roc_figure(numbers, looks, finding, condition, curves[condition])
        for finding in ["macro", *numbers.findings]
        for condition in conditions
    ]


def sweep_figure(numbers: Numbers, looks: dict[Arm, Style]) -> Figure | None:
    """Macro AUROC against the radius of the swept attack; None without one."""
    if not numbers.sweep:
        return None
    swept = [CLEAN, *numbers.sweep]
    lines, words = [], []
    for arm in numbers.arms:
        for position, run in enumerate(numbers.runs_of(arm)):
            line = _sweep_line(numbers, arm, run, looks[arm], swept, faint=position > 0)
            lines.append(line)
            if not line.faint:
                values = ", ".join(text.number(y, 2) for y in line.y)
                words.append(f"{arm.label}: {values}")
                lines.append(
                    _sweep_line(numbers, arm, run, looks[arm], strong(numbers), points=True)
                )
    radii = ", ".join(text.epsilon(c.eps, c.norm) for c in numbers.sweep)
    name = attack_name(numbers.sweep[0].attack)
    drawn = figures.sweep(
        f"Macro AUROC under {numbers.sweep[0].article}{name}",
        [line for line in lines if line.x.size],
        grey_levels=numbers.sweep[0].norm in ("", "linf"),
        across=numbers.sweep[0].axis,
    )
    return as_figure(drawn, f"Macro AUROC at ε = 0, {radii}. {'; '.join(words)}.")


def strong(numbers: Numbers) -> list[Condition]:
    """The strong attack's radii, where another attack was swept."""
    return [c for c in numbers.shown if c.attack == "strong" and c not in numbers.sweep]


def learning_figures(runs: Sequence[Run], looks: dict[Arm, Style]) -> list[Figure]:
    """Loss and validation AUROC per epoch, a figure per run that has a log."""
    drawn = []
    for run in runs:
        if run.epochs:
            branches = {a.branch: s for a, s in looks.items() if a.name == run.name}
            chosen = f"; epoch {run.selected.epoch} was selected" if run.selected else ""
            words = f"Loss and validation AUROC of {run.label}, {len(run.epochs)} epochs{chosen}."
            drawn.append(as_figure(figures.learning(run.label, run.epochs, branches), words))
    return drawn


def _curves(
    numbers: Numbers, predicted: Predicted, labels: pd.DataFrame, condition: Condition
) -> dict[tuple[Arm, Run], dict[str, RocCurve]]:
    found = {}
    for arm in numbers.arms:
        for run in numbers.runs_of(arm):
            frame = predicted.frame(run, arm.branch, condition)
            if frame is not None:
                found[arm, run] = _finding_curves(frame, labels_of(frame, labels))
    return found


def _finding_curves(frame: pd.DataFrame, truth: pd.DataFrame) -> dict[str, RocCurve]:
    curves = {name: roc_curve(truth[name], frame[LOGIT + name]) for name in map(str, truth)}
    return {
        name: c
        for name, c in curves.items()
        if np.isfinite(c.true_positive_rate).all() and np.isfinite(c.false_positive_rate).all()
    }


def _roc_figure(
    numbers: Numbers,
    looks: dict[Arm, Style],
    finding: str,
    condition: Condition,
    curves: dict[tuple[Arm, Run], dict[str, RocCurve]],
) -> Figure:
    lines, words = [], []
    seen: set[Arm] = set()
    for (arm, run), by_finding in curves.items():
        points = _points(by_finding, finding)
        if points is not None:
            lines.append(Line(*points, looks[arm], faint=arm in seen))
            words.append(_in_words(arm, run, numbers.get(run, arm.branch, condition, finding)))
            seen.add(arm)
    name = "Macro average" if finding == "macro" else finding
    title = f"{name}\n{condition.heading}"
    values = "; ".join(words) or "not scorable"
    return as_figure(
        figures.roc(title, lines), f"ROC of {name} on {condition.label}. AUROC: {values}."
    )


def _points(
    curves: dict[str, RocCurve], finding: str
) -> tuple[figures.Curve, figures.Curve] | None:
    """One finding's curve; the macro average takes the mean height at every false-positive rate."""
    if finding != "macro":
        one = curves.get(finding)
        return None if one is None else (one.false_positive_rate, one.true_positive_rate)
    if not curves:
        return None
    heights = [
        np.interp(GRID, c.false_positive_rate, c.true_positive_rate) for c in curves.values()
    ]
    return np.concatenate([[0.0], GRID]), np.concatenate([[0.0], np.mean(heights, axis=0)])


def _in_words(arm: Arm, run: Run, found: Estimate | None) -> str:
    return f"{arm.label}, seed {run.seed} {text.number(found.value if found else None, 2)}"


def _sweep_line(
    numbers: Numbers,
    arm: Arm,
    run: Run,
    look: Style,
    conditions: Sequence[Condition],
    faint: bool = False,
    points: bool = False,
) -> Line:
    found = [numbers.get(run, arm.branch, c) or Estimate(np.nan) for c in conditions]
    x = np.array([c.eps for c in conditions])
    y, low, high = (
        np.array([getattr(e, part) for e in found]) for part in ("value", "low", "high")
    )
    known = np.isfinite(y)
    x, y, low, high = x[known], y[known], low[known], high[known]
    return Line(x, y, look, None if faint else low, None if faint else high, faint, not points)


def as_figure(svg: bytes, alt: str) -> Figure:
    """A drawing and the words that stand for it."""
    return Figure(pictures.data_uri(svg, "image/svg+xml"), alt)
