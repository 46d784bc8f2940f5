"""The boxes that radiologists drew for some images of NIH ChestX-ray14."""

import math
from collections.abc import Collection, Mapping

import numpy as np

from medrobust.data.source import Box
from medrobust.data.vocabulary import canonical
from medrobust.datasets.raw import RawTable

FRAME = 1024
"""Side of the frame that the boxes are given in, whatever the size of a PNG file."""
TOLERANCE = 1.0

Boxes = Mapping[str, tuple[Box, ...]]


def read_boxes(table: RawTable, known: Collection[str]) -> Boxes:
    """Return image id -> boxes in the frame of 1024x1024; problems are noted in the table.

    `known`: the canonical names that a finding may have ("Infiltrate" is "Infiltration").

    The header of BBox_List_2017.csv is `Bbox [x, y, w, h]`, which is four columns, and then three
    without a name; `x, y, w, h` are read as well.
    """
    images = table.text("Image Index").str.removesuffix(".png")
    findings = table.text("Finding Label").map(canonical)
    x, y, width, height = (
        table.values(names, _number, "a number").astype(float)
        for names in (("Bbox [x", "x"), ("y",), ("w",), ("h]", "h"))
    )
    inside = (x >= -TOLERANCE) & (y >= -TOLERANCE) & (width > 0) & (height > 0)
    inside &= (x + width <= FRAME + TOLERANCE) & (y + height <= FRAME + TOLERANCE)
    if not table.all_problems():
        table.note("w", ~inside, f"a box inside {FRAME}x{FRAME} pixels")
        table.note("Finding Label", ~findings.isin(known).to_numpy(), "one of the 14 findings")
    boxes: dict[str, tuple[Box, ...]] = {}
    for image, finding, *corner in zip(images, findings, y, x, height, width, strict=True):
        box = Box(finding, (corner[0], corner[1]), (corner[2], corner[3]))
        boxes[image] = (*boxes.get(image, ()), box)
    return boxes


def scaled(boxes: tuple[Box, ...], shape: tuple[int, ...]) -> tuple[Box, ...]:
    """Move boxes from the frame of 1024x1024 to an image of `shape` (height, width)."""
    factors = np.divide(shape, FRAME)
    return tuple(
        Box(
            box.finding,
            tuple(np.multiply(box.origin, factors).tolist()),
            tuple(np.multiply(box.extent, factors).tolist()),
        )
        for box in boxes
    )


def _number(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError
    return number
