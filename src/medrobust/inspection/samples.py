"""Pictures of a few images of each finding and split, with what is known to be in them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from medrobust.data.cases import first_cases
from medrobust.data.store import Store
from medrobust.inspection.labels import splits_of
from medrobust.inspection.truth import mask_names
from medrobust.inspection.words import SPLIT_NAMES
from medrobust.report import pictures
from medrobust.report.card import image, positives

PICTURES = 260
"""In a grid at most, which keeps the page below 3 MB."""
MOST_EACH = 4
SIDE = 168
"""Pixels of a picture's longer side."""
FINDINGS = 60
NO_FINDING = "No finding labelled"


@dataclass(frozen=True)
class Shape:
    """An outline in picture pixels, as the `d` of an SVG path."""

    kind: str
    """finding, anatomy, marker, box, or other: a finding that the picture is not shown for."""
    name: str
    path: str


@dataclass(frozen=True)
class Thumb:
    """One image."""

    image_id: str
    labels: str
    uri: str
    width: int
    height: int
    shapes: Sequence[Shape]

    @property
    def alt(self) -> str:
        """What the picture shows, for those who do not see it."""
        drawn = dict.fromkeys(shape.name for shape in self.shapes)
        return f"{self.image_id}: {self.labels}" + (f"; drawn: {', '.join(drawn)}" if drawn else "")


@dataclass(frozen=True)
class Block:
    """Images of one finding in one split."""

    split: str
    total: int
    thumbs: Sequence[Thumb]


class Camera:
    """Draws images of one store; masks and boxes are looked up once."""

    def __init__(self, store: Store, side: int = SIDE) -> None:
        self._store, self._side = store, min(side, max(store.info.size[-2:]))
        names = mask_names(store)[["name", "kind"]].drop_duplicates()
        self._masks = [
            (str(kind), str(name), store.truth(name, kind))
            for name, kind in names.itertuples(index=False, name=None)
        ]
        boxes = store.boxes
        self._boxes = {} if boxes is None else dict(list(boxes.groupby("image_id")))

    def thumb(self, row: int, finding: str = "") -> Thumb:
        """The picture of a row, shown for a finding or for all; of a volume its middle slice."""
        small = pictures.fit(image(self._store, row), self._side)
        identity = str(self._store.table["image_id"].iloc[row])
        return Thumb(
            identity,
            ", ".join(positives(self._store, row)) or "no finding",
            pictures.snapshot(small),
            small.shape[-1],
            small.shape[-2],
            [
                replace(shape, kind="other") if _is_aside(shape, finding) else shape
                for shape in (*self._outlines(row), *self._rectangles(identity))
            ],
        )

    def _outlines(self, row: int) -> list[Shape]:
        shapes = []
        for kind, name, masks in self._masks:
            if row in masks:
                mask = masks[row].astype(np.float32)
                flat = pictures.fit(pictures.plane(mask, mask.ndim), self._side)
                shapes.append(Shape(kind, name, pictures.outline(flat >= 0.5)))
        return [shape for shape in shapes if shape.path]

    def _rectangles(self, identity: str) -> list[Shape]:
        size = self._store.info.size
        scale = self._side / max(size[-2:])
        shapes = []
        for box in self._boxes.get(identity, pd.DataFrame()).to_dict("records"):
            if len(size) == 3 and not box["z"] <= size[0] // 2 < box["z"] + box["d"]:
                continue
            x, y, w, h = (float(box[axis]) * scale for axis in "xywh")
            path = f"M{x:.1f} {y:.1f}h{w:.1f}v{h:.1f}h{-w:.1f}Z"
            shapes.append(Shape("box", str(box["finding"]), path))
        return shapes


def grids(store: Store, camera: Camera) -> dict[str, list[Block]]:
    """Finding -> a block per split, chosen by a hash of the image ids, those with masks first.

    The last entry are images with a known label but no positive one.
    """
    splits, findings = splits_of(store), store.findings[:FINDINGS]
    each = max(1, min(MOST_EACH, PICTURES // ((len(findings) + 1) * len(splits))))
    found: dict[str, list[Block]] = {}
    for column, finding in enumerate(findings):
        having = {*store.truth(finding), *_boxed(store, finding)}
        chosen = store.labels[:, column] == 1
        found[finding] = [_block(store, camera, s, chosen, each, having, finding) for s in splits]
    negative = (np.nansum(store.labels, axis=1) == 0) & ~np.isnan(store.labels).all(axis=1)
    if negative.any():
        found[NO_FINDING] = [_block(store, camera, s, negative, each, set()) for s in splits]
    return {finding: blocks for finding, blocks in found.items() if any(b.total for b in blocks)}


def _block(
    store: Store,
    camera: Camera,
    split: str,
    chosen: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    count: int,
    preferred: set[int],
    finding: str = "",
) -> Block:
    rows = store.rows(split)
    rows = rows[chosen[rows]]
    thumbs = [camera.thumb(row, finding) for row in first_cases(store, rows, count, preferred)]
    return Block(SPLIT_NAMES[split], len(rows), thumbs)


def _is_aside(shape: Shape, finding: str) -> bool:
    return bool(finding) and shape.name != finding and shape.kind in ("finding", "box")


def _boxed(store: Store, finding: str) -> set[int]:
    if store.boxes is None:
        return set()
    ids = store.boxes.loc[store.boxes["finding"] == finding, "image_id"]
    return set(np.flatnonzero(store.table["image_id"].isin(ids)).tolist())
