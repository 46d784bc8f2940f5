"""Can the saliency maps be believed? The checks of `explain/sanity.csv`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrobust.explain.sanity.table import RESEMBLANCE, WHOLE
from medrobust.report import plots, text
from medrobust.report.curves import Figure, as_figure
from medrobust.report.figures import SPARE_COLOURS, SPARE_DASHES, SPARE_MARKERS, Curve, Line, Style
from medrobust.report.material import Material
from medrobust.report.plots import Plane
from medrobust.report.sanity_checked import (
    CHECKS,
    EDGE,
    Checked,
    decided,
    first_seeds,
    named,
    read_checked,
)
from medrobust.report.sanity_sentences import sanity_sentences
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import records

EDGE_STYLE = Style("#7A7A7A", (0, (5, 1, 1, 1, 1, 1)), "v")


@dataclass(frozen=True)
class SanityOfMaps:
    """What the section shows."""

    sentences: list[str]
    table: Table
    by_finding: Table
    cascades: list[Figure]
    looks: Mapping[str, Style]
    """Of the methods, by name."""


def sanity_of_maps(material: Material) -> SanityOfMaps | None:
    """The section; None where no model's maps have been checked.

    Raises `MedrobustError` for a file that is no table of checks.
    """
    found = read_checked(material)
    if not found:
        return None
    return SanityOfMaps(
        sanity_sentences(found),
        sanity_table(found),
        finding_sanity_table(found),
        cascade_figures(found),
        method_styles(found),
    )


def sanity_table(found: Sequence[Checked]) -> Table:
    """Methods × checks of every model, findings taken together."""
    groups = [
        Group(
            one.arm.label,
            [
                Row(named(method), [_cell(one.judged(method, check)) for check in CHECKS])
                for method in one.methods
            ],
            f"seed {one.run.seed}",
        )
        for one in found
    ]
    return Table(
        f"Sanity of the maps. Rank correlation of the maps' absolute values, with 95 % bootstrap "
        f"intervals: with trained weights or true labels gone it should be below {RESEMBLANCE:g}; "
        "in another training above that of other images and of an untrained network; under noise "
        f"and attack above {RESEMBLANCE:g}. The gains are in area under the probability, over "
        "pixels in random order. \N{CHECK MARK} passes; of several findings the mean is shown.",
        ["Model and method", *CHECKS.values()],
        groups,
    )


def finding_sanity_table(found: Sequence[Checked]) -> Table:
    """Every verdict with its finding and what the maps were held against."""
    groups = [
        Group(f"{one.arm.label}, seed {one.run.seed}, {named(method)}", rows)
        for one in found
        for method in one.methods
        if (rows := list(_finding_rows(one, method)))
    ]
    return Table(
        "Each check of each finding, and why some could not be made.",
        ["Model, method and check", "Held against", "Images", "Value", "Verdict", "Remark"],
        groups,
        words=(0, 3, 4),
    )


def cascade_figures(found: Sequence[Checked]) -> list[Figure]:
    """Similarity to the trained network's map as layers lose their weights, a figure per model.

    First seeds; the mean over findings.
    """
    return [figure for one in first_seeds(found) if (figure := _cascade_figure(one)) is not None]


def method_styles(found: Sequence[Checked]) -> Mapping[str, Style]:
    """How each method is drawn, by the name that a legend shows."""
    names = dict.fromkeys(name for one in found for name in one.methods if name != EDGE)
    looks = {
        named(name): Style(
            SPARE_COLOURS[place % len(SPARE_COLOURS)],
            SPARE_DASHES[place % len(SPARE_DASHES)],
            SPARE_MARKERS[place % len(SPARE_MARKERS)],
        )
        for place, name in enumerate(names)
    }
    if any(EDGE in one.methods for one in found):
        looks[named(EDGE)] = EDGE_STYLE
    return looks


def _cell(judged: pd.DataFrame) -> Cell:
    known = decided(judged)
    if known.empty:
        return Cell(text.DASH, "not checked" if len(judged) else "")
    failed = int((known["verdict"] == "fail").sum())
    mark = "" if not failed else "fails" if len(known) == 1 else f"{failed} of {len(known)} fail"
    value = text.number(known["value"].mean(), 2)
    main = value if failed else f"\N{CHECK MARK} {value}"
    if len(known) > 1:
        return Cell(main, "" if failed else f"{len(known)} of {len(known)} pass", mark)
    (row,) = records(known)
    return Cell(main, text.interval(row.low, row.high, 2), mark)


def _finding_rows(one: Checked, method: str) -> Iterator[Row]:
    for check, name in CHECKS.items():
        for row in records(one.judged(method, check)):
            cells = [
                Cell(row.against or text.DASH),
                Cell(text.count(row.n)),
                Cell(text.number(row.value, 2), text.interval(row.low, row.high, 2)),
                Cell(row.verdict),
                Cell(row.detail),
            ]
            yield Row(f"{row.finding}: {name.lower()}", cells)


def _cascade_figure(one: Checked) -> Figure | None:
    lines, words, looks = [], [], method_styles([one])
    for method in one.methods:
        heights = _cascade(one, method)
        if heights.size > 1:
            share = np.linspace(0, 1, heights.size)
            lines.append(Line(share, heights, looks[named(method)]))
            words.append(f"{named(method)} {text.number(heights[-1], 2)}")
    if not lines:
        return None
    plane = Plane(
        "share of layers erased, output first",
        "similarity of maps",
        ylim=(-0.3, 1.05),
        level=RESEMBLANCE,
        size=(3.6, 2.85),
    )
    alt = (
        f"Similarity of maps of {one.arm.label} to those of the trained network, from 1 with no "
        f"layer erased to, with all erased: {'; '.join(words)}."
    )
    return as_figure(plots.curves(one.arm.label, lines, plane), alt)


def _cascade(one: Checked, method: str) -> Curve:
    """The mean over findings after 0, 1, … layers."""
    rows = one.rows[(one.rows["method"] == method) & (one.rows["check"] == "randomisation")]
    layers = rows[~rows["against"].str.startswith(WHOLE) & (rows["n"] > 0)]
    means = layers.groupby("against", sort=False)["value"].mean().to_numpy(dtype=np.float64)
    return np.concatenate([[1.0], means])
