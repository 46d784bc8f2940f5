"""The figures of an analysis as small SVG files, by the name of their file."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medrobust.report import text
from medrobust.report.figures import (
    FAINT,
    INK,
    SETTINGS,
    SPARE_COLOURS,
    SPARE_MARKERS,
    canvas,
    margins,
    to_svg,
)
from medrobust.study.analysis.read import Study
from medrobust.study.analysis.tables import Frames, of_question

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B05A8E", *SPARE_COLOURS)
"""Of what stands side by side, in turn; each also has a mark of its own."""
MARKERS = ("o", "s", "^", "D", *SPARE_MARKERS)
LETTER, LINE = 0.072, 0.15
"""Inches that a letter and a line of letters take, for the room that names need."""
LETTERS = 24
"""Of a name on a line; longer ones are wrapped."""
IN_STEPS, OF_AUROC = "difference in steps of the scale", "difference of AUROC"
MOST_NAMED = 12
"""Readers whose lines are told apart."""
DARK = 0.5
"""Share of the scale from which a bar is dark enough for white letters."""


@dataclass(frozen=True)
class Drawing:
    """A figure, and the words that stand for it."""

    name: str
    """Of its file, without `.svg`."""
    svg: bytes
    alt: str


def drawings(study: Study, frames: Frames) -> list[Drawing]:
    """Of each scale: distributions, readers and differences; of the others differences of AUROC."""
    found = []
    for question in study.questions:
        name, own = question.id, of_question(frames, question.id)
        if "distribution" in own:
            found.append(_distribution(study, name, own["distribution"]))
            found.append(_readers(study, name, own["reader_means"], own.get("means")))
        if "differences" in own:
            svg = forest(f"{name}: differences", own["differences"], "analysis", IN_STEPS)
            alt = f"Differences of mean ratings, {name}"
            found.append(Drawing(f"differences-{name}", svg, alt))
        if "auroc_differences" in own:
            svg = forest(f"{name}: differences", own["auroc_differences"], "readers", OF_AUROC)
            found.append(Drawing(f"auroc-{name}", svg, f"Differences of AUROC, {name}"))
    return found


@mpl.rc_context(SETTINGS)
def distribution(title: str, conditions: Sequence[str], counts: Sequence[Sequence[int]]) -> bytes:
    """A bar per condition, divided by how often each step (from 0) was chosen."""
    steps = len(counts[0])
    names = [_wrapped(name) for name in conditions]
    figure, axes = canvas(5.6, 0.95 + max(0.36, LINE * _lines(names)) * len(names))
    margins(figure, left=_room(names), bottom=0.48, right=0.12, top=0.42)
    colours = mpl.colormaps["Blues"](np.linspace(0.08, 0.95, steps))
    for row, given in enumerate(counts):
        left = 0.0
        for step, count in enumerate(given):
            share = count / max(1, sum(given))
            axes.barh(row, share, left=left, color=colours[step], height=0.72, edgecolor="white")
            if share > 0.035:
                dark = step / (steps - 1) > DARK
                axes.text(
                    left + share / 2, row, str(step), ha="center", va="center", fontsize=8,
                    color="white" if dark else INK,
                )  # fmt: skip
            left += share
    axes.set(xlim=(0, 1), ylim=(len(conditions) - 0.5, -0.5), yticks=range(len(conditions)))
    axes.set_yticklabels(names)
    axes.grid(visible=False)
    axes.set(xlabel="share of first readings; numbers are steps of the scale")
    axes.set_title(title)
    return to_svg(figure)


@mpl.rc_context(SETTINGS)
def reader_lines(
    title: str,
    conditions: Sequence[str],
    readers: dict[str, Sequence[float]],
    means: Sequence[tuple[float, float, float]],
) -> bytes:
    """Each reader's means as a thin line; the model's means with intervals in black."""
    readers = {_short(name): values for name, values in readers.items()}
    named = len(readers) <= MOST_NAMED
    names = [_wrapped(name, LETTERS * 2 // len(conditions)) for name in conditions]
    figure, axes = canvas(5.6, 3.2)
    right = _room(list(readers)) if named else 0.15
    margins(figure, left=0.56, bottom=0.3 + LINE * _lines(names), right=right, top=0.42)
    across = np.arange(len(conditions))
    for number, values in enumerate(readers.values()):
        colour = COLOURS[number % len(COLOURS)] if named else FAINT
        marker = MARKERS[number % len(MARKERS)] if named else None
        axes.plot(across, values, color=colour, linewidth=0.9, marker=marker, markersize=4)
    if named:
        _named(axes, [list(values)[-1] for values in readers.values()], list(readers))
    if means:
        middle, low, high = np.array(means).T
        axes.errorbar(
            across, middle, [middle - low, high - middle], color="black", linewidth=1.8,
            marker="o", markersize=5.5, capsize=3,
        )  # fmt: skip
    axes.set(xticks=across, xlim=(-0.3, len(conditions) - 0.7), ylabel="mean rating")
    axes.set_xticklabels(names)
    axes.set_title(title)
    return to_svg(figure)


@mpl.rc_context(SETTINGS)
def forest(title: str, differences: pd.DataFrame, by: str, across: str) -> bytes:
    """Differences with intervals: a band for each pair of conditions, a mark for each of `by`."""
    kinds = list(dict.fromkeys(differences[by]))
    labels = differences["first"] + f" {text.MINUS} " + differences["second"]
    rows = list(dict.fromkeys(labels))
    names = [_wrapped(name) for name in rows]
    height = len(rows) * max(0.2 + 0.14 * len(kinds), LINE * (_lines(names) + 0.5))
    figure, axes = canvas(5.6, 1.0 + height + 0.17 * len(kinds))
    margins(figure, left=_room(names), bottom=0.55 + 0.17 * len(kinds), right=0.12, top=0.42)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    offsets = 0.72 * (np.arange(len(kinds)) + 0.5) / len(kinds) - 0.36
    for number, kind in enumerate(kinds):
        part = differences[differences[by] == kind]
        places = [rows.index(label) for label in labels[part.index]]
        y = np.array(places) + offsets[number]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.hlines(y, part["low"], part["high"], color=colour, linewidth=1.2)
        axes.plot(part["difference"], y, marker, color=colour, markersize=4.5, label=kind)
    axes.set(xlabel=across, yticks=range(len(rows)), ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticklabels(names)
    bottom = (0.4 + 0.17 * len(kinds)) / max(0.1, height)
    axes.legend(loc="lower left", bbox_to_anchor=(0, -bottom - 0.02), fontsize=8, borderpad=0)
    axes.set_title(title)
    return to_svg(figure)


def _distribution(study: Study, question: str, rows: pd.DataFrame) -> Drawing:
    every = rows[rows["finding"] == "all"]
    counts = [
        every[every["condition"] == name].sort_values("step")["count"].tolist()
        for name in study.conditions
    ]
    svg = distribution(f"{question}: how often each step was chosen", study.conditions, counts)
    return Drawing(f"distribution-{question}", svg, f"Distribution of ratings, {question}")


def _readers(
    study: Study, question: str, rows: pd.DataFrame, means: pd.DataFrame | None
) -> Drawing:
    table = rows.pivot_table(index="reader", columns="condition", values="mean")
    table = table.reindex(columns=list(study.conditions))
    lines = {
        str(reader): values.tolist()
        for reader, values in zip(table.index, table.to_numpy(float), strict=True)
    }
    primary: list[tuple[float, float, float]] = []
    if means is not None and len(means):
        chosen = means[means["analysis"] == means["analysis"].iloc[0]].set_index("condition")
        chosen = chosen.reindex(list(study.conditions))
        primary = [tuple(row) for row in chosen[["mean", "low", "high"]].to_numpy(float)]
    svg = reader_lines(f"{question}: each reader", study.conditions, lines, primary)
    return Drawing(f"readers-{question}", svg, f"Mean ratings of each reader, {question}")


def _named(axes: Axes, heights: Sequence[float], names: Sequence[str]) -> None:
    """Names beside the ends of lines, as far apart as they need."""
    known = [
        (height, name) for height, name in zip(heights, names, strict=True) if height == height
    ]
    low, high = axes.get_ylim()
    needed, place = 0.052 * (high - low), -np.inf
    for height, name in sorted(known):
        place = max(height, place + needed)
        axes.annotate(
            name, (1.0, place), xycoords=("axes fraction", "data"), xytext=(2, 0),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip


def _wrapped(name: str, letters: int = LETTERS) -> str:
    return "\n".join(textwrap.wrap(name, max(8, letters), break_on_hyphens=False))


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[:10]}…{name[-10:]}"


def _lines(names: Sequence[str]) -> int:
    return max(name.count("\n") for name in names) + 1


def _room(names: Sequence[str]) -> float:
    """Inches that the longest line takes."""
    lines = [line for name in names for line in name.split("\n")]
    return 0.25 + LETTER * max((len(line) for line in lines), default=0)
