"""AUROC between the two branches of a dual network, from `explain/dial.csv`."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrobust.report import plots, text
from medrobust.report.csv_rows import read_rows
from medrobust.report.curves import Figure, as_figure
from medrobust.report.figures import INK, Line, Style
from medrobust.report.material import Material
from medrobust.report.plots import Plane
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table, estimate
from medrobust.report.terms import Estimate

TEXTS = ("store", "split", "norm", "condition", "finding")
NUMBERS = ("eps", "share", "value", "low", "high", "chosen")
CONDITIONS = ("clean", "attacked")
LOOK = Style(INK, "-", "o")


@dataclass(frozen=True)
class Dial:
    """The macro AUROC of one run at one radius."""

    run: Run
    norm: str
    eps: float
    shown: pd.DataFrame
    """Of the evaluation: `share, condition, value, low, high, chosen`."""
    validation: pd.DataFrame
    """The same of the images that chose the share."""

    @property
    def shares(self) -> list[float]:
        """Ascending."""
        return sorted(set(self.shown["share"]))

    @property
    def chosen(self) -> float:
        """The share that validation images chose; NaN if the file does not say."""
        marked = self.shown[self.shown["chosen"] == 1]["share"]
        return float(marked.iloc[0]) if len(marked) else float("nan")

    def at(self, share: float, condition: str, validation: bool = False) -> Estimate | None:
        """One number."""
        rows = self.validation if validation else self.shown
        rows = rows[(rows["share"] == share) & (rows["condition"] == condition)]
        if rows.empty:
            return None
        value, low, high = rows[["value", "low", "high"]].iloc[0]
        return Estimate(float(value), float(low), float(high))


def read_dials(material: Material) -> list[Dial]:
    """Of every run that has one; raises `MedrobustError` for a file that is no such table."""
    here, found = material.numbers.evaluation, []
    for run in dict.fromkeys(run for _, run in material.models()):
        table = read_rows(run.path / "explain" / "dial.csv", TEXTS, NUMBERS)
        table = table[table["finding"] == "macro"]
        own = table[(table["store"] == here.store) & (table["split"] == here.split)]
        for norm, eps in dict.fromkeys(zip(own["norm"], own["eps"], strict=True)):
            same = (table["norm"] == norm) & (table["eps"] == eps)
            validation = table[same & (table["split"] == "val")]
            found.append(Dial(run, norm, eps, own[same.loc[own.index]], validation))
    return found


def dial_figure(dial: Dial) -> Figure:
    """Clean and attacked AUROC against the share; a large mark where validation images chose."""
    lines = []
    for condition in CONDITIONS:
        lines.append(_line(dial, condition, dial.shares))
        if np.isfinite(dial.chosen):
            lines.append(_line(dial, condition, [dial.chosen], joined=False))
    lowest = min(float(np.nanmin(line.y)) for line in lines)
    plane = Plane(
        *("share of the adversarial branch's batch norms", "macro AUROC", (-0.03, 1.03)),
        ylim=(min(0.4, lowest) - 0.03, 1.01),
        level=0.5,
        marks=True,
        size=(4.6, 3.2),
    )
    where = f"ε = {text.epsilon(dial.eps, dial.norm)}"
    svg = plots.curves(f"{dial.run.label}: clean (full), attacked (dashed)", lines, plane)
    words = "; ".join(
        f"{condition} {', '.join(text.number(float(y), 2) for y in line.y)}"
        for condition, line in zip(CONDITIONS, (one for one in lines if one.joined), strict=True)
    )
    shares = ", ".join(f"{share:g}" for share in dial.shares)
    return as_figure(svg, f"Macro AUROC of {dial.run.label} at shares {shares}, {where}: {words}.")


def dial_sentence(dial: Dial) -> str:
    """What the share is that validation images choose, and what it gives."""
    clean, attacked = (dial.at(dial.chosen, condition) for condition in CONDITIONS)
    if clean is None or attacked is None:
        return f"Of {dial.run.label} no share has been chosen on validation images."
    branch = {0.0: "the clean branch itself", 1.0: "the adversarial branch itself"}
    which = branch.get(dial.chosen, "between the branches")
    return (
        f"Validation images choose share {dial.chosen:g} of {dial.run.label} ({which}): AUROC "
        f"{_value(clean)} on clean images and {_value(attacked)} under the fast attack, "
        f"ε = {text.epsilon(dial.eps, dial.norm)}."
    )


def dial_table(dial: Dial) -> Table:
    """Every share, with the numbers that chose among them."""
    rows = [
        Row(
            f"{share:g}",
            [
                *(estimate(dial.at(share, condition)) for condition in CONDITIONS),
                Cell(text.number(_mean(dial, share))),
            ],
            "chosen" if share == dial.chosen else "",
        )
        for share in dial.shares
    ]
    return Table(
        f"The dial of {dial.run.label}: macro AUROC with 95 % bootstrap intervals, clean and under "
        f"the fast attack on the very network, ε = {text.epsilon(dial.eps, dial.norm)}.",
        ["Share", "Clean", "Attacked", "Mean of both on validation images"],
        [Group("", rows)],
    )


def _line(dial: Dial, condition: str, shares: list[float], joined: bool = True) -> Line:
    found = [dial.at(share, condition) or Estimate(np.nan) for share in shares]
    values, lows, highs = (
        np.array([getattr(one, part) for one in found]) for part in ("value", "low", "high")
    )
    hollow = condition == "attacked"
    return Line(np.array(shares), values, LOOK, lows, highs, joined=joined, hollow=hollow)


def _mean(dial: Dial, share: float) -> float:
    found = [dial.at(share, condition, validation=True) for condition in CONDITIONS]
    return float(np.mean([one.value if one else np.nan for one in found]))


def _value(found: Estimate) -> str:
    return f"{text.number(found.value)} ({text.interval(found.low, found.high)})"
