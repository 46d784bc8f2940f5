"""How well a map finds the truth: scores of one map against one mask.

All look at |value| alone. The sign of a gradient says which way a pixel would have to change, and
a finding may be brighter or darker than what surrounds it; maps without negative values are
what they were. Equal values are never ordered by chance: they share what they stand for. A score
is NaN, not scorable and not 0, for a map of zeros or with a value that is not finite, for an empty
mask, and for a mask of the whole image, which every map finds.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from medrobust import statistics
from medrobust.errors import MedrobustError
from medrobust.explain.baselines import Map, centre_prior
from medrobust.explain.truth import Mask, Tolerance

__all__ = [
    "SCORES",
    "Map",
    "Mask",
    "Tolerance",
    "auprc",
    "centre_prior",
    "hit_rate",
    "iou",
    "mass_accuracy",
    "mass_inside",
    "rank_accuracy",
    "score_map",
]

NOT_SCORABLE = float("nan")


def hit_rate(saliency: Map, mask: Mask, tolerance: Tolerance | None = None) -> float:
    """1 if the largest |value| lies within the tolerance of the mask, else 0.

    The pointing game (Zhang et al. 2018). Several places of equal value count by the share that
    lies there. NaN also where the tolerance is in mm and the image's spacing is not known.
    """
    case = _scorable(saliency, mask)
    near = (tolerance or Tolerance()).widen(mask) if case else None
    if case is None or near is None:
        return NOT_SCORABLE
    size, _ = case
    return float(near.ravel()[size == size.max()].mean())


def mass_inside(saliency: Map, mask: Mask) -> float:
    """The share of the map's total |value| inside any mask: lungs, a marker, a device; in [0, 1].

    1 for a mask of the whole image; NaN where the mask is empty or the map not scorable.
    """
    case = _scorable(saliency, mask, whole_image=True)
    if case is None:
        return NOT_SCORABLE
    size, inside = case
    size = size / size.max()  # the sum of large values could overflow
    return float(size[inside].sum() / size.sum())


def mass_accuracy(saliency: Map, mask: Mask) -> float:
    """The share of the map's total |value| inside the mask; in [0, 1].

    Relevance mass accuracy (Arras et al. 2022).
    """
    return NOT_SCORABLE if mask.all() else mass_inside(saliency, mask)


def rank_accuracy(saliency: Map, mask: Mask) -> float:
    """Of the k largest |values|, k = pixels of the mask, the share inside it; in [0, 1].

    Relevance rank accuracy (Arras et al. 2022). Where the k-th and later values are equal,
    the expected share if these were drawn at random.
    """
    case = _scorable(saliency, mask)
    if case is None:
        return NOT_SCORABLE
    size, inside = case
    count = int(inside.sum())
    return _largest_inside(size, inside, count) / count


def iou(saliency: Map, mask: Mask, threshold: float) -> float:
    """Intersection over union of the mask and the map's largest |values|; in [0, 1].

    `threshold` in (0, 1] is a share of the image: of n pixels the round(threshold x n) largest,
    at least one, are taken, but none that is 0. Such a threshold is the same for every map that
    puts the pixels in the same order. A share of the map's own maximum is not: it hangs on one
    pixel, and compares how heavy the tails of two methods are before where they point.

    Raises:
        MedrobustError: another threshold.
    """
    if not 0 < threshold <= 1:
        raise MedrobustError(
            f"threshold: expected a share of the image above 0, at most 1, found {threshold:g}"
        )
    case = _scorable(saliency, mask)
    if case is None:
        return NOT_SCORABLE
    size, inside = case
    count = min(max(1, round(threshold * size.size)), int(np.count_nonzero(size)))
    common = _largest_inside(size, inside, count)
    return common / (count + int(inside.sum()) - common)


def auprc(saliency: Map, mask: Mask) -> float:
    """Average precision of |value| for telling pixels inside the mask from the others; in [0, 1].

    Not interpolated, equal values together (`statistics.auprc`). A constant map has the mask's
    share of the image.
    """
    case = _scorable(saliency, mask)
    if case is None:
        return NOT_SCORABLE
    size, inside = case
    return statistics.auprc(inside, size)


SCORES: Mapping[str, Callable[[Map, Mask], float]] = {
    "hit_rate": hit_rate,
    "mass_accuracy": mass_accuracy,
    "rank_accuracy": rank_accuracy,
    "auprc": auprc,
}
"""Those that need no threshold."""


def score_map(
    saliency: Map,
    mask: Mask,
    tolerance: Tolerance | None = None,
    threshold: float | None = None,
) -> dict[str, float]:
    """Every score of a map (H, W) or (D, H, W); the IoU only where its threshold is known.

    Raises:
        MedrobustError: the mask is of another size than the map, or the threshold no share.
    """
    values = {name: score(saliency, mask) for name, score in SCORES.items()}
    values["hit_rate"] = hit_rate(saliency, mask, tolerance)
    if threshold is not None:
        values["iou"] = iou(saliency, mask, threshold)
    return values


def _scorable(
    saliency: Map, mask: Mask, whole_image: bool = False
) -> tuple[NDArray[np.float64], Mask] | None:
    """|value| and mask of all pixels (n,), or None."""
    if saliency.shape != mask.shape:
        raise MedrobustError(
            f"expected a mask of the map's size, {_by(saliency.shape)}, found {_by(mask.shape)}: "
            "take both from one store"
        )
    size = np.abs(saliency.ravel().astype(np.float64))
    known = np.isfinite(size).all() and size.any()
    if not known or not mask.any() or (mask.all() and not whole_image):
        return None
    return size, mask.ravel()


def _largest_inside(size: NDArray[np.float64], inside: Mask, count: int) -> float:
    """How many of the `count` largest are inside; equal values at the edge by their share."""
    smallest = np.partition(size, size.size - count)[size.size - count]
    above, level = size > smallest, size == smallest
    left = count - int(above.sum())
    return float(inside[above].sum() + left * inside[level].mean())


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
