"""Does a map survive noise that no reader would see?"""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from medrobust.explain.sanity.similarity import Floats, rank_similarity
from medrobust.randomness import image_keys, key, normal

NOISE = 0.01
"""Standard deviation in units of the image's range: about that of a radiograph's soft tissue
after windowing. A store of noisier images (low-dose CT) wants more."""
DRAWS = 4


def noisy(images: Tensor, keys: Tensor, deviation: float = NOISE) -> Tensor:
    """Images (N, C, ...) in [0, 1] with Gaussian noise, clipped; `keys` (N,) decide it."""
    return (images + deviation * normal(keys, images.shape[1:]).to(images)).clamp(0, 1)


def under_noise(
    maps: Tensor,
    method: Callable[[Tensor], Tensor],
    images: Tensor,
    keys: Tensor,
    *,
    deviation: float = NOISE,
    draws: int = DRAWS,
) -> Floats:
    """Mean rank similarity (N,) of the map of the image and those of the image with noise.

    Args:
        maps: of the images, (N, ...).
        method: images -> maps.
        images: (N, C, ...) in [0, 1].
        keys: (N,) decide the noise.
        deviation: the noise's standard deviation, in units of the image.
        draws: how many noisy versions of each image.
    """
    found = []
    for draw in range(draws):
        changed = noisy(images, image_keys(key("noise", draw), keys), deviation)
        found.append(rank_similarity(maps, method(changed)))
    mean: Floats = np.mean(found, axis=0)
    return mean
