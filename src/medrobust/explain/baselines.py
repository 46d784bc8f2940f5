"""Maps that know nothing of the finding: what a map has to beat."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medrobust.explain.truth import Mask, Tolerance
from medrobust.randomness import uniform

Map = NDArray[np.floating]


def centre_prior(shape: tuple[int, ...]) -> Map:
    """A Gaussian in the image's middle, of a quarter of each side: looks at no image at all."""
    squares = [(_from_middle(length) / 0.25) ** 2 for length in shape]
    total: Map = sum(np.ix_(*squares))  # type: ignore[assignment]
    return np.exp(-total / 2)


def edges(image: Map) -> Map:
    """How steep the image is: the magnitude of its Sobel gradient, for any network alike.

    `image` is (H, W) or (D, H, W), one channel; the map is of its shape. A uniform image has no
    edges at all and its border is none. A map that is an edge detector can look like an
    explanation (Adebayo et al. 2018).
    """
    pixels = np.asarray(image, dtype=np.float64)
    steepness: Map = ndimage.generic_gradient_magnitude(pixels, ndimage.sobel, mode="nearest")
    return steepness


def random_map(shape: tuple[int, ...], key: int) -> Map:
    """Independent uniform numbers in (0, 1), a function of the key (`randomness.key`) alone."""
    numbers: Map = uniform(torch.tensor([key]), shape)[0].numpy()
    return numbers


def area_scores(mask: Mask, tolerance: Tolerance | None = None) -> dict[str, float]:
    """What a map that knows nothing can expect from the area of the truth alone.

    The expected scores of a random order of the n pixels, k of them inside: k/n, of the hit rate
    with the mask widened by the tolerance. The IoU is k/n too: that of the whole image, the best
    choice without knowledge. The average precision of a random order is above k/n, clearly so for
    small masks (Bestgen 2015, "Exact expected average precision of the random baseline").
    NaN for an empty mask and for one of the whole image.
    """
    inside, pixels = int(mask.sum()), mask.size
    near = (tolerance or Tolerance()).widen(mask)
    scorable = 0 < inside < pixels
    share = inside / pixels if scorable else float("nan")
    return {
        "hit_rate": float(near.mean()) if scorable and near is not None else float("nan"),
        "mass_accuracy": share,
        "rank_accuracy": share,
        "auprc": _expected_precision(inside, pixels) if scorable else float("nan"),
        "iou": share,
    }


def _expected_precision(inside: int, pixels: int) -> float:
    harmonic = float((1 / np.arange(1, pixels + 1)).sum())
    return (harmonic + (inside - 1) / (pixels - 1) * (pixels - harmonic)) / pixels


def _from_middle(length: int) -> NDArray[np.float64]:
    """Each pixel's distance in sides of the image; equal to the bit on both sides: ties count."""
    return np.abs(2 * np.arange(length) - (length - 1)) / max(1, 2 * (length - 1))
