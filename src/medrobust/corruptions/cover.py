"""Corruptions that hide a part of the image: collimator blades, a square.

What is hidden at one severity is hidden at the next. Edges lie anywhere between pixels, which they
cover in part, so that shares of the side are exact in small images too.
"""

import torch
from torch import Tensor

from medrobust.corruptions.grey import image_means
from medrobust.randomness import uniform


def collimation(images: Tensor, share: float, keys: Tensor) -> Tensor:
    """Black bars at the four edges, each of a drawn width of ½ to 1 times the share of its side."""
    bars = (share * (0.5 + 0.5 * uniform(keys, (4,)))).to(images)
    start, stop = bars[:, :2], 1 - bars[:, 2:]
    return images * _rectangle(start, stop, images)


def occlusion(images: Tensor, share: float, keys: Tensor) -> Tensor:
    """A square in the image's mean grey, wholly inside the image at a drawn place.

    Its side is a share of the image's shorter side; in volumes it goes through all slices.
    """
    sides = torch.tensor(images.shape[-2:]).to(images)
    length = share * sides.min() / sides  # (2,) as shares of height and width
    start = uniform(keys, (2,)).to(images) * (1 - length)
    hidden = _rectangle(start, start + length, images)
    return images + hidden * (image_means(images) - images)


def _rectangle(start: Tensor, stop: Tensor, images: Tensor) -> Tensor:
    """(N, 1, ..., H, W): the share of each pixel inside; corners (N, 2) as shares of y and x."""
    height, width = images.shape[-2:]
    inside = (
        _covered(start[:, 0], stop[:, 0], height)[:, :, None]
        * _covered(start[:, 1], stop[:, 1], width)[:, None, :]
    )
    return inside.reshape(-1, *[1] * (images.ndim - 3), height, width)


def _covered(start: Tensor, stop: Tensor, size: int) -> Tensor:
    """(N, size): how much of each pixel along an axis lies between two places of [0, 1]."""
    pixel = torch.arange(size).to(start)
    first = torch.maximum(pixel, size * start[:, None])
    last = torch.minimum(pixel + 1, size * stop[:, None])
    return (last - first).clamp(0, 1)
