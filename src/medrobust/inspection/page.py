"""An inspection as one self-contained page of HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medrobust.data.store import Store
from medrobust.inspection import charts, metadata, tables
from medrobust.inspection.inspection import Inspection
from medrobust.inspection.samples import SIDE, Block, Camera, Thumb, grids
from medrobust.inspection.words import SPLIT_NAMES, facts, notable, pixels, settings
from medrobust.report import text
from medrobust.report.page import expect_folder, write_page

PAIRS = 6
"""Pairs of duplicates and of near duplicates that are shown."""


@dataclass(frozen=True)
class Tile:
    """A number one sees first."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """Two images that look the same."""

    pictures: Sequence[tuple[Thumb, str]]
    """Each with its split."""
    caption: str


def write_inspection(store: Store, inspection: Inspection, out: Path) -> None:
    """Write one HTML page, with pictures, to `out`.

    Raises `MedrobustError` if the folder of `out` does not exist.
    """
    expect_folder(out)
    camera = Camera(store)
    grid = grids(store, camera)
    context = {
        "info": inspection.info,
        "title": f"{inspection.info.title}: what is in the store",
        "tiles": _tiles(inspection),
        "facts": [*facts(inspection.info), *settings(inspection.info)],
        "warnings": [*inspection.info.warnings, *_differing(inspection)],
        "left_out": inspection.info.left_out,
        "grids": grid,
        "shapes": _kinds(grid),
        "volumes": len(inspection.info.size) == 3,
        "shrunk": max(inspection.info.size[-2:]) > SIDE,
        "side": SIDE,
        "unshown": inspection.unshown,
        "swatches": charts.swatches(inspection.splits),
        "copies": _copies(store, inspection, camera),
        "near": _near(store, inspection, camera),
        "trust": inspection.trust,
        "plural": text.plural,
        **_tables(inspection),
        **_charts(store, inspection),
    }
    write_page("inspection.html.j2", context, out)


def _tables(found: Inspection) -> dict[str, Any]:
    return {
        "sizes": tables.sizes(found),
        "prevalence": tables.prevalence(found),
        "together": tables.together(found),
        "people": tables.people(found),
        "levels": tables.pixels(found),
        "spacing": tables.spacing(found),
        "windows": tables.windows(found),
        "duplicates": tables.duplicates(found),
        "rejects": tables.rejects(found),
        "truths": tables.truths(found),
    }


def _charts(store: Store, found: Inspection) -> dict[str, Any]:
    distributions = []
    for name, values in metadata.number_columns(store).items():
        label = "years" if name == "age" else name
        by_split = {split: values[store.rows(split)] for split in found.splits}
        distributions.append(charts.distribution(name.capitalize(), label, by_split))
    return {
        "prevalence_chart": charts.prevalence(found),
        "levels_chart": charts.intensities(found),
        "distributions": distributions,
    }


def _tiles(found: Inspection) -> list[Tile]:
    info, trust = found.info, found.trust
    classes = "classes" if info.task == "exclusive" else "findings"
    noun = "volumes" if len(info.size) == 3 else "images"
    patients = Tile(text.count(info.counts["patients"]), "patients")
    if info.patients == "unknown":
        patients = Tile("unknown", "patients", "every image counts as its own")
    crossing = f"{trust.crossing:,} across splits" if trust.crossing else ""
    near = f"{trust.near_crossing:,} across splits" if trust.near_crossing else ""
    return [
        Tile(text.count(info.counts["images"]), noun, pixels(info)),
        patients,
        Tile(text.count(len(found.findings)), classes),
        Tile(text.count(trust.rejects), "files rejected"),
        Tile(text.count(trust.groups), "groups of identical images", crossing),
        Tile(text.count(trust.near), "near duplicates", near),
    ]


def _differing(found: Inspection) -> list[str]:
    return [f"Splits differ: {sentence} (standardised)." for sentence in notable(found)]


def _kinds(grid: dict[str, list[Block]]) -> set[str]:
    """What is drawn on the pictures."""
    thumbs = [thumb for blocks in grid.values() for block in blocks for thumb in block.thumbs]
    return {shape.kind for thumb in thumbs for shape in thumb.shapes}


def _copies(store: Store, found: Inspection, camera: Camera) -> list[Pair]:
    """A few groups of identical images, the worst first."""
    table = found.duplicates[~found.duplicates["dropped"]]
    table = table[table["crossing"] | table["differing"]]
    order = table.sort_values(["crossing", "differing"], ascending=False, kind="stable")
    groups = [_two(part) for _, part in order.groupby("group", sort=False)]
    described = [", ".join(_faults(part)) for part in groups]
    ids = [list(part["image_id"]) for part in groups]
    return _pairs(store, camera, list(zip(ids, described, strict=True))[:PAIRS])


def _two(group: pd.DataFrame) -> pd.DataFrame:
    """Two images of a group, from different splits where it has them."""
    first = group.drop_duplicates("split")
    return first.head(2) if len(first) > 1 else group.head(2)


def _faults(part: pd.DataFrame) -> list[str]:
    faults = {"in several splits": "crossing", "labels differ": "differing"}
    return [name for name, column in faults.items() if part[column].any()]


def _near(store: Store, found: Inspection, camera: Camera) -> list[Pair]:
    rows = found.near.head(PAIRS).to_dict("records")
    pairs = [
        ([r["image_id"], r["other_image_id"]], f"correlation {r['correlation']:.4f}") for r in rows
    ]
    return _pairs(store, camera, pairs)


def _pairs(store: Store, camera: Camera, pairs: Sequence[tuple[list[str], str]]) -> list[Pair]:
    place, splits = pd.Index(store.table["image_id"]), store.table["split"]
    made = []
    for ids, caption in pairs:
        rows = [int(row) for row in place.get_indexer(pd.Index(ids)) if row >= 0]
        shown = [(camera.thumb(row), SPLIT_NAMES[splits.iloc[row]]) for row in rows]
        made.append(Pair(shown, caption))
    return made
