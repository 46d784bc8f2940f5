"""How far an image must be changed before its decision is wrong, from `flips/*.csv`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrobust.errors import MedrobustError
from medrobust.report import plots, text
from medrobust.report.curves import Figure, as_figure
from medrobust.report.figures import Curve, Line
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.plots import Plane
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import Arm, Condition

NEVER = np.inf


@dataclass(frozen=True)
class Flips:
    """The smallest wrong radius of each finding's known labels, infinite where there is none."""

    arm: Arm
    run: Run
    sweep: Condition
    """At its largest radius."""
    by_finding: dict[str, Curve]
    mark: str = ""
    """What stands beside its numbers where a check speaks against the attack."""

    @property
    def pooled(self) -> Curve:
        """Of all findings together."""
        return np.concatenate(list(self.by_finding.values()))


def read_flips(material: Material) -> list[Flips]:
    """Of every model and seed; images of unknown label are left out, so labels are needed.

    Raises `MedrobustError` for a file that is no such table.
    """
    found = []
    for arm, run in material.models():
        sweep, table = _largest(material.numbers, arm, run)
        if sweep is None or table is None or material.table is None:
            continue
        labels = material.table.set_index(material.table["image_id"].astype(str))
        by_finding = {}
        for finding in material.numbers.findings:
            if finding in table and f"label:{finding}" in labels:
                known = labels[f"label:{finding}"].reindex(table["image_id"]).notna().to_numpy()
                if known.any():
                    by_finding[finding] = table[finding].fillna(NEVER).to_numpy(float)[known]
        if by_finding:
            mark = material.numbers.mark(run, arm.branch, sweep)
            found.append(Flips(arm, run, sweep, by_finding, mark))
    return found


def flips_figure(material: Material, found: Sequence[Flips]) -> Figure | None:
    """The share of decisions that are still right against the radius."""
    if not found:
        return None
    lines, drawn, words = [], set(), []
    for one in found:
        radii = _radii(material.numbers, one)
        share = np.array([_right(one.pooled, eps) for eps in radii])
        lines.append(Line(radii, share, material.looks[one.arm], faint=one.arm in drawn))
        if one.arm not in drawn:
            words.append(f"{one.arm.label} {text.percent(share[0])} to {text.percent(share[-1])}")
        drawn.add(one.arm)
    sweep = found[0].sweep
    size, ylim = (5.4, 3.2), (-0.02, 1.02)
    plane = Plane(sweep.axis, "share decided rightly", ylim=ylim, marks=True, size=size)
    svg = plots.curves("Decisions that are still right", lines, plane)
    reach = text.epsilon(sweep.eps, sweep.norm)
    told = "; ".join(words)
    return as_figure(svg, f"Share of decisions still right, ε from 0 to {reach}: {told}.")


def flip_sentences(found: Sequence[Flips]) -> list[str]:
    """The median radius at which decisions turn wrong, for the first seed of every model."""
    first: dict[Arm, Flips] = {}
    for one in found:
        first.setdefault(one.arm, one)
    return [_sentence(one) for one in first.values()]


def flips_table(material: Material, found: Sequence[Flips]) -> Table:
    """Per finding: right on clean images, at the training radius, and the median radius."""
    numbers = material.numbers
    training = numbers.swept.eps if numbers.swept else 0.0
    groups = []
    for finding in numbers.findings:
        rows = [
            Row(
                one.arm.label,
                [
                    Cell(text.percent(_right(one.by_finding[finding], 0.0))),
                    Cell(text.percent(_right(one.by_finding[finding], training)), mark=one.mark),
                    Cell(_median_words(one.by_finding[finding], one.sweep), mark=one.mark),
                ],
                numbers.note(one.run, one.arm.branch),
                material.looks[one.arm],
            )
            for one in found
            if finding in one.by_finding
        ]
        groups.append(Group(finding, rows))
    return Table(
        "Decisions per finding, at the thresholds chosen on validation images. Median ε: where "
        "half of the decisions are wrong.",
        ["Finding and model", "Right, clean", f"Right, ε = {text.epsilon(training)}", "Median ε"],
        groups,
    )


def _sentence(one: Flips) -> str:
    sweep, values = one.sweep, one.pooled
    who = one.arm.phrase + (f" ({one.mark})" if one.mark else "")
    median = median_flip(values)
    attack = f"{sweep.article}{sweep.label.partition(',')[0]}"
    if median == 0:
        return f"Half of the decisions of {who} are wrong without any attack."
    if np.isinf(median):
        return (
            f"More than half of the decisions of {who} "
            f"({text.percent(_right(values, sweep.eps))}) are still right under {attack} at "
            f"ε = {text.epsilon(sweep.eps, sweep.norm)}, the largest that was tried."
        )
    return (
        f"Half of the decisions of {who} are wrong from ε = "
        f"{text.epsilon(median, sweep.norm)} on, under {attack}."
    )


def median_flip(values: Curve) -> float:
    """The smallest radius at which at least half of the decisions are wrong; inf if none is."""
    ordered = np.sort(values)
    return float(ordered[(ordered.size - 1) // 2]) if ordered.size else NEVER


def _median_words(values: Curve, sweep: Condition) -> str:
    median = median_flip(values)
    if np.isinf(median):
        return f"> {text.epsilon(sweep.eps, sweep.norm)}"
    return text.epsilon(median, sweep.norm)


def _right(values: Curve, eps: float) -> float:
    return float((values > eps * (1 + 1e-9)).mean())


def _radii(numbers: Numbers, one: Flips) -> Curve:
    reached = [c.eps for c in numbers.sweep if c.eps <= one.sweep.eps]
    return np.array([0.0, *reached])


def _largest(numbers: Numbers, arm: Arm, run: Run) -> tuple[Condition | None, pd.DataFrame | None]:
    """The sweep's largest radius that has a file, and the file."""
    for condition in reversed(numbers.sweep):
        stem = numbers.stem(run, arm.branch, condition)
        file = run.path / "flips" / f"{stem}.csv"
        if stem and file.is_file():
            try:
                table = pd.read_csv(file, dtype={"image_id": "str", "patient_id": "str"})
                table["image_id"].astype(str)
            except (ValueError, KeyError) as error:
                raise MedrobustError(
                    f"{file}: expected a table of flips with image_id, found another; run "
                    "`evaluate` again"
                ) from error
            return condition, table
    return None, None
