"""Figures of an inspection, in the look of the report's."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from medrobust.inspection.inspection import Inspection
from medrobust.inspection.words import SPLIT_NAMES
from medrobust.report.figures import SETTINGS, canvas, margins, to_svg
from medrobust.report.pictures import data_uri

# Okabe and Ito, "Color universal design" (2008).
LOOKS = {
    "train": ("#0072B2", "o", "-"),
    "val": ("#E69F00", "^", "--"),
    "test": ("#D55E00", "s", ":"),
}
BINS = 24
MOST = 40
"""Findings in one figure at most: the commonest."""


@dataclass(frozen=True)
class Chart:
    """A picture and what it shows in words."""

    uri: str
    alt: str


@mpl.rc_context(SETTINGS)
def prevalence(inspection: Inspection) -> Chart:
    """Share of positive images per finding and split, with 95 % intervals."""
    table = inspection.prevalence
    highest = table.groupby("finding")["share"].max().sort_values(ascending=False).head(MOST)
    names = list(highest.index)
    figure, axes = canvas(6.4, 0.95 + 0.33 * len(names))
    longest = max(len(str(name)) for name in names)
    margins(figure, left=min(2.6, 0.35 + 0.075 * longest), bottom=0.48, right=0.2, top=0.34)
    step = 0.22
    for number, split in enumerate(inspection.splits):
        part = table[table["split"] == split].set_index("finding").loc[names]
        colour, marker, _ = LOOKS[split]
        y = np.arange(len(names)) + step * (number - (len(inspection.splits) - 1) / 2)
        known = part["share"].notna().to_numpy()
        axes.hlines(y[known], part["low"][known], part["high"][known], color=colour, linewidth=1.6)
        axes.plot(part["share"], y, marker, color=colour, markersize=4.2, label=SPLIT_NAMES[split])
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    axes.set(xlabel="share of images with a known label, with 95 % interval", xlim=(0, None))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.grid(visible=False, axis="y")
    axes.set_title("Prevalence")
    if len(inspection.splits) > 1:
        axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.01, 0.98), ncols=3)
    return Chart(
        data_uri(to_svg(figure), "image/svg+xml"),
        "Prevalence of each finding per split with its interval; the table has the numbers.",
    )


@mpl.rc_context(SETTINGS)
def intensities(inspection: Inspection) -> Chart:
    """How the pixels' values are distributed in each split."""
    figure, axes = canvas(4.4, 2.7)
    margins(figure, left=0.68, bottom=0.48, right=0.2, top=0.34)
    for split in inspection.splits:
        part = inspection.histogram[inspection.histogram["split"] == split]
        colour, _, dash = LOOKS[split]
        x, share = part["x"].to_numpy(), part["share"].to_numpy()
        axes.step(x, share, where="mid", color=colour, linestyle=dash, linewidth=1.4)
        axes.fill_between(x, share, step="mid", color=colour, alpha=0.07, linewidth=0)
    axes.set(xlabel="x (what a network sees)", ylabel="share of pixels", xlim=(0, 1))
    axes.set_ylim(0, _ceiling(inspection.histogram["share"].to_numpy()))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_title("Pixel values")
    return Chart(
        data_uri(to_svg(figure), "image/svg+xml"),
        "Histogram of pixel values per split; the table has percentiles.",
    )


@mpl.rc_context(SETTINGS)
def distribution(title: str, label: str, values: dict[str, NDArray[np.float64]]) -> Chart:
    """A histogram per split of a column of numbers; `values` by split, NaN = unknown."""
    known = {split: v[~np.isnan(v)] for split, v in values.items()}
    edges = _edges(np.concatenate(list(known.values())))
    figure, axes = canvas(4.4, 2.7)
    margins(figure, left=0.68, bottom=0.48, right=0.2, top=0.34)
    for split, part in known.items():
        if len(part):
            colour, _, dash = LOOKS[split]
            shares = np.histogram(part, edges)[0] / len(part)
            axes.stairs(shares, edges, color=colour, linestyle=dash, linewidth=1.4)
            axes.stairs(shares, edges, color=colour, alpha=0.07, fill=True)
    axes.set(xlabel=label, ylabel="share of images")
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_title(title)
    return Chart(
        data_uri(to_svg(figure), "image/svg+xml"),
        f"Histogram of {title.lower()} per split; the table has the quartiles.",
    )


def swatches(splits: Sequence[str]) -> list[tuple[str, str]]:
    """Colour and name of each split."""
    return [(LOOKS[split][0], SPLIT_NAMES[split]) for split in splits]


def _ceiling(shares: NDArray[np.float64]) -> float:
    """Above all bins, unless one, such as black borders, would make the others vanish."""
    ordered = np.sort(shares)
    usual = float(np.quantile(ordered, 0.97))
    return float(min(ordered[-1], max(3 * usual, 1e-3))) * 1.05


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)
