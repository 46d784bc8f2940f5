"""The tables of the page."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medrobust.inspection.inspection import Inspection
from medrobust.inspection.words import SPLIT_NAMES, quantity, share, standardised
from medrobust.report import text
from medrobust.report.tables import Cell, Group, Row, Table

Values = Mapping[Hashable, Any]
"""A row of a table by its columns."""

WINDOWS = 8
GROUPS = 12
"""Windows and groups of duplicates that are listed at most."""
SQUARE = 24
"""Findings in the table of co-occurrence at most: the commonest."""


@dataclass(frozen=True)
class Square:
    """One cell of the co-occurrence: text, shade in [0, 1], and what it says in words."""

    main: str
    note: str
    shade: float


def sizes(found: Inspection) -> Table:
    """Images and patients per split."""
    rows = [Row("Images", _cells(found.sizes["images"]))]
    if found.info.patients == "known":
        several = found.per_patient
        rows.append(Row("Patients", _cells(found.sizes["patients"])))
        rows.append(
            Row("Patients with one image", [Cell(text.percent(one)) for one in several["one"]])
        )
        most = zip(several["median"], several["most"], strict=True)
        rows.append(Row("Images of a patient", [_most(*both) for both in most]))
    return _per_split(found, "Images and patients per split.", [Group("", rows)])


def prevalence(found: Inspection) -> Table:
    """Each finding in each split."""
    rows = []
    for finding in found.findings:
        part = found.prevalence[found.prevalence["finding"] == finding]
        rows.append(Row(finding, [_prevalence(row) for row in part.to_dict("records")]))
    few = " Intervals (Wilson, 95 %) take images for independent."
    return _per_split(
        found,
        "Positive images, and their share of those with a known label." + few,
        [Group("", rows)],
    )


def people(found: Inspection) -> Table | None:
    """Age, sex, view and other columns per split, with the largest difference."""
    groups = []
    for column, part in found.numbers.groupby("column", sort=False):
        row = Row("median (quartiles)", [_quartiles(r) for r in part.to_dict("records")])
        groups.append(Group(str(column).capitalize(), [_differing(found, row, str(column))]))
    for column, part in found.categories.groupby("column", sort=False):
        rows = []
        for value, cells in part.groupby("value", sort=False):
            row = Row(str(value) or "unknown", [_count(r) for r in cells.to_dict("records")])
            rows.append(_differing(found, row, f"{column}: {value}"))
        groups.append(Group(str(column).capitalize(), rows))
    if not groups:
        return None
    table = _per_split(found, "Columns of the table per split.", groups)
    if len(found.splits) == 1:
        return table
    caption = (
        "Columns of the table per split. Difference: the largest standardised difference between "
        "two splits; marked where it is at least 0.2 and more than three standard errors."
    )
    return Table(caption, [*table.columns, "Largest difference"], groups)


def pixels(found: Inspection) -> Table:
    """Percentiles and clipping per split."""
    table = found.intensities
    shares = {"Exactly 0 (clipped, or a border)": "zero", "Exactly 1 (clipped)": "full"}
    values = {"Mean": "mean", "Standard deviation": "sd"}
    values |= {f"{p[1:]}. percentile": p for p in ("p1", "p25", "p50", "p75", "p99")}
    rows = [Row(head, [Cell(f"{x:.3f}") for x in table[name]]) for head, name in values.items()]
    rows += [Row(head, [Cell(share(x, 2)) for x in table[name]]) for head, name in shares.items()]
    rows.append(Row("Images of one value", _cells(table["flat"])))
    rows.append(Row("Images read", _cells(table["images"]), "a sample"))
    return _per_split(found, "Pixel values x as a network sees them.", [Group("", rows)])


def spacing(found: Inspection) -> Table | None:
    """Millimetres per pixel, along each axis."""
    if found.spacing.empty:
        return None
    rows = [
        Row(
            str(one["axis"]),
            [Cell(text.count(one["known"]))]
            + [Cell(f"{one[name]:.4g}") for name in ("low", "q1", "median", "q3", "high")],
        )
        for one in found.spacing.to_dict("records")
    ]
    columns = ["Axis", "Known", "Smallest", "Lower quartile", "Median", "Upper quartile", "Largest"]
    return Table("Millimetres per store pixel.", columns, [Group("", rows)])


def windows(found: Inspection) -> Table:
    """Native values of x = 0 and 1."""
    rows = [
        Row(_window(low, high), [Cell(text.count(images))])
        for low, high, images in found.windows.head(WINDOWS).itertuples(index=False, name=None)
    ]
    rest = found.windows["images"].iloc[WINDOWS:]
    if len(rest):
        rows.append(Row(f"{len(rest):,} others", [Cell(text.count(int(rest.sum())))]))
    inverted = int(found.windows.loc[found.windows["low"] > found.windows["high"], "images"].sum())
    note = f" {text.plural(inverted, 'image')} inverted: high is dark." if inverted else ""
    return Table(
        "Native values that became x = 0 and x = 1." + note, ["", "Images"], [Group("", rows)]
    )


def together(found: Inspection) -> tuple[list[str], list[tuple[str, list[Square | None]]]] | None:
    """Column heads, and rows of squares (None on the diagonal), of the commonest findings."""
    if found.together.empty:
        return None
    counts = found.prevalence.groupby("finding")["positive"].sum()
    names = [f for f in found.findings if f in counts.nlargest(SQUARE).index]
    pairs = found.together.set_index(["finding", "other"]).to_dict("index")
    rows = [(f, [_square(pairs[f, o]) if f != o else None for o in names]) for f in names]
    return names, rows


def duplicates(found: Inspection) -> Table | None:
    """Groups of identical images, those across splits or with differing labels first."""
    if found.duplicates.empty:
        return None
    order = ["crossing", "differing", "group"]
    sorted_ = found.duplicates.sort_values(order, ascending=[False, False, True], kind="stable")
    rows = [_group(part) for _, part in list(sorted_.groupby("group", sort=False))[:GROUPS]]
    caption = (
        f"Identical images ({min(GROUPS, found.trust.groups)} of {found.trust.groups:,} groups)."
    )
    return Table(caption, ["Group", "Images", "Splits", "Labels"], [Group("", rows)], (0, 1, 2))


def rejects(found: Inspection) -> Table | None:
    """Reasons why files could not be used."""
    if found.rejects.empty:
        return None
    rows = [
        Row(reason, [Cell(text.count(files)), Cell(examples)])
        for reason, files, examples in found.rejects.itertuples(index=False, name=None)
    ]
    return Table(
        "Files that could not be used.", ["Reason", "Files", "Such as"], [Group("", rows)], (1,)
    )


def truths(found: Inspection) -> Table | None:
    """Masks and boxes per structure."""
    if found.truths.empty:
        return None
    groups = []
    for what, part in found.truths.groupby("what", sort=False):
        rows = [_truth(row) for row in part.to_dict("records")]
        groups.append(Group("Masks" if what == "mask" else "Boxes", rows))
    return Table(
        "Masks and boxes. Area: median share of the image that one covers, with quartiles.",
        ["", "Kind", "Number", "Images", "of them labelled positive", "Area"],
        groups,
        (0,),
    )


def _per_split(found: Inspection, caption: str, groups: list[Group]) -> Table:
    return Table(caption, ["", *(SPLIT_NAMES[split] for split in found.splits)], groups)


def _cells(values: Iterable[int], form: Callable[[int], str] = text.count) -> list[Cell]:
    return [Cell(form(value)) for value in values]


def _most(median: float, most: int) -> Cell:
    return Cell(f"median {median:g}", f"at most {most:,}")


def _prevalence(row: Values) -> Cell:
    known = row["positive"] + row["negative"]
    if not known:
        return Cell(text.DASH, f"{row['unknown']:,} unknown")
    unknown = f"; {row['unknown']:,} unknown" if row["unknown"] else ""
    return Cell(
        f"{row['positive']:,} ({share(row['share'])})",
        f"{100 * row['low']:.1f}{text.DASH}{share(row['high'])}{unknown}",
    )


def _quartiles(row: Values) -> Cell:
    note = f"{row['unknown']:,} unknown" if row["unknown"] else ""
    return Cell(quantity(row["median"], row["q1"], row["q3"]), note)


def _count(row: Values) -> Cell:
    known = row["share"] == row["share"]
    return Cell(f"{row['images']:,}" + (f" ({share(row['share'])})" if known else ""))


def _differing(found: Inspection, row: Row, what: str) -> Row:
    """The row with the largest difference of any two splits."""
    if len(found.splits) == 1:
        return row
    part = found.differences[found.differences["what"] == what]
    if part.empty:
        return Row(row.head, [*row.cells, Cell(text.DASH)])
    order = part["difference"].abs().sort_values(ascending=False).index
    _, one, other, difference, _ = next(part.loc[order].itertuples(index=False, name=None))
    flag = bool(part["notable"].any())
    note = f"{SPLIT_NAMES[one]} against {SPLIT_NAMES[other].lower()}" if flag else ""
    shown = ("▲ " if flag else "") + standardised(difference)
    return Row(row.head, [*row.cells, Cell(shown, note)])


def _window(low: float, high: float) -> str:
    return f"{low:g} to {high:g}".replace("-", text.MINUS)


def _square(pair: Values) -> Square:
    if not pair["known"]:
        return Square(text.DASH, "", 0.0)
    return Square(text.percent(pair["share"]), f"{pair['both']:,}", float(pair["share"]))


def _group(part: pd.DataFrame) -> Row:
    ids = ", ".join(
        f"{i} (dropped)" if dropped else str(i)
        for i, dropped in zip(part["image_id"], part["dropped"], strict=True)
    )
    splits = ", ".join(dict.fromkeys(SPLIT_NAMES[split].lower() for split in part["split"]))
    labels = "differ" if part["differing"].any() else "agree"
    crossing = "in several splits" if part["crossing"].any() else ""
    return Row(str(part["group"].iloc[0]), [Cell(ids), Cell(splits, crossing), Cell(labels)])


def _truth(row: Values) -> Row:
    area = share(row["median"], 2)
    quartiles = f"{100 * row['q1']:.2f}{text.DASH}{share(row['q3'], 2)}"
    positives = f"{row['positives']:,}" if row["positives"] else text.DASH
    counts = [Cell(f"{row['count']:,}"), Cell(f"{row['images']:,}"), Cell(positives)]
    return Row(str(row["name"]), [Cell(str(row["kind"])), *counts, Cell(area, quartiles)])
