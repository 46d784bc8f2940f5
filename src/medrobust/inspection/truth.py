"""Masks and boxes: of what, in how many images, how large."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from medrobust.data.store import Store
from medrobust.data.table import read_table

MEASURED = 300
"""Masks of one structure whose area is measured: the first ones."""
COLUMNS = ["what", "kind", "name", "count", "images", "positives", "q1", "median", "q3"]


def truths(store: Store) -> pd.DataFrame:
    """Masks and boxes per structure.

    `what` (mask, box), `kind` (finding, anatomy, marker), `name`, `count`, `images` that have
    one, `positives` of them with a positive label (findings), and quartiles of the share of the
    image that each covers (`q1, median, q3`).
    """
    return pd.DataFrame([*_masks(store), *_boxes(store)], columns=COLUMNS)


def mask_names(store: Store) -> pd.DataFrame:
    """masks.csv: `mask, image_id, name, kind`; no rows without one."""
    file = store.path / "masks.csv"
    columns = ["mask", "image_id", "name", "kind"]
    return read_table(file, {"mask"}) if file.exists() else pd.DataFrame(columns=columns)


def _masks(store: Store) -> Iterator[tuple[object, ...]]:
    table = mask_names(store)
    for kind, name in table[["kind", "name"]].drop_duplicates().itertuples(index=False, name=None):
        part = table[(table["kind"] == kind) & (table["name"] == name)]
        masks = list(store.truth(name, kind).values())[:MEASURED]
        areas = [float(mask.mean()) for mask in masks]
        yield ("mask", kind, name, *_counts(store, part, name), *_quartiles(areas))


def _boxes(store: Store) -> Iterator[tuple[object, ...]]:
    if store.boxes is None:
        return
    extents = [axis for axis in "whd" if axis in store.boxes]
    areas = store.boxes[extents].prod(axis=1) / np.prod(store.info.size)
    for name in store.boxes["finding"].unique():
        part = store.boxes[store.boxes["finding"] == name]
        quartiles = _quartiles(areas[part.index].tolist())
        yield ("box", "finding", name, *_counts(store, part, name), *quartiles)


def _counts(store: Store, part: pd.DataFrame, name: str) -> tuple[int, int, int]:
    positives = 0
    if name in store.findings:
        having = store.table["image_id"].isin(part["image_id"])
        positives = int((store.table.loc[having, f"label:{name}"] == 1).sum())
    return len(part), part["image_id"].nunique(), positives


def _quartiles(values: list[float]) -> tuple[float, ...]:
    return tuple(np.quantile(values, [0.25, 0.5, 0.75]).tolist())
