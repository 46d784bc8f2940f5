"""Values on a plane as colours, with a colour bar.

The colours are viridis, in which equal steps look equal, also in grey and to the colour-blind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medrobust.report.figures import SETTINGS, to_svg

Floats = NDArray[np.float64]
COLOURS = "viridis"
ACROSS = 2
"""Surfaces in a row."""
LEVELS = 9
"""Of lines of equal value, lowest and highest value included."""
MOST_NAMES = 24
"""Names along an axis; of more, every second or third is written."""


@dataclass(frozen=True)
class Panel:
    """One picture: `values` (rows, columns), the first row at the bottom."""

    title: str
    values: Floats


@mpl.rc_context(SETTINGS)
def surfaces(panels: Sequence[Panel], axis: Floats, names: tuple[str, str], bar: str) -> bytes:
    """Positive values over squares, all on one logarithmic scale, with lines of equal value.

    Args:
        panels: values (A, A).
        axis: (A,) places along either side.
        names: of the axis across and of the one going up.
        bar: what the colours mean.
    """
    values = np.stack([panel.values for panel in panels])
    lowest = max(float(values.min()), float(values.max()) * 1e-4, 1e-12)
    highest = max(float(values.max()), lowest * 1.01)
    scale, lines = LogNorm(lowest, highest), np.geomspace(lowest, highest, LEVELS)
    figure, grid, beside = _grid(len(panels), min(len(panels), ACROSS), side=1.9, left=0.52)
    half = (axis[1] - axis[0]) / 2
    extent = (axis[0] - half, axis[-1] + half) * 2
    for axes, panel in zip(grid, panels, strict=True):
        shown = np.maximum(panel.values, lowest)
        drawn = axes.imshow(
            shown, COLOURS, scale, origin="lower", extent=extent, interpolation="none"
        )
        crossed = lines[(lines > shown.min()) & (lines < shown.max())]
        if crossed.size:
            axes.contour(axis, axis, shown, crossed, colors="white", linewidths=0.7)
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.set_title(panel.title)
    legend = figure.colorbar(drawn, cax=beside, label=bar, ticks=lines, format="%.2g")
    legend.ax.minorticks_off()
    return to_svg(figure)


@mpl.rc_context(SETTINGS)
def matrix(panel: Panel, rows: Sequence[str], columns: Sequence[str], bar: str) -> bytes:
    """Values from 0 to 1 with names of rows and columns; what is not defined is left white."""
    figure, (axes,), beside = _grid(1, 1, side=2.5, left=1.25, below=1.2)
    drawn = axes.imshow(
        panel.values, COLOURS, Normalize(0, 1), origin="lower", interpolation="none"
    )
    places, names = _thinned(rows)
    axes.set_yticks(places, names, fontsize=7)
    places, names = _thinned(columns)
    axes.set_xticks(places, names, fontsize=7, rotation=90)
    axes.set_title(panel.title)
    figure.colorbar(drawn, cax=beside, label=bar)
    return to_svg(figure)


def _thinned(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Places and names of as many as can be read."""
    places = list(range(0, len(names), math.ceil(len(names) / MOST_NAMES)))
    return places, [names[place] for place in places]


def _grid(
    count: int, across: int, side: float, left: float, below: float = 0.5
) -> tuple[Figure, list[Axes], Axes]:
    """A figure with square panels of this side in inches, and a narrow one for the colour bar."""
    down, cell, high = math.ceil(count / across), left + side + 0.1, 0.45 + side + below
    width, height = across * cell + 0.95, down * high
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)

    def place(x: float, y: float, wide: float) -> Axes:
        axes: Axes = figure.add_axes((x / width, y / height, wide / width, side / height))
        return axes

    panels = [
        place((i % across) * cell + left, (down - 1 - i // across) * high + below, side)
        for i in range(count)
    ]
    return figure, panels, place(width - 0.9, (down - 1) * high + below, 0.12)
