"""Does a map survive noise that no reader would see?"""

import numpy as np
from torch import Tensor, nn

from medrobust.explain.sanity.methods import Method
from medrobust.explain.sanity.similarity import Floats, Similarity, rank_similarity
from medrobust.randomness import image_keys, key, normal

NOISE = 0.01
"""Standard deviation in units of the image's range: about that of a radiograph's soft tissue
after windowing. A store of noisier images (low-dose CT) wants more."""
DRAWS = 4


def noisy(images: Tensor, keys: Tensor, deviation: float = NOISE) -> Tensor:
    """Images (N, C, ...) in [0, 1] with Gaussian noise, clipped; `keys` (N,) decide it."""
    return (images + deviation * normal(keys, images.shape[1:]).to(images)).clamp(0, 1)


def under_noise(
    network: nn.Module,
    method: Method,
    images: Tensor,
    finding: int,
    keys: Tensor,
    *,
    deviation: float = NOISE,
    draws: int = DRAWS,
    similarity: Similarity = rank_similarity,
) -> Floats:
    """Mean similarity (N,) of the map of the image and those of the image with noise.

    Args:
        network: images -> logits (N, K).
        method: what makes the maps.
        images: (N, C, ...) in [0, 1].
        finding: the logit's column.
        keys: (N,) decide the noise.
        deviation: the noise's standard deviation, in units of the image.
        draws: how many noisy versions of each image.
        similarity: which one.
    """
    maps = method(network, images, finding)
    found = []
    for draw in range(draws):
        changed = noisy(images, image_keys(key("noise", draw), keys), deviation)
        found.append(similarity(maps, method(network, changed, finding)))
    mean: Floats = np.mean(found, axis=0)
    return mean
