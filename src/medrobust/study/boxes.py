"""Where a finding is, for judging the places that readers mark."""

import numpy as np
from numpy.typing import NDArray

from medrobust.data.store import Store
from medrobust.data.vocabulary import same_finding

Box = list[float]
"""x, y, width, height in pixels of the store's images, from the upper left corner."""


def boxes_of(store: Store, row: int, finding: str) -> list[Box]:
    """The store's boxes of a finding in an image, else the box around its mask; in 2-D only."""
    if len(store.info.size) != 2:
        return []
    return _drawn(store, row, finding) or _around(store.truth(finding).get(row))


def _drawn(store: Store, row: int, finding: str) -> list[Box]:
    if store.boxes is None:
        return []
    image = store.table["image_id"].iloc[row]
    rows = store.boxes[store.boxes["image_id"] == image]
    same = [same_finding(str(name), finding) for name in rows["finding"]]
    corners = rows.loc[same, ["x", "y", "w", "h"]].to_numpy(float)
    return [[float(value) for value in box] for box in corners]


def _around(mask: NDArray[np.bool_] | None) -> list[Box]:
    if mask is None or not mask.any():
        return []
    down, across = np.nonzero(mask)
    x, y = int(across.min()), int(down.min())
    return [[float(x), float(y), float(across.max() + 1 - x), float(down.max() + 1 - y)]]
