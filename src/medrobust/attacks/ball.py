"""The threat model as a value: a norm, a radius, and the box of valid images."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from medrobust.errors import MedrobustError
from medrobust.randomness import normal, uniform

Norm = Literal["linf", "l2"]


@dataclass(frozen=True)
class Ball:
    """All valid images at most `radius` away from an image.

    Args:
        norm: `linf` (largest change of a pixel) or `l2` (Euclidean length over all pixels).
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

        `keys` (N,) decide what is drawn. In l2: a uniform direction times radius · u^(1/d).
        """
        shape = centre.shape[1:]
        if self.norm == "linf":
            offset = (2 * uniform(keys, shape) - 1).to(centre) * self.radius
            return self.project(centre + offset, centre)
        direction = _unit(normal(keys, shape).to(centre))
        length = uniform(~keys, (1,)).to(centre) ** (1 / shape.numel()) * self.radius
        return self.project(centre + _per_image(length[:, 0], centre) * direction, centre)

    def step(self, images: Tensor, gradient: Tensor, size: float) -> Tensor:
        """Steepest ascent by `size`: along the gradient's sign (l∞) or its direction (l2).

        Where the gradient is zero nothing moves.
        """
        direction = gradient.sign() if self.norm == "linf" else _unit(gradient)
        return images + size * direction

    def project(self, images: Tensor, centre: Tensor) -> Tensor:
        """The images brought back into the ball around `centre`, then into the box.

        The box contains `centre`, so that clipping never leads out of the ball again.
        """
        if self.norm == "linf":
            lowest = (centre - self.radius).clamp(min=self.low)
            highest = (centre + self.radius).clamp(max=self.high)
            return torch.minimum(torch.maximum(images, lowest), highest)
        offset = images - centre
        length = _length(offset).clamp(min=torch.finfo(offset.dtype).tiny)
        shrink = (self.radius / length).clamp(max=1)
        return (centre + _per_image(shrink, offset) * offset).clamp(self.low, self.high)


def _length(offset: Tensor) -> Tensor:
    """(N,) Euclidean length of each image."""
    return offset.flatten(1).square().sum(1).sqrt()


def _unit(vector: Tensor) -> Tensor:
    """Each image divided by its length; zero stays zero, however small gradients are safe."""
    largest = vector.flatten(1).abs().amax(1)
    scaled = vector / _per_image(torch.where(largest > 0, largest, 1.0), vector)
    length = _length(scaled)
    return scaled / _per_image(torch.where(length > 0, length, 1.0), vector)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, ...), to multiply images with."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
