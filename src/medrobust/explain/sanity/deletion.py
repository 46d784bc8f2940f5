"""Insertion and deletion: does the probability follow the pixels a map calls important?

Petsiuk, Das and Saenko 2018 ("RISE", BMVC). Pixels are taken in the order of |value|, largest
first. Deletion replaces them by the blurred image: a good map makes the probability fall early,
so its area is small. Insertion starts from the blurred image and puts them back: a large area is
good. What is missing is blurred, not black, since black edges are evidence of their own.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from medrobust.attacks.gradient import frozen, full_precision
from medrobust.corruptions.detail import blur
from medrobust.randomness import uniform

Kind = Literal["deletion", "insertion"]
Order = Tensor
"""(N, pixels): the place of each pixel in the order, 0 = first."""

STEPS = 32
BLUR = 0.1
"""Standard deviation as a share of the shorter side: wide enough that a lesion is gone."""


def by_importance(maps: Tensor, keys: Tensor) -> Order:
    """Pixels of maps (N, ...) by |value|, largest first; ties in the order that keys (N,) give."""
    drawn = uniform(keys, maps.shape[1:]).flatten(1).argsort(1).to(maps.device)
    size = maps.abs().flatten(1).nan_to_num().gather(1, drawn)
    chosen = drawn.gather(1, size.argsort(dim=1, descending=True, stable=True))
    return chosen.argsort(1)


def at_random(images: Tensor, keys: Tensor) -> Order:
    """The pixels of images (N, C, ...) in an order that keys (N,) decide: what a map must beat."""
    return by_importance(torch.zeros_like(images[:, 0]), keys)


def curve(
    network: nn.Module,
    images: Tensor,
    finding: int,
    order: Order,
    *,
    kind: Kind,
    steps: int = STEPS,
    width: float = BLUR,
    probability: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Tensor:
    """The finding's probability after each of `steps` equal parts of the pixels.

    Args:
        network: images -> logits (N, K).
        images: (N, C, ...) in [0, 1]; all channels of a pixel go together.
        finding: the logit's column.
        order: of the pixels, see `by_importance`.
        kind: `deletion` from the image, or `insertion` into the blurred image.
        steps: number of parts.
        width: of the blur, see `BLUR`.
        probability: logits (N, K) -> probabilities (N, K).

    Returns:
        (N, steps + 1).
    """
    blurred = blur(images, width, torch.empty(0))
    place = order.reshape(len(images), 1, *images.shape[2:])
    first, then = (images, blurred) if kind == "deletion" else (blurred, images)
    points = []
    with frozen(network):
        for step in range(steps + 1):
            taken = place < round(step * order.shape[1] / steps)
            logits = network(torch.where(taken, then, first))
            points.append(probability(full_precision(logits))[:, finding])
    return torch.stack(points, 1)


def area(points: Tensor) -> Tensor:
    """Area (N,) under curves (N, steps + 1) over the share of pixels, in [0, 1]; trapezoids."""
    return torch.trapezoid(points, dx=1 / (points.shape[1] - 1))
