"""What a store lacks and what it has twice, from the files that `prepare` wrote."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from medrobust.data.store import Store
from medrobust.data.table import label_columns, read_table
from medrobust.report import text
from medrobust.report.tables import Cell, Group, Row, Table


@dataclass(frozen=True)
class Trust:
    """Counts of one store."""

    rejects: int
    """Images that could not be used."""
    left_out: int
    """Images that were not selected."""
    groups: int
    """Groups of identical images."""
    copies: int
    """Images in these groups."""
    crossing: int
    """Groups in more than one split, of the images that are in the store."""
    differing: int
    """Groups with differing labels."""
    dropped: int
    """Images left out since a copy lies in a later split."""
    near: int
    """Pairs of images that look nearly the same; candidates only."""
    near_crossing: int
    """Of the listed ones, those in different splits."""


def trust(store: Store) -> Trust:
    """Count rejects, duplicates and near duplicates of a store."""
    counts, copies, near = store.info.counts, duplicates(store), near_duplicates(store)
    groups = copies.drop_duplicates("group")
    return Trust(
        rejects=counts.get("rejects", 0),
        left_out=sum(store.info.left_out.values()),
        groups=len(groups),
        copies=len(copies),
        crossing=int(groups["crossing"].sum()),
        differing=int(groups["differing"].sum()),
        dropped=int(copies["dropped"].sum()),
        near=counts.get("near_duplicate_pairs", len(near)),
        near_crossing=int((near["split"] != near["other_split"]).sum()),
    )


def duplicates(store: Store) -> pd.DataFrame:
    """Identical images: `group, image_id, split, dropped, crossing, differing`.

    `crossing` (images of the group that are in the store lie in several splits) and `differing`
    (labels) hold for the whole group; the last three are true or false.
    """
    file = store.path / "duplicates.csv"
    columns = ["group", "image_id", "split", "dropped", "crossing", "differing"]
    copies = (
        read_table(file, {"group", "dropped"})
        if file.exists()
        else pd.DataFrame(columns=columns[:4])
    )
    copies["dropped"] = copies["dropped"].astype(bool) if "dropped" in copies else False
    kept = copies["split"].where(~copies["dropped"]).groupby(copies["group"])
    copies["crossing"] = kept.transform("nunique") > 1
    labels = copies[label_columns(copies)].fillna(-1).groupby(copies["group"])
    copies["differing"] = (labels.transform("nunique") > 1).any(axis=1).astype(bool)
    return copies[columns].astype({"group": int})


def near_duplicates(store: Store) -> pd.DataFrame:
    """Candidates: `image_id, other_image_id, split, other_split, correlation`, as listed."""
    file = store.path / "near_duplicates.csv"
    columns = ["image_id", "other_image_id", "split", "other_split", "correlation"]
    return read_table(file, {"correlation"}) if file.exists() else pd.DataFrame(columns=columns)


def trust_table(stores: Sequence[Store], missing: Sequence[str]) -> Table | None:
    """What reports say of every store: a column each, `missing` ones without numbers."""
    if not stores:
        return None
    found = [trust(store) for store in stores]
    rows: list[tuple[str, list[int], list[str]]] = [
        ("Images", [store.info.counts["images"] for store in stores], []),
        ("Files that could not be used", [one.rejects for one in found], []),
        ("Left out by the selection", [one.left_out for one in found], []),
        ("Groups of identical images", [one.groups for one in found], [_note(o) for o in found]),
        ("of these, in several splits", [one.crossing for one in found], []),
        (
            "Pairs of near duplicates",
            [one.near for one in found],
            [f"{one.near_crossing:,} across splits" if one.near else "" for one in found],
        ),
    ]
    blank = [Cell(text.DASH, "not found")] * len(missing)
    return Table(
        "Stores that were trained and tested on: files that could not be used, and images that "
        "are there more than once.",
        ["", *(store.info.name for store in stores), *missing],
        [Group("", [Row(head, [*_cells(values, notes), *blank]) for head, values, notes in rows])],
    )


def _cells(values: Sequence[int], notes: Sequence[str]) -> list[Cell]:
    notes = notes or [""] * len(values)
    return [Cell(text.count(v), note) for v, note in zip(values, notes, strict=True)]


def _note(one: Trust) -> str:
    parts = [
        f"{one.differing:,} with differing labels" if one.differing else "",
        f"{text.plural(one.dropped, 'image')} dropped" if one.dropped else "",
    ]
    return ", ".join(filter(None, parts))
