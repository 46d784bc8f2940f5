"""Further drawings: any curves on labelled axes, and intervals side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np

from medrobust.report.figures import FAINT, SETTINGS, Line, Style, canvas, draw, margins, to_svg


@dataclass(frozen=True)
class Plane:
    """The axes of a figure of curves."""

    across: str
    up: str
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    level: float | None = None
    """Height of a thin horizontal line, such as chance."""
    diagonal: bool = False
    marks: bool = False
    size: tuple[float, float] = (2.75, 2.85)
    """In inches."""


@dataclass(frozen=True)
class Interval:
    """One model's values with their intervals, one for every row; NaN where there is none."""

    values: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    style: Style


@mpl.rc_context(SETTINGS)
def curves(title: str, lines: Sequence[Line], plane: Plane) -> bytes:
    """Curves on the given axes."""
    figure, axes = canvas(*plane.size)
    if plane.diagonal:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    if plane.level is not None:
        axes.axhline(plane.level, color=FAINT, linewidth=0.8)
    for line in lines:
        draw(axes, line, marker=plane.marks)
    axes.set(xlabel=plane.across, ylabel=plane.up, xlim=plane.xlim, ylim=plane.ylim)
    axes.set_title(title)
    return to_svg(figure)


@mpl.rc_context(SETTINGS)
def forest(title: str, rows: Sequence[str], models: Sequence[Interval], across: str) -> bytes:
    """Values with intervals, a band of the models for every row; a line at 0."""
    figure, axes = canvas(3.9, 0.95 + len(rows) * (0.16 + 0.12 * len(models)))
    margins(figure, left=0.95, bottom=0.48, right=0.1, top=0.32)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    offsets = 0.72 * (np.arange(len(models)) + 0.5) / max(1, len(models)) - 0.36
    for model, offset in zip(models, offsets, strict=True):
        y = np.arange(len(rows)) + offset
        axes.hlines(y, model.lows, model.highs, color=model.style.colour, linewidth=1.2)
        axes.plot(
            model.values,
            y,
            linestyle="none",
            color=model.style.colour,
            marker=model.style.marker,
            markersize=4.5,
        )
    axes.set(xlabel=across, yticks=range(len(rows)), ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticklabels(list(rows))
    axes.set_title(title)
    return to_svg(figure)
