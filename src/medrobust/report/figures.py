"""Curves as small SVG files on white; every model keeps its colour, dash and marker."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medrobust.report.read import Epoch
from medrobust.report.terms import Arm

Curve = NDArray[np.float64]
Dash = str | tuple[int, tuple[int, ...]]

# Okabe and Ito, "Color universal design" (2008): told apart with any common colour blindness.
HOUSE: dict[tuple[str, str], tuple[str, Dash, str]] = {
    ("standard", "single"): ("#0072B2", "-", "o"),
    ("adversarial", "single"): ("#D55E00", "--", "s"),
    ("dual", "clean"): ("#009E73", "-.", "^"),
    ("dual", "adv"): ("#B05A8E", ":", "D"),
    ("noise", "single"): ("#7A7A7A", (0, (5, 1, 1, 1, 1, 1)), "v"),
}
SPARE_COLOURS = ("#E69F00", "#56B4E9", "#000000", "#8C6D1F", "#5A4FCF")
SPARE_DASHES = ("-", "--", "-.", ":")
SPARE_MARKERS = ("P", "X", "<", ">", "*")
INK, FAINT = "#333333", "#9a9a9a"
MANY = 12
"""Points on a line from which marks are small."""
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are anybody's, and may have a $ in them
    "svg.hashsalt": "medrobust",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Style:
    """How one model is drawn everywhere."""

    colour: str
    dash: Dash
    marker: str

    @property
    def svg_dash(self) -> str:
        """The dash for an SVG line; empty for a solid one."""
        if isinstance(self.dash, tuple):
            return " ".join(str(3 * length) for length in self.dash[1])
        return {"--": "8 3", "-.": "9 3 2 3", ":": "2 3"}.get(self.dash, "")


@dataclass(frozen=True)
class Line:
    """One curve; `low` and `high` are its 95 % interval where there is one."""

    x: Curve
    y: Curve
    style: Style
    low: Curve | None = None
    high: Curve | None = None
    faint: bool = False
    """For further seeds of a model that is drawn already."""
    joined: bool = True
    """Whether points are joined; else they are open marks with their intervals."""
    hollow: bool = False
    """Dashed with open marks, for what is drawn beside the same line in full."""


def styles(arms: Sequence[Arm]) -> dict[Arm, Style]:
    """The house style of a regime's first model; spare styles in turn for any further one."""
    chosen: dict[Arm, Style] = {}
    spare = 0
    for arm in arms:
        house = HOUSE.get((arm.regime, arm.branch))
        if house and Style(*house) not in chosen.values():
            chosen[arm] = Style(*house)
            continue
        chosen[arm] = Style(
            SPARE_COLOURS[spare % len(SPARE_COLOURS)],
            SPARE_DASHES[spare % len(SPARE_DASHES)],
            SPARE_MARKERS[spare % len(SPARE_MARKERS)],
        )
        spare += 1
    return chosen


@mpl.rc_context(SETTINGS)
def roc(title: str, lines: Sequence[Line]) -> bytes:
    """True-positive against false-positive rate, with the diagonal of chance."""
    figure, axes = canvas(2.75, 2.85)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    for line in lines:
        draw(axes, line)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, aspect="equal")
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
    axes.set_title(title)
    return to_svg(figure)


@mpl.rc_context(SETTINGS)
def sweep(
    title: str, lines: Sequence[Line], grey_levels: bool, across: str = "ε (images in [0, 1])"
) -> bytes:
    """AUROC against the attack's radius, chance at 0.5; a second axis in grey levels of 255."""
    figure, axes = canvas(5.4, 3.5)
    axes.axhline(0.5, color=FAINT, linewidth=0.8)
    axes.text(
        0.995,
        0.51,
        "chance",
        color="#6f6f6f",
        ha="right",
        va="bottom",
        fontsize=8,
        transform=axes.get_yaxis_transform(),
    )
    for line in lines:
        draw(axes, line, marker=True)
    lowest = min((float(np.nanmin(line.y)) for line in lines if line.y.size), default=0)
    axes.set(xlabel=across, ylabel="AUROC", ylim=(min(0.4, lowest) - 0.03, 1.01))
    axes.set_title(title)
    if grey_levels:
        second = axes.secondary_xaxis("top", functions=(_to_levels, _from_levels))
        second.set_xlabel("ε in grey levels (/255)", fontsize=8)
        second.tick_params(labelsize=8)
        margins(figure, left=0.56, bottom=0.48, right=0.14, top=0.72)
    return to_svg(figure)


@mpl.rc_context(SETTINGS)
def learning(title: str, epochs: Sequence[Epoch], looks: dict[str, Style]) -> bytes:
    """Training loss above, validation AUROC below (filled marks: clean, open: attacked)."""
    figure = Figure(figsize=(4.0, 4.1))
    FigureCanvasSVG(figure)
    margins(figure, left=0.66, bottom=0.48, right=0.1, top=0.28)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    x = np.array([e.epoch for e in epochs], dtype=float)
    upper.plot(x, [e.train_loss for e in epochs], color=INK, linewidth=1.2)
    upper.set(ylabel="training loss")
    upper.set_title(title)
    for branch, look in looks.items():
        for attacked in (False, True):
            _validation(lower, x, epochs, branch, look, attacked)
    lower.axhline(0.5, color=FAINT, linewidth=0.8)
    lower.set(xlabel="epoch", ylabel="validation AUROC")
    best = [e.epoch for e in epochs if e.best]
    for axes in (upper, lower):
        axes.grid(visible=True)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if best:
            axes.axvline(best[-1], color=FAINT, linewidth=0.8, dashes=(3, 2))
    if best:
        upper.annotate(
            f"selected: epoch {best[-1]}",
            (best[-1], 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3, -2),
            textcoords="offset points",
            ha="right" if best[-1] > x.mean() else "left",
            va="top",
            fontsize=8,
            color="#6f6f6f",
        )
    return to_svg(figure)


def _validation(
    axes: Axes, x: Curve, epochs: Sequence[Epoch], branch: str, look: Style, attacked: bool
) -> None:
    scores = [(e.attacked if attacked else e.clean).get(branch, np.nan) for e in epochs]
    if not np.isfinite(np.asarray(scores, dtype=float)).any():
        return
    axes.plot(
        x,
        scores,
        color=look.colour,
        linewidth=1.3,
        linestyle="--" if attacked else "-",
        marker=look.marker,
        markersize=4,
        markerfacecolor="white" if attacked else look.colour,
        markeredgewidth=1,
    )


def draw(axes: Axes, line: Line, marker: bool = False) -> None:
    """One curve with its band, in its model's style."""
    look = line.style
    if not line.joined:
        _draw_points(axes, line)
        return
    axes.plot(
        line.x,
        line.y,
        color=look.colour,
        linestyle="--" if line.hollow else look.dash,
        linewidth=0.8 if line.faint else 1.6,
        alpha=0.55 if line.faint else 1,
        marker=look.marker if marker and not line.faint else None,
        markersize=4.5 if line.x.size < MANY else 3.2,
        markerfacecolor="white" if line.hollow else look.colour,
    )
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.13, linewidth=0)


def _draw_points(axes: Axes, line: Line) -> None:
    look = line.style
    if line.low is not None and line.high is not None:
        axes.vlines(line.x, line.low, line.high, color=look.colour, linewidth=1)
    axes.plot(
        line.x,
        line.y,
        color=look.colour,
        linestyle="none",
        marker=look.marker,
        markersize=7.5,
        markerfacecolor="white",
        markeredgewidth=1.6,
    )


def _to_levels(eps: Any) -> Any:
    return np.asarray(eps) * 255


def _from_levels(levels: Any) -> Any:
    return np.asarray(levels) / 255


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size in inches with one pair of axes."""
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    margins(figure, left=0.62, bottom=0.48, right=0.08, top=0.42)
    axes = figure.add_subplot()
    axes.grid(visible=True)
    return figure, axes


def margins(figure: Figure, left: float, bottom: float, right: float, top: float) -> None:
    """In inches; fixed, since measuring the text takes longer than drawing the figure."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)


def to_svg(figure: Figure) -> bytes:
    """The file of a figure, the same to the byte for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
