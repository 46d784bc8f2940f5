"""APGD: gradient ascent with momentum that finds its own step size (Croce & Hein 2020).

"Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks"
(arXiv 2003.01690), algorithm 1, for l∞ and l2; "Mind the box" (arXiv 2103.01208), algorithm 1, for
l1, where steps are sparse and their sparsity follows that of the best point.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medrobust.attacks.ball import Ball
from medrobust.attacks.gradient import frozen, full_precision
from medrobust.attacks.l1 import sparse_direction
from medrobust.errors import MedrobustError
from medrobust.losses import Loss
from medrobust.randomness import image_keys, key

MOMENTUM = 0.75
"""Weight of the new step against the last one."""
SUCCESS = 0.75
"""Share of steps between two checkpoints that must raise the loss for the step size to stay."""
FIRST, SHRINK, SHORTEST = 0.22, 0.03, 0.06
"""Checkpoints as shares of all steps: the first, by how much gaps shrink, the smallest gap."""
L1_PERIOD, L1_SHRINK, L1_SMALLEST = 0.04, 1.5, 10.0
"""In l1: steps between checkpoints, what divides the step size, what it is divided by at most."""
STILL_SPARSER = 0.95


def apgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    ball: Ball,
    loss: Loss,
    steps: int = 100,
    restarts: int = 1,
) -> Tensor:
    """The point of highest loss that adaptive ascent finds for each image.

    Every image has a step size, a memory and a history of its own, so the result does not depend
    on the batch it is in.

    Args:
        network: images -> logits (N, K).
        images: (N, C, ...) inside the ball's box.
        labels: (N, K), NaN = unknown (never attacked).
        keys: (N,) decide the random starts.
        ball: the threat model.
        loss: what is raised, per image.
        steps: gradient steps of each restart.
        restarts: random starts; each image keeps the best of all.

    Raises:
        MedrobustError: fewer than one step or restart.
    """
    if steps < 1 or restarts < 1:
        raise MedrobustError(
            f"attack: expected at least 1 step and 1 restart, found {steps} and {restarts}"
        )
    with frozen(network):
        best = images
        highest = _value(network, images, labels, loss)
        for restart in range(restarts):
            start = ball.start(images, image_keys(key("apgd", restart), keys))
            run = _Run(network, images, labels, ball, loss, start, steps)
            for step in range(steps):
                run.step(step)
            better = run.highest > highest
            best = torch.where(_wide(better, images), run.best, best)
            highest = torch.where(better, run.highest, highest)
        return best


def checkpoints(steps: int) -> list[int]:
    """Steps after which the step size is reconsidered, in l∞ and l2."""
    shares, gap = [0.0, FIRST], FIRST
    while shares[-1] < 1:
        gap = max(gap - SHRINK, SHORTEST)
        shares.append(shares[-1] + gap)
    return [math.ceil(share * steps - 1e-9) for share in shares[1:] if share <= 1]


@dataclass
class _Memory:
    """What was known at the last checkpoint, (N,) each."""

    at: int
    highest: Tensor
    halved: Tensor
    sparsity: Tensor


class _Run:
    """One restart of all images of a batch."""

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        ball: Ball,
        loss: Loss,
        start: Tensor,
        steps: int,
    ) -> None:
        self._network, self._images, self._labels = network, images, labels
        self._ball, self._loss = ball, loss
        self._sparse = ball.norm == "l1"
        self._largest = ball.radius * (1.0 if self._sparse else 2.0)
        self._stops = self._checkpoints(steps)
        self._here = self._last = self.best = start
        self.highest, self._gradient = self._measured(start)
        self._best_gradient, self._before = self._gradient, self.highest
        zeros = torch.zeros_like(self.highest)
        self._size = zeros + self._largest
        self._rises = zeros
        self._share = zeros + 0.2
        self._memory = _Memory(0, self.highest, zeros.bool(), zeros + images[0].numel())

    def step(self, number: int) -> None:
        """Move, remember what is best, and reconsider the step size at a checkpoint."""
        moved = self._moved(MOMENTUM if number and not self._sparse else 1.0)
        self._last, self._here = self._here, moved
        value, self._gradient = self._measured(moved)
        self._rises += value > self._before
        self._before = value
        better = value > self.highest
        wide = _wide(better, moved)
        self.best = torch.where(wide, moved, self.best)
        self._best_gradient = torch.where(wide, self._gradient, self._best_gradient)
        self.highest = torch.where(better, value, self.highest)
        if number + 1 in self._stops:
            self._reconsider(number + 1)

    def _moved(self, weight: float) -> Tensor:
        size, ball = _wide(self._size, self._here), self._ball
        if self._sparse:
            direction = sparse_direction(self._gradient, self._share)
        else:
            direction = ball.step(torch.zeros_like(self._here), self._gradient, 1.0)
        ahead = ball.project(self._here + size * direction, self._images)
        if weight == 1.0:
            return ahead
        carried = (1 - weight) * (self._here - self._last)
        return ball.project(self._here + weight * (ahead - self._here) + carried, self._images)

    def _reconsider(self, number: int) -> None:
        """Where ascent stalls, take smaller steps from the best point."""
        again = self._sparser() if self._sparse else self._stalled(number)
        wide = _wide(again, self._here)
        self._here = torch.where(wide, self.best, self._here)
        self._gradient = torch.where(wide, self._best_gradient, self._gradient)
        if not self._sparse:
            self._last = torch.where(wide, self.best, self._last)
        self._rises = torch.zeros_like(self._rises)
        self._memory.at, self._memory.highest = number, self.highest

    def _stalled(self, number: int) -> Tensor:
        """Halve the steps where few of them rose, or none found better since they were halved."""
        memory = self._memory
        few = self._rises < SUCCESS * (number - memory.at)
        still = ~memory.halved & (memory.highest >= self.highest)
        stalled = few | still
        self._size = torch.where(stalled, self._size / 2, self._size)
        memory.halved = stalled
        return stalled

    def _sparser(self) -> Tensor:
        """In l1: full steps again where the best point has become sparser, else smaller ones."""
        changed = (self.best != self._images).flatten(1).sum(1).to(self._size)
        sparser = changed < STILL_SPARSER * self._memory.sparsity
        self._share = (changed / self._images[0].numel() / 1.5).clamp(min=1e-12)
        least = self._largest / L1_SMALLEST
        smaller = (self._size / L1_SHRINK).clamp(min=least)
        self._size = torch.where(sparser, torch.full_like(smaller, self._largest), smaller)
        self._memory.sparsity = changed
        return sparser

    def _measured(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each image and its gradient, in one pass."""
        with torch.enable_grad():
            images = images.detach().clone().requires_grad_()
            value = self._loss(full_precision(self._network(images)), self._labels)
            gradient = torch.autograd.grad(value.sum(), images)[0]
        return value.detach(), gradient

    def _checkpoints(self, steps: int) -> set[int]:
        if not self._sparse:
            return set(checkpoints(steps))
        period = max(1, int(L1_PERIOD * steps))
        return set(range(period, steps + 1, period))


def _value(network: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    return loss(full_precision(network(images)), labels)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, ...)."""
    if values.dtype != torch.bool:
        values = values.to(like.dtype)
    return values.reshape(-1, *[1] * (like.ndim - 1))
