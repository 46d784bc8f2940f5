"""The threat model as a value: a norm, a radius, and the box of valid images."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from medrobust.attacks.l1 import project_l1, sparse_direction
from medrobust.errors import MedrobustError
from medrobust.randomness import normal, uniform

Norm = Literal["linf", "l2", "l1"]


@dataclass(frozen=True)
class Ball:
    """All valid images at most `radius` away from an image.

    Args:
        norm: `linf` (largest change of a pixel), `l2` (Euclidean length over all pixels) or `l1`
            (sum of all changes).
        radius: ε ≥ 0, in the units of the box.
        low: smallest valid pixel value.
        high: largest valid pixel value.

    Raises:
        MedrobustError: unknown norm, negative or infinite radius, empty box.
    """

    norm: Norm
    radius: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise MedrobustError(f"norm: expected one of {get_args(Norm)}, found {self.norm!r}")
        if not 0 <= self.radius < math.inf:
            raise MedrobustError(f"eps: expected a finite number ≥ 0, found {self.radius}")
        if not self.low < self.high:
            raise MedrobustError(f"box: expected low < high, found [{self.low}, {self.high}]")

    def scaled(self, factor: float) -> "Ball":
        """The same ball with `factor` times the radius."""
        return replace(self, radius=self.radius * factor)

    def start(self, centre: Tensor, keys: Tensor) -> Tensor:
        """Points drawn uniformly from the balls around `centre` (N, ...), clipped to the box.

        `keys` (N,) decide what is drawn. In l2: a uniform direction times radius · u^(1/d); in l1
        the direction is that of exponential numbers with random signs.
        """
        shape = centre.shape[1:]
        if self.norm == "linf":
            offset = (2 * uniform(keys, shape) - 1).to(centre) * self.radius
            return self.project(centre + offset, centre)
        direction = self._direction(keys, shape).to(centre)
        length = uniform(~keys, (1,)).to(centre) ** (1 / shape.numel()) * self.radius
        return self.project(centre + per_image(length[:, 0], centre) * direction, centre)

    def step(self, images: Tensor, gradient: Tensor, size: float) -> Tensor:
        """Ascent by `size`: along the gradient's sign (l∞), its direction (l2), or the signs of its
        largest fifth (l1; steepest would be a single pixel).

        Where the gradient is zero nothing moves.
        """
        if self.norm == "linf":
            return images + size * gradient.sign()
        if self.norm == "l2":
            return images + size * _unit(gradient)
        share = torch.full((len(images),), 0.2, device=images.device)
        return images + size * sparse_direction(gradient, share)

    def project(self, images: Tensor, centre: Tensor) -> Tensor:
        """The images brought back into the ball around `centre`, then into the box.

        The box contains `centre`, so that clipping never leads out of the ball again. In l1 it is
        the nearest point of ball and box together.
        """
        if self.norm == "l1":
            return project_l1(images, centre, self.radius, self.low, self.high)
        if self.norm == "linf":
            lowest = (centre - self.radius).clamp(min=self.low)
            highest = (centre + self.radius).clamp(max=self.high)
            return torch.minimum(torch.maximum(images, lowest), highest)
        offset = images - centre
        length = _length(offset).clamp(min=torch.finfo(offset.dtype).tiny)
        shrink = (self.radius / length).clamp(max=1)
        return (centre + per_image(shrink, offset) * offset).clamp(self.low, self.high)

    def _direction(self, keys: Tensor, shape: torch.Size) -> Tensor:
        """(N, *shape) of length 1 in the ball's norm, uniform for l2 and l1."""
        if self.norm == "l2":
            return _unit(normal(keys, shape))
        drawn = 2 * uniform(keys, shape) - 1
        size = -torch.log1p(-drawn.abs().double())
        return (drawn.sign() * size / per_image(size.flatten(1).sum(1), size)).float()


def _length(offset: Tensor) -> Tensor:
    """(N,) Euclidean length of each image."""
    return offset.flatten(1).square().sum(1).sqrt()


def _unit(vector: Tensor) -> Tensor:
    """Each image divided by its length; zero stays zero, however small gradients are safe."""
    largest = vector.flatten(1).abs().amax(1)
    scaled = vector / per_image(torch.where(largest > 0, largest, 1.0), vector)
    length = _length(scaled)
    return scaled / per_image(torch.where(length > 0, length, 1.0), vector)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, ...), to multiply images with (numbers) or to choose by (bool)."""
    if values.dtype != torch.bool:
        values = values.to(like.dtype)
    return values.reshape(-1, *[1] * (like.ndim - 1))
