"""Corruptions that lose or move detail within the plane: blur, resolution, rotation."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor
from torch.nn import functional as F

from medrobust.randomness import uniform


def blur(images: Tensor, share: float, keys: Tensor) -> Tensor:
    """Gaussian blur with σ as a share of the shorter side; edge pixels go on beyond the edge.

    The kernel is the discrete Gaussian (Lindeberg 1990, IEEE Trans. Pattern Anal. 12:234), whose
    variance is σ² however small σ is; a sampled Gaussian leaves small images as they are.
    Nothing is drawn.
    """
    kernel = discrete_gaussian(share * min(images.shape[-2:]))
    return _along(_along(images, -1, kernel), -2, kernel)


def discrete_gaussian(sigma: float) -> NDArray[np.float64]:
    """Weights (2r + 1,) of sum 1 and variance σ² in pixels, cut off where they vanish."""
    radius = math.ceil(4 * sigma) + 3
    weights = special.ive(np.abs(np.arange(-radius, radius + 1)), sigma**2)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def resolution(images: Tensor, share: float, keys: Tensor) -> Tensor:
    """Down to coarser pixels without aliasing, and linearly up again; nothing is drawn.

    A pixel of that share of the shorter side joins the image's own as widths of two blurs do, by
    the root of the sum of squares: a small image loses about what a large one has left by then.
    """
    height, width = images.shape[-2:]
    pitch = math.hypot(1.0, share * min(height, width))
    coarse = [round(height / pitch), round(width / pitch)]
    slices = images.flatten(1, -3)
    down = F.interpolate(slices, coarse, mode="bilinear", antialias=True)
    return F.interpolate(down, [height, width], mode="bilinear").reshape(images.shape)


def rotation(images: Tensor, degrees: float, keys: Tensor) -> Tensor:
    """Turned about the centre, to the side that is drawn; edge pixels go on beyond the edge.

    Bilinear; all slices of a volume turn alike.
    """
    height, width = images.shape[-2:]
    left = uniform(keys, (1, 1))[..., 0, None] < 0.5
    sign = torch.where(left, 1.0, -1.0).to(images)
    y = (torch.arange(height).to(images) + 0.5 - height / 2)[:, None]
    x = torch.arange(width).to(images) + 0.5 - width / 2
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)) * sign
    across, down = cosine * x - sine * y, sine * x + cosine * y
    grid = torch.stack([across * 2 / width, down * 2 / height], dim=-1)
    slices = images.flatten(1, -3)
    turned = F.grid_sample(slices, grid, padding_mode="border", align_corners=False)
    return turned.reshape(images.shape)


def _along(images: Tensor, axis: int, kernel: NDArray[np.float64]) -> Tensor:
    """One axis convolved by sums of shifted images, which round alike in whatever batch."""
    radius, size = len(kernel) // 2, images.shape[axis]
    places = torch.arange(-radius, size + radius, device=images.device).clamp(0, size - 1)
    padded = images.index_select(axis, places)
    total = torch.zeros_like(images)
    for shift, weight in enumerate(kernel.tolist()):
        total += weight * padded.narrow(axis, shift, size)
    return total
