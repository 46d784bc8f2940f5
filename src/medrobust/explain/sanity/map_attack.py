"""How far can an attack bend a map while the prediction stays?

Ghorbani, Abid and Zou 2019 ("Interpretation of neural networks is fragile"), AAAI; Dombrowski et
al. 2019 ("Explanations can be manipulated and geometry is to blame"), NeurIPS. The gradient of a
ReLU network is piecewise constant, so that ascent on its change needs a smooth stand-in: softplus
for every ReLU. What counts is measured on the network itself: of all points on the way, each
image keeps the one whose map has changed the most among those at which no logit has moved by more
than the tolerance. What is found is a lower bound of what is possible.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from medrobust.attacks.ball import Ball, per_image
from medrobust.attacks.gradient import frozen
from medrobust.explain.landscape import check_radius

BETA = 10.0
TOLERANCE = 0.2
"""Of every logit; a sigmoid's probability then moves by less than 0.05."""
STEPS = 40
RETURN = 2.0
"""Weight of the way back to the prediction against that away from the map, where it has left."""

_RELU = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


class MapAttack(NamedTuple):
    """What an attack on maps has found."""

    images: Tensor
    """(N, C, ...) inside the ball and the box; the image itself where no point was accepted."""
    found: Tensor
    """(N,) whether any point kept the prediction."""


class Softplus(TorchFunctionMode):
    """While it is entered, every ReLU is log(1 + exp(βx))/β; the network is not touched."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self._beta = beta

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """A call, with ReLU replaced."""
        if func in _RELU:
            given = args[0] if args else (kwargs or {})["input"]
            return F.softplus(given, beta=self._beta)
        return func(*args, **(kwargs or {}))


def attack_maps(
    network: nn.Module,
    images: Tensor,
    finding: int,
    keys: Tensor,
    *,
    ball: Ball,
    times_input: bool = False,
    steps: int = STEPS,
    beta: float = BETA,
    tolerance: float = TOLERANCE,
) -> MapAttack:
    """Images in the ball whose gradient map is as unlike the original's as ascent can make it.

    Unlike means a low correlation of the maps' absolute values. Other methods can be judged at
    the same points: an attack on the gradient often carries over.

    Args:
        network: images -> logits (N, K).
        images: (N, C, ...) in the ball's box.
        finding: the logit's column.
        keys: (N,) decide the random start.
        ball: the threat model.
        times_input: bend gradient × input instead of the gradient.
        steps: of ascent, each 2.5 · radius / steps long.
        beta: of the softplus that stands for ReLU.
        tolerance: by how much any logit may move.

    Raises:
        MedrobustError: a radius of 0.
    """
    check_radius(ball.radius)
    with frozen(network):
        attack = _Attack(network, images.detach(), finding, ball, times_input, beta, tolerance)
        return attack.run(keys, steps)


class _Attack:
    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        finding: int,
        ball: Ball,
        times_input: bool,
        beta: float,
        tolerance: float,
    ) -> None:
        self.network, self.images, self.finding, self.ball = network, images, finding, ball
        self.times_input, self.smooth, self.tolerance = times_input, Softplus(beta), tolerance
        maps, self.logits = self._look(images.clone())
        self.maps = maps.detach()

    def run(self, keys: Tensor, steps: int) -> MapAttack:
        """Ascend, and keep each image's best accepted point."""
        here, size = self.ball.start(self.images, keys), 2.5 * self.ball.radius / steps
        best, lowest = self.images.clone(), torch.full_like(self.logits[:, 0], torch.inf)
        for _ in range(steps):
            here = self.ball.project(self.ball.step(here, self._ascent(here), size), self.images)
            maps, logits = self._look(here)
            alike, drift = _correlation(maps, self.maps), self._drift(logits)
            better = (drift <= self.tolerance) & (alike < lowest)
            best = torch.where(per_image(better, best), here, best)
            lowest = torch.where(better, alike, lowest)
        return MapAttack(best, lowest.isfinite())

    def _ascent(self, here: Tensor) -> Tensor:
        """Away from the map; where the prediction has left, rather back to it."""
        with torch.enable_grad():
            here = here.detach().clone().requires_grad_()
            with self.smooth:
                maps = self._maps(here, self.network(here), create_graph=True)
                alike = _correlation(maps, self.maps)
            away = -_gradient(alike, here)
            drift = self._drift(self.network(here))
            leaving = torch.autograd.grad(drift.sum(), here)[0]
        outside = per_image(drift.detach() > self.tolerance, here)
        return _unit(away) - RETURN * outside * _unit(leaving)

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and logits of the network itself."""
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            logits = self.network(images)
            maps = self._maps(images, logits, create_graph=False)
        return maps.detach(), logits.detach()

    def _maps(self, images: Tensor, logits: Tensor, create_graph: bool) -> Tensor:
        score = logits[:, self.finding].sum()
        gradient = torch.autograd.grad(score, images, create_graph=create_graph)[0]
        return (gradient * images if self.times_input else gradient).sum(1)

    def _drift(self, logits: Tensor) -> Tensor:
        """(N,) by how much the logit that moved the most has moved."""
        return (logits - self.logits).abs().amax(1)


def _gradient(values: Tensor, images: Tensor) -> Tensor:
    """Of the sum; zero where values don't depend on the images, as maps of a linear network."""
    if not values.requires_grad:
        return torch.zeros_like(images)
    found: Tensor = torch.autograd.grad(values.sum(), images, materialize_grads=True)[0]
    return found


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation (N,) of the absolute values of maps (N, ...)."""
    return F.cosine_similarity(_centred(first), _centred(second), dim=1, eps=1e-30)


def _centred(maps: Tensor) -> Tensor:
    """|values| (N, pixels) less their mean, scaled so that squares of tiny ones are not 0."""
    size = maps.abs().flatten(1)
    largest = size.detach().amax(1, keepdim=True)
    size = size / torch.where(largest > 0, largest, 1.0)
    return size - size.mean(1, keepdim=True)


def _unit(gradient: Tensor) -> Tensor:
    """Each image's gradient by its largest |value|; zero stays zero."""
    largest = gradient.abs().flatten(1).amax(1)
    return gradient / per_image(torch.where(largest > 0, largest, 1.0), gradient)
