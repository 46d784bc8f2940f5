"""Corruptions of grey values, pixel by pixel: noise, contrast, gamma, compression."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medrobust.randomness import normal, uniform

ELECTRONIC = 0.25
"""Share of the noise's variance in white that does not depend on the signal."""


def noise(images: Tensor, deviation: float, keys: Tensor) -> Tensor:
    """Gaussian noise of variance deviation² · (¼ + ¾ x).

    Electronic noise is the same everywhere; the variance of quantum noise is proportional to the
    signal, as a Poisson variable's (Foi et al. 2008, IEEE Trans. Image Process. 17:1737).
    """
    drawn = normal(keys, images.shape[1:]).to(images)
    return images + deviation * (ELECTRONIC + (1 - ELECTRONIC) * images).sqrt() * drawn


def contrast(images: Tensor, share: float, keys: Tensor) -> Tensor:
    """Differences from the image's mean shrunk to this share; nothing is drawn."""
    mean = image_means(images)
    return mean + share * (images - mean)


def gamma(images: Tensor, exponent: float, keys: Tensor) -> Tensor:
    """x to the power of the exponent (darker) or its inverse (brighter), as drawn."""
    darker = (uniform(keys, (1,))[:, 0] < 0.5).tolist()
    powers = [exponent if dark else 1 / exponent for dark in darker]
    # one by one: where in a batch a number lies may decide its last bit
    return torch.stack([image**power for image, power in zip(images, powers, strict=True)])


def jpeg(images: Tensor, quality: float, keys: Tensor) -> Tensor:
    """Every channel of every slice through an 8-bit grey JPEG in memory; nothing is drawn."""
    pixels = (images * 255).round().to(torch.uint8).cpu().numpy()
    slices = pixels.reshape(-1, *images.shape[-2:])
    decoded = [_through_jpeg(one, int(quality)) for one in slices]
    joined = np.array(decoded, dtype=np.uint8).reshape(pixels.shape)
    return torch.from_numpy(joined).to(images) / 255


def image_means(images: Tensor) -> Tensor:
    """(N, 1, 1, ...), each over its image alone: sums over a batch may round otherwise."""
    means = torch.stack([image.mean() for image in images])
    return means.reshape(-1, *[1] * (images.ndim - 1))


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file, formats=("JPEG",)) as image:
        return np.array(image)
