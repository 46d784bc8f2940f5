"""Where a finding truly is: masks and boxes of a store, and how near to them is near enough."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from medrobust.data.store import Store
from medrobust.data.table import read_table
from medrobust.data.vocabulary import same_finding
from medrobust.errors import MedrobustError

Mask = NDArray[np.bool_]
Masks = dict[int, Mask]
"""Row of the store -> mask, (H, W) or (D, H, W)."""
Kind = Literal["finding", "anatomy", "marker"]
KINDS: tuple[Kind, ...] = ("finding", "anatomy", "marker")
ROUNDING = 1e-6
"""Distances and sides that differ by less, relative or in pixels, differ by rounding alone."""


@dataclass(frozen=True)
class Tolerance:
    """How far beside the truth still counts as a hit, from pixel centre to pixel centre.

    Raises:
        MedrobustError: a distance that is negative or not finite, or another unit.
    """

    distance: float = 0.0
    unit: Literal["pixels", "mm"] = "pixels"
    spacing: tuple[float, ...] | None = None
    """The image's, in mm per pixel along each axis; None where it is not known."""

    def __post_init__(self) -> None:
        if not 0 <= self.distance < np.inf:
            raise MedrobustError(f"tolerance: expected 0 or more, found {self.distance:g}")
        if self.unit not in ("pixels", "mm"):
            raise MedrobustError(f"tolerance: expected pixels or mm, found {self.unit!r}")

    def widen(self, mask: Mask) -> Mask | None:
        """The mask with all that lies within the distance; None if that is not known.

        Raises:
            MedrobustError: the spacing is of another number of axes than the mask.
        """
        if self.distance == 0 or not mask.any():
            return mask
        steps: Sequence[float] = (1.0,) * mask.ndim
        if self.unit == "mm":
            if not _is_known(self.spacing, mask.ndim):
                return None
            steps = self.spacing or steps
        distance = ndimage.distance_transform_edt(~mask, sampling=steps)
        return np.asarray(distance <= self.distance * (1 + ROUNDING))


def truth_of(store: Store, finding: str, names: Sequence[str] = ()) -> Masks:
    """Row -> where the finding is: its masks, else its boxes, else nothing: {}.

    With `names`, what `named_masks` gives instead.

    Raises:
        MedrobustError: the store has neither masks nor boxes, or none of one of the names.
    """
    if names:
        return named_masks(store, names)
    _names_there(store)
    return store.truth(finding) or _box_masks(store, finding)


def truth_if_any(store: Store, finding: str) -> Masks:
    """The same, and nothing where the store says it of no finding."""
    silent = not (store.path / "masks.csv").exists() and store.boxes is None
    return {} if silent else truth_of(store, finding)


def named_masks(store: Store, names: Sequence[str]) -> Masks:
    """Row -> all that is named: masks of any kind, or boxes where there are no masks of a name.

    `left lung,right lung` is both lungs; an image that has a mask of one alone has that one.

    Raises:
        MedrobustError: the store has neither masks nor boxes, or none of one of the names.
    """
    there = _names_there(store)
    parts = []
    for name in names:
        if not any(same_finding(name, known) for known in there):
            raise MedrobustError(
                f"mask: expected some of {', '.join(there)}, found {name!r}: store "
                f"{store.info.name} has no masks or boxes of it"
            )
        parts.append(_of_any_kind(store, name) or _box_masks(store, name))
    return _united(parts)


def spacings(store: Store) -> NDArray[np.float64] | None:
    """(N, axes) mm per store pixel, in the order of the masks' axes; NaN or None: not known."""
    columns = [f"spacing_{axis}" for axis in "zyx"[-len(store.info.size) :]]
    if not set(columns) <= set(store.table):
        return None
    return store.table[columns].to_numpy(np.float64)


def _is_known(spacing: tuple[float, ...] | None, axes: int) -> bool:
    if spacing is None:
        return False
    if len(spacing) != axes:
        raise MedrobustError(
            f"spacing: expected {axes} numbers, one for each axis of the mask, found {len(spacing)}"
        )
    return all(0 < step < np.inf for step in spacing)


def _names_there(store: Store) -> list[str]:
    """The names of all masks and boxes, in order of appearance."""
    names: list[str] = []
    if (store.path / "masks.csv").exists():
        names += read_table(store.path / "masks.csv")["name"].tolist()
    if store.boxes is not None:
        names += store.boxes["finding"].tolist()
    if not names:
        raise MedrobustError(
            f"store {store.info.name} has neither masks nor boxes: maps can be made but not "
            "scored; prepare it with --masks or --boxes"
        )
    return list(dict.fromkeys(names))


def _of_any_kind(store: Store, name: str) -> Masks:
    return _united([store.truth(name, kind) for kind in KINDS])


def _united(parts: Iterable[Masks]) -> Masks:
    """Row -> the union of its masks."""
    found: dict[int, list[Mask]] = {}
    for part in parts:
        for row, mask in part.items():
            found.setdefault(row, []).append(mask)
    return {row: reduce(np.logical_or, masks) for row, masks in found.items()}


def _box_masks(store: Store, finding: str) -> Masks:
    """Row -> the union of the finding's boxes; empty without boxes."""
    if store.boxes is None:
        return {}
    same = [same_finding(finding, name) for name in store.boxes["finding"]]
    boxes = store.boxes[same]
    rows = pd.Index(store.table["image_id"]).get_indexer(pd.Index(boxes["image_id"]))
    return _united(
        {int(row): _filled(box, store.info.size)}
        for row, box in zip(rows, boxes.to_dict("records"), strict=True)
    )


def _filled(box: dict[Any, Any], size: tuple[int, ...]) -> Mask:
    """The mask of every pixel that the box touches; what lies outside the image is cut off."""
    mask = np.zeros(size, bool)
    sides = list(zip("zyx", "dhw", strict=True))[-len(size) :]
    mask[tuple(_touched(box[origin], box[extent]) for origin, extent in sides)] = True
    return mask


def _touched(start: float, length: float) -> slice:
    first, last = np.floor(start + ROUNDING), np.ceil(start + length - ROUNDING)
    return slice(max(0, int(first)), max(0, int(last)))
