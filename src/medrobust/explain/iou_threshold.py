"""The threshold of the IoU, chosen on validation images and held for all others."""

from collections.abc import Iterable

import numpy as np

from medrobust.explain.localisation import Map, Mask, iou

GRID = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07),
    *(0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0),
)
"""Shares of the image; the last is what a map that knows nothing would choose."""


def choose_threshold(maps: Iterable[Map], masks: Iterable[Mask]) -> float | None:
    """The threshold of `GRID` with the best mean IoU over the maps that are scorable.

    Of equals the smallest; None where none is scorable. Each method (and baseline) of each
    network deserves its own: give validation images, never those that are scored afterwards.

    Raises:
        MedrobustError: a mask is of another size than its map.
    """
    found = [
        [iou(saliency, mask, share) for share in GRID]
        for saliency, mask in zip(maps, masks, strict=True)
    ]
    scorable = [row for row in found if not np.isnan(row[0])]
    return GRID[int(np.mean(scorable, axis=0).argmax())] if scorable else None
