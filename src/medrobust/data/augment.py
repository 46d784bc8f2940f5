"""Random changes of whole batches on their device: an affine map and a change of grey values."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.randomness import uniform


@dataclass(frozen=True)
class Augmentation:
    """How much images are changed; the fields are those of the configuration's `augment`."""

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    flip: bool = False

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Changed images in [0, 1], the same for the same keys in whatever batch.

        Args:
            images: (N, C, H, W) or (N, C, D, H, W) in [0, 1]. Volumes turn within their slices.
            keys: (N,) decide each image's change.
        """
        draws = (2 * uniform(keys, (8,)) - 1).to(images)  # in ±1, one column per change
        moved = images
        if self.rotation or self.shift or self.scale or self.flip:
            moved = _warp(images, self._matrix(draws, images))
        return self._grey_values(moved, draws)

    def _matrix(self, draws: Tensor, images: Tensor) -> Tensor:
        """(N, d, d + 1) from places in the new image to places in the old one, both in ±1."""
        dimensions, (height, width) = images.ndim - 2, images.shape[-2:]
        angle = draws[:, 0] * math.radians(self.rotation)
        zoom = 1 / (1 + draws[:, 1] * self.scale)
        mirror = torch.where(draws[:, 2] < 0, -1.0, 1.0).to(zoom) if self.flip else 1.0
        matrix = torch.zeros(len(images), dimensions, dimensions + 1).to(images)
        matrix[:, 0, 0] = angle.cos() * zoom * mirror
        matrix[:, 0, 1] = -angle.sin() * zoom * height / width
        matrix[:, 1, 0] = angle.sin() * zoom * mirror * width / height
        matrix[:, 1, 1] = angle.cos() * zoom
        for axis in range(2, dimensions):
            matrix[:, axis, axis] = zoom
        matrix[:, :, -1] = 2 * self.shift * draws[:, 3 : 3 + dimensions]
        return matrix

    def _grey_values(self, images: Tensor, draws: Tensor) -> Tensor:
        if not self.brightness and not self.contrast:
            return images
        shape = (-1, *[1] * (images.ndim - 1))
        mean = images.flatten(1).mean(1).reshape(shape)
        gain = 1 + self.contrast * draws[:, 6].reshape(shape)
        offset = self.brightness * draws[:, 7].reshape(shape)
        return ((images - mean) * gain + mean + offset).clamp(0, 1)


def _warp(images: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
