"""AUROC on images that are worse for ordinary reasons: noise, blur, contrast and the like."""

from collections.abc import Sequence

import numpy as np

from medrobust.report import plots, text
from medrobust.report.curves import Figure, as_figure
from medrobust.report.figures import Line
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.plots import Plane
from medrobust.report.read import Run
from medrobust.report.tables import Group, Row, Table, estimate
from medrobust.report.terms import CLEAN, Arm, Condition

MIDDLE = 3
"""The severity that sentences quote."""


def corruption_names(numbers: Numbers) -> list[str]:
    """Every corruption that was measured."""
    return list(dict.fromkeys(c.corruption for c in numbers.conditions if c.corruption))


def corruption_sentence(numbers: Numbers) -> str:
    """What the corruptions cost at the middle severity, on average; empty without any."""
    names = corruption_names(numbers)
    parts = []
    for arm in numbers.arms:
        run = numbers.runs_of(arm)[0]
        clean, mean = (_mean(numbers, arm, run, names, severity) for severity in (0, MIDDLE))
        if np.isfinite(mean):
            parts.append(f"{arm.phrase} {text.number(mean, 2)} (clean {text.number(clean, 2)})")
    if not parts:
        return ""
    of = f"{text.plural(len(names), 'corruption')} of severity {MIDDLE} of 5"
    return f"Averaged over {of}, the macro AUROC is: {text.enumeration(parts)}."


def corruption_figures(material: Material) -> list[Figure]:
    """The mean over all corruptions first, then each."""
    names = corruption_names(material.numbers)
    if not names:
        return []
    wholes = [("Mean of all corruptions", names)] if len(names) > 1 else []
    return [_figure(material, title, some) for title, some in [*wholes, *((n, [n]) for n in names)]]


def corruption_table(material: Material) -> Table:
    """A row per model and corruption, a column per severity."""
    numbers = material.numbers
    severities = _severities(numbers)
    groups = []
    for name in corruption_names(numbers):
        rows = [
            Row(
                arm.label,
                [
                    estimate(numbers.get(run, arm.branch)),
                    *(
                        estimate(numbers.get(run, arm.branch, _condition(name, severity)))
                        for severity in severities
                    ),
                ],
                f"seed {run.seed}",
                material.looks[arm],
            )
            for arm, run in material.models()
        ]
        groups.append(Group(name[0].upper() + name[1:], rows))
    return Table(
        "Macro AUROC on corrupted images, with 95 % bootstrap interval.",
        ["Corruption and model", "Clean", *(f"Severity {severity:g}" for severity in severities)],
        groups,
    )


def _figure(material: Material, title: str, names: Sequence[str]) -> Figure:
    severities = [0, *_severities(material.numbers)]
    lines, drawn, words = [], set(), []
    for arm, run in material.models():
        y = np.array([_mean(material.numbers, arm, run, names, s) for s in severities])
        lines.append(Line(np.array(severities, float), y, material.looks[arm], faint=arm in drawn))
        if arm not in drawn:
            words.append(f"{arm.label} {', '.join(text.number(one, 2) for one in y)}")
        drawn.add(arm)
    title = title[0].upper() + title[1:]
    plane = Plane("severity (0: clean)", "AUROC", ylim=(0.4, 1.01), level=0.5, marks=True)
    alt = f"{title}: macro AUROC at severities 0 to {severities[-1]:g}. {'; '.join(words)}."
    return as_figure(plots.curves(title, lines, plane), alt)


def _mean(numbers: Numbers, arm: Arm, run: Run, names: Sequence[str], severity: float) -> float:
    """Mean over corruptions; NaN unless every one was measured."""
    found = [
        numbers.get(run, arm.branch, _condition(name, severity) if severity else CLEAN)
        for name in names
    ]
    values = [one.value if one else np.nan for one in found]
    return float(np.mean(values)) if values else float("nan")


def _severities(numbers: Numbers) -> list[float]:
    return sorted({c.eps for c in numbers.conditions if c.corruption})


def _condition(name: str, severity: float) -> Condition:
    return Condition(f"corruption:{name}", "", round(float(severity), 9))
