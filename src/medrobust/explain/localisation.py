"""How well a map finds the lesion: scores of maps against masks, and the baselines to beat."""

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


def hit_rate(saliency: Map, mask: Mask) -> float:
    """1 if the largest |value| lies inside the mask, else 0 (pointing game, Zhang et al. 2018).

    Several places of equal value count by the share that lies inside. NaN, not scorable: a map
    of zeros or one that is not finite, or an empty mask.
    """
    if not _is_scorable(saliency, mask):
        return float("nan")
    size = np.abs(saliency)
    return float(mask[size == size.max()].mean())


def mass_accuracy(saliency: Map, mask: Mask) -> float:
    """The share of the map's total |value| inside the mask (Arras et al. 2022); in [0, 1].

    NaN where it is not scorable, as `hit_rate`.
    """
    if not _is_scorable(saliency, mask):
        return float("nan")
    size = np.abs(saliency.astype(np.float64))
    return float(size[mask].sum() / size.sum())


SCORES = {"hit_rate": hit_rate, "mass_accuracy": mass_accuracy}


def centre_prior(shape: tuple[int, ...]) -> Map:
    """A Gaussian in the image's middle, of a quarter of each side: looks at no image at all."""
    squares = [(_from_middle(length) / 0.25) ** 2 for length in shape]
    total: Map = sum(np.ix_(*squares))  # type: ignore[assignment]
    return np.exp(-total / 2)


def _from_middle(length: int) -> NDArray[np.float64]:
    """Each pixel's distance in sides of the image; equal to the bit on both sides: ties count."""
    return np.abs(2 * np.arange(length) - (length - 1)) / max(1, 2 * (length - 1))


def _is_scorable(saliency: Map, mask: Mask) -> bool:
    return bool(mask.any() and np.isfinite(saliency).all() and saliency.any())
