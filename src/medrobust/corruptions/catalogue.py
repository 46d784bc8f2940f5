"""Every corruption by its name, and how strong its five severities are.

Five severities after Hendrycks & Dietterich 2019 ("Benchmarking neural network robustness to
common corruptions and perturbations", arXiv 1903.12261), with strengths of our own: theirs are for
photographs. What extends over an image is a share of its side, so that a small and a large picture
of the same patient look alike; only `noise` and `jpeg` act on pixels and their blocks of 8.
"""

import difflib
from collections.abc import Callable

import torch
from torch import Tensor

from medrobust.corruptions.cover import collimation, occlusion
from medrobust.corruptions.detail import blur, resolution, rotation
from medrobust.corruptions.grey import contrast, gamma, jpeg, noise
from medrobust.errors import MedrobustError
from medrobust.randomness import image_keys, key

SEVERITIES = (1, 2, 3, 4, 5)

Corruption = Callable[[Tensor, int, Tensor], Tensor]
"""(images, severity, keys) -> changed images; see `corrupt`."""
Change = Callable[[Tensor, float, Tensor], Tensor]
"""(images in float32 or float64, strength, keys) -> changed images, not yet clipped."""


def corrupt(name: str, images: Tensor, severity: int, keys: Tensor) -> Tensor:
    """The images after one corruption, in [0, 1], with the same shape, type and device.

    What is drawn depends on the image's key and the corruption's name alone, so that the severities
    of one image show the same change, each stronger than the one before. Nothing depends on the
    rest of the batch. The result has no gradient.

    Args:
        name: one of `CORRUPTIONS`.
        images: (N, C, H, W) or (N, C, D, H, W) in [0, 1]; volumes change within their slices, all
            slices alike (noise and compression: each slice for itself).
        severity: 1 (hardly seen) to 5 (hard to read).
        keys: (N,) int64, such as `randomness.image_keys` gives.

    Raises:
        MedrobustError: unknown name, severity outside 1 to 5.
    """
    check_corruption(name)
    if severity not in SEVERITIES:
        raise MedrobustError(f"severity: expected a whole number from 1 to 5, found {severity!r}")
    return CORRUPTIONS[name](images, severity, keys)


def check_corruption(name: str) -> None:
    """Raise MedrobustError, naming the nearest one, for a corruption that does not exist."""
    if name not in CORRUPTIONS:
        near = difflib.get_close_matches(name, CORRUPTIONS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise MedrobustError(
            f"corruption: expected one of {', '.join(CORRUPTIONS)}, found {name!r}{hint}"
        )


def _graded(change: Change, *strengths: float) -> Corruption:
    purpose = key("corruption", change.__name__)

    def corruption(images: Tensor, severity: int, keys: Tensor) -> Tensor:
        # half precision has too few digits for sums over pixels
        wide = images.detach().to(torch.promote_types(images.dtype, torch.float32))
        strength = strengths[SEVERITIES.index(severity)]
        return change(wide, strength, image_keys(purpose, keys)).clamp(0, 1).to(images.dtype)

    return corruption


CORRUPTIONS: dict[str, Corruption] = {
    # standard deviation in white; each is what a quarter of the dose before gives
    "noise": _graded(noise, 0.01, 0.02, 0.04, 0.08, 0.16),
    # σ as a share of the side: 0.9 to 6 pixels of 224, from an unsharp focus to a moving patient
    "blur": _graded(blur, 0.004, 0.008, 0.012, 0.018, 0.027),
    # share of the contrast that is left
    "contrast": _graded(contrast, 0.8, 0.65, 0.5, 0.35, 0.2),
    # exponent or its inverse; 2.2 is a whole display curve too many or too few
    "gamma": _graded(gamma, 1.2, 1.4, 1.7, 2.2, 3.0),
    # Pillow's quality; its default is 75, blocks of 8 pixels show from 20 downwards
    "jpeg": _graded(jpeg, 60, 35, 20, 10, 5),
    # coarse pixel as a share of the side: 2.4 to 10 pixels of 224, about as much loss as by `blur`
    "resolution": _graded(resolution, 1 / 100, 1 / 65, 1 / 45, 1 / 32, 1 / 22),
    # degrees; beyond 20 a technologist would take the image again
    "rotation": _graded(rotation, 2, 5, 9, 14, 20),
    # widest blade as a share of its side; four blades of 0.18 leave at least 41 % of the area
    "collimation": _graded(collimation, 0.03, 0.06, 0.10, 0.14, 0.18),
    # square's side as a share of the image's: 1 to 14 % of the area
    "occlusion": _graded(occlusion, 0.10, 0.15, 0.21, 0.28, 0.38),
}
"""Name -> corruption, in the order in which results are listed."""
