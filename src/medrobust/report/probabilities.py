"""What the probabilities are worth: do they mean what they say, and would acting on them help?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrobust.report import plots, text
from medrobust.report.curves import Figure, as_figure
from medrobust.report.figures import FAINT, Curve, Line, Style
from medrobust.report.material import Material
from medrobust.report.plots import Plane
from medrobust.report.terms import CLEAN, Condition
from medrobust.statistics import net_benefit, reliability

BINS = 10
GRID = np.arange(0.02, 0.81, 0.02)
"""Threshold probabilities of the decision curves."""
TOLD = np.arange(4, GRID.size, 10)
"""Those of them that are put into words: 10, 30, 50 and 70 %."""
EVERYONE = Style(FAINT, "--", "")
"""Of the line for treating all."""
WHOLE = (-0.02, 1.02)


@dataclass(frozen=True)
class Panel:
    """One figure: findings (all, or one) on clean or attacked images."""

    findings: Sequence[str]
    condition: Condition

    @property
    def name(self) -> str:
        """`All findings`, or the only one."""
        return "All findings" if len(self.findings) > 1 else self.findings[0]

    @property
    def title(self) -> str:
        """Two lines above the figure."""
        return f"{self.name}\n{self.condition.heading}"


Shape = Callable[[pd.DataFrame, pd.DataFrame, Sequence[str]], tuple[Curve, Curve]]
"""(predictions, labels, findings) -> a curve."""


def reliability_figures(material: Material) -> list[Figure]:
    """Share of positives against predicted probability, findings pooled; then each finding."""
    plane = Plane("predicted probability", "share of positives", WHOLE, WHOLE, None, True, True)
    found = []
    for panel in _panels(material):
        lines, words = _lines(material, panel, _reliability)
        if lines:
            svg = plots.curves(panel.title, lines, plane)
            said = f"Reliability, {panel.name} on {panel.condition.label}, by bins: {words}."
            found.append(as_figure(svg, said))
    return found


def decision_figures(material: Material) -> list[Figure]:
    """Net benefit against threshold probability, mean over findings; then each finding."""
    found = []
    for panel in _panels(material):
        lines, words = _lines(material, panel, _benefit)
        everyone, _ = _lines(material, panel, _treat_all)
        if lines:
            lines = [Line(everyone[0].x, everyone[0].y, EVERYONE), *lines]
            top = float(np.nanmax([np.nanmax(line.y) for line in lines])) + 0.03
            plane = Plane("threshold probability", "net benefit", (0, 0.82), (-0.08, top), 0.0)
            svg = plots.curves(panel.title, lines, plane)
            said = f"Net benefit, {panel.name} on {panel.condition.label}, at 10, 30, 50, 70 %"
            found.append(as_figure(svg, f"{said}: {words}."))
    return found


def _panels(material: Material) -> list[Panel]:
    findings = material.numbers.findings
    wholes = [Panel(findings, condition) for condition in material.conditions]
    return wholes + [Panel([f], CLEAN) for f in findings if len(findings) > 1]


def _lines(material: Material, panel: Panel, shape: Shape) -> tuple[list[Line], str]:
    """A line for the first seed of every model, and all in words."""
    lines, words = [], []
    for arm, run in material.first_seeds():
        found = material.labelled(run, arm, panel.condition)
        if found is None:
            continue
        findings = [f for f in panel.findings if f in found[1] and found[1][f].notna().any()]
        if findings:
            x, y = shape(*found, findings)
            lines.append(Line(x, y, material.looks[arm]))
            told = y[TOLD] if y.size == GRID.size else y
            words.append(f"{arm.label} {', '.join(text.number(value, 2) for value in told)}")
    return lines, "; ".join(words)


def _reliability(
    frame: pd.DataFrame, labels: pd.DataFrame, findings: Sequence[str]
) -> tuple[Curve, Curve]:
    truth, given = (part[list(findings)].to_numpy(float).ravel() for part in (labels, frame))
    found = reliability(truth, given, BINS)
    known = found.images > 0
    return found.mean_probability[known], found.frequency[known]


def _benefit(
    frame: pd.DataFrame, labels: pd.DataFrame, findings: Sequence[str]
) -> tuple[Curve, Curve]:
    values = [[net_benefit(labels[f], frame[f], t) for t in GRID] for f in findings]
    return GRID, np.mean(values, axis=0)


def _treat_all(
    frame: pd.DataFrame, labels: pd.DataFrame, findings: Sequence[str]
) -> tuple[Curve, Curve]:
    return _benefit(frame.assign(**dict.fromkeys(findings, 1.0)), labels, findings)
