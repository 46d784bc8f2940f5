"""Can the saliency maps be believed? The checks of `explain/sanity.csv`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from medrobust.explain.sanity.table import WHOLE, read_sanity
from medrobust.report import plots, text
from medrobust.report.curves import Figure, as_figure
from medrobust.report.figures import SPARE_COLOURS, SPARE_DASHES, SPARE_MARKERS, Curve, Line, Style
from medrobust.report.material import Material
from medrobust.report.plots import Plane
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import Arm, records

EDGE = "edge"
EDGE_STYLE = Style("#7A7A7A", (0, (5, 1, 1, 1, 1, 1)), "v")
RESEMBLANCE = 0.5
"""Where the verdicts divide; see `explain.sanity.verdicts`."""
CHECKS = {
    "randomisation": "Weights erased",
    "labels": "Shuffled labels",
    "repeatability": "Another seed",
    "reproducibility": "Another network",
    "noise": "Slight noise",
    "attack": "Attack",
    "deletion": "Deletion gain",
    "insertion": "Insertion gain",
}
FAILURES = {
    "randomisation": "look much the same when everything the network has learnt is erased: they "
    "show the image, not what the network saw in it",
    "labels": "look much the same when the network was trained on shuffled labels: they do not "
    "show what it learnt of the finding",
    "repeatability": "do not hold up in a second training of the same network: its maps agree no "
    "better than those of other images or of an untrained network",
    "reproducibility": "do not hold up in another network: its maps agree no better than those of "
    "other images or of an untrained network",
    "noise": "change under noise that no reader would see",
    "attack": "can be made to mark something else by a change of the image of at most {eps}, while "
    "the prediction stays",
    "deletion": "do not mark what the prediction rests on: blurring what they mark lowers the "
    "probability no more than blurring pixels at random",
    "insertion": "do not mark what the prediction needs: showing what they mark in a blurred image "
    "raises the probability no more than showing pixels at random",
}


@dataclass(frozen=True)
class Checked:
    """The checks of one model's maps."""

    arm: Arm
    run: Run
    rows: pd.DataFrame
    """Of its branch, on the evaluation's images; see `explain.sanity.table`."""

    @cached_property
    def methods(self) -> list[str]:
        """The methods, the edge detector last."""
        names = dict.fromkeys(map(str, self.rows["method"]))
        return [name for name in names if name != EDGE] + [EDGE] * (EDGE in names)

    def judged(self, method: str, check: str) -> pd.DataFrame:
        """Rows with a verdict on this method and check: one per finding and compared run."""
        rows = self.rows[(self.rows["method"] == method) & (self.rows["check"] == check)]
        return rows[rows["verdict"] != ""]


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


def read_checked(material: Material) -> list[Checked]:
    """Of every model and seed that has been checked.

    Raises `MedrobustError` for a file that is no such table.
    """
    found, evaluation = [], material.numbers.evaluation
    for arm, run in material.models():
        file = run.path / "explain" / "sanity.csv"
        if not file.is_file():
            continue
        rows = read_sanity(file)
        here = (rows["store"] == evaluation.store) & (rows["split"] == evaluation.split)
        rows = rows[here & (rows["branch"] == arm.branch)]
        if len(rows):
            found.append(Checked(arm, run, rows))
    return found


def sanity_table(found: Sequence[Checked]) -> Table:
    """Methods × checks of every model, findings taken together."""
    groups = [
        Group(
            one.arm.label,
            [
                Row(_named(method), [_cell(one.judged(method, check)) for check in CHECKS])
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
        Group(f"{one.arm.label}, seed {one.run.seed}, {_named(method)}", rows)
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
    return [figure for one in _first(found) if (figure := _cascade_figure(one)) is not None]


def method_styles(found: Sequence[Checked]) -> Mapping[str, Style]:
    """How each method is drawn, by the name that a legend shows."""
    names = dict.fromkeys(name for one in found for name in one.methods if name != EDGE)
    looks = {
        _named(name): Style(
            SPARE_COLOURS[place % len(SPARE_COLOURS)],
            SPARE_DASHES[place % len(SPARE_DASHES)],
            SPARE_MARKERS[place % len(SPARE_MARKERS)],
        )
        for place, name in enumerate(names)
    }
    if any(EDGE in one.methods for one in found):
        looks[_named(EDGE)] = EDGE_STYLE
    return looks


def sanity_sentences(found: Sequence[Checked]) -> list[str]:
    """What failed, for the first seed of every model, and whether the edge detector was caught."""
    told = []
    for one in _first(found):
        for method in one.methods:
            if method != EDGE:
                told += _method_sentences(one, method)
    return told + _edge_sentences(found)


def _method_sentences(one: Checked, method: str) -> list[str]:
    who = f"The {_named(method)} maps of {one.arm.phrase}"
    verdicts = [row.verdict for check in CHECKS for row in records(one.judged(method, check))]
    if "fail" not in verdicts:
        passed = verdicts.count("pass")
        return [f"{who} pass every check that could be made ({passed})."] if passed else []
    return [
        f"{who} {words.format(eps=_radius(failed))}{_extent(judged, failed)}."
        for check, words in FAILURES.items()
        if len(failed := _failed(judged := one.judged(method, check)))
    ]


def _edge_sentences(found: Sequence[Checked]) -> list[str]:
    """The edge detector is planted: if it passes, the checks are blind."""
    planted = [_known(one.judged(EDGE, "randomisation")) for one in found]
    planted = [rows for rows in planted if len(rows)]
    if not planted:
        return []
    if all((rows["verdict"] == "fail").all() for rows in planted):
        return [
            "An edge detector, which knows no network, was checked as if it were a method: it "
            "fails where weights are erased, as it must."
        ]
    return [
        "An edge detector, which knows no network, passes where weights are erased: do not trust "
        "the other verdicts."
    ]


def _extent(judged: pd.DataFrame, failed: pd.DataFrame) -> str:
    known = _known(judged)
    value = text.number(failed["value"].mean(), 2)
    if len(known) == 1:
        return f" ({value})"
    return f" ({len(failed)} of {len(known)} comparisons; mean {value})"


def _cell(judged: pd.DataFrame) -> Cell:
    known = _known(judged)
    if known.empty:
        return Cell(text.DASH, "not checked" if len(judged) else "")
    failed = int((known["verdict"] == "fail").sum())
    mark = "" if not failed else "fails" if len(known) == 1 else f"{failed} of {len(known)} fail"
    value = text.number(known["value"].mean(), 2)
    main = value if failed else f"\N{CHECK MARK} {value}"
    if len(known) > 1:
        return Cell(main, f"{len(known)} comparisons", mark)
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
            lines.append(Line(share, heights, looks[_named(method)]))
            words.append(f"{_named(method)} {text.number(heights[-1], 2)}")
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


def _first(found: Sequence[Checked]) -> list[Checked]:
    first: dict[Arm, Checked] = {}
    for one in found:
        first.setdefault(one.arm, one)
    return list(first.values())


def _known(judged: pd.DataFrame) -> pd.DataFrame:
    return judged[judged["verdict"].isin(["pass", "fail"])]


def _failed(judged: pd.DataFrame) -> pd.DataFrame:
    return judged[judged["verdict"] == "fail"]


def _radius(rows: pd.DataFrame) -> str:
    """`ε = 4/255`, from the remark of an attack's row."""
    stated = re.search(r"eps = ([\d.e-]+)", " ".join(rows["detail"]))
    return f"ε = {text.epsilon(float(stated[1]))}" if stated else "a small ε"


def _named(method: str) -> str:
    return "edge detector" if method == EDGE else method
