"""APGD: gradient ascent with momentum that finds its own step size (Croce & Hein 2020).

"Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks"
(arXiv 2003.01690), algorithm 1, for l∞ and l2; "Mind the box" (arXiv 2103.01208), algorithm 1, for
l1, where steps are sparse and their sparsity follows that of the best point. The paper's
steps end near a linear model's l1 optimum, up to a tenth of the way short; so here the last steps
are other ones, to the corner of the ball that the best point's gradient points at, kept if better.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from medrobust.attacks.ball import Ball, per_image
from medrobust.attacks.gradient import Broken, Look, check_budget, frozen, full_precision, look
from medrobust.attacks.l1 import l1_corner, sparse_direction
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
L1_CORNERS = 0.03
"""In l1: share of the steps, the last ones and at least one, that go to corners."""
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
    first: Look | None = None,
    broken: Broken | None = None,
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
        first: start at the images themselves, of which this is the loss and the gradient (see
            `look`), so that one look serves any number of radii.
        broken: says which images need no more steps; those keep the point that did it. If not
            given, every image takes all steps.

    Raises:
        MedrobustError: fewer than one step or restart, or several restarts from the images.
    """
    check_budget(steps, restarts, random_start=first is None)
    with frozen(network):
        best, left = images.detach().clone(), torch.arange(len(images), device=images.device)
        if first is None or broken is not None:
            logits = full_precision(network(images))
            highest = loss(logits, labels)
            left = left if broken is None else left[~broken(logits, labels)]
        else:
            highest = first[0].clone()
        for restart in range(restarts):
            if not len(left):
                break
            centre, start = images[left], None
            if first is None:
                start = ball.start(centre, image_keys(key("apgd", restart), keys[left]))
            begun = None if first is None else (first[0][left], first[1][left])
            climb = _Climb(network, ball, loss, steps, broken)
            end = climb.up(centre, labels[left], start, begun)
            better = (end.highest > highest[left]) | end.broken
            best[left[better]] = end.best[better]
            highest[left[better]] = end.highest[better]
            left = left[~end.broken]
        return best


def checkpoints(steps: int) -> list[int]:
    """Steps after which the step size is reconsidered, in l∞ and l2."""
    shares, gap = [0.0, FIRST], FIRST
    while shares[-1] < 1:
        gap = max(gap - SHRINK, SHORTEST)
        shares.append(shares[-1] + gap)
    return [math.ceil(share * steps - 1e-9) for share in shares[1:] if share <= 1]


@dataclass
class _State:
    """Where each image's ascent is, a row per image: points (N, C, ...), all else (N,)."""

    images: Tensor
    labels: Tensor
    here: Tensor
    last: Tensor
    gradient: Tensor
    value: Tensor
    best: Tensor
    best_gradient: Tensor
    highest: Tensor
    size: Tensor
    """Of the next step."""
    share: Tensor
    """In l1: of the pixels that a step moves."""
    rises: Tensor
    """Steps since the last checkpoint that raised the loss."""
    old_highest: Tensor
    """`highest` at the last checkpoint."""
    halved: Tensor
    """Whether the step size was halved there."""
    changed: Tensor
    """In l1: pixels that the best point had changed there."""
    broken: Tensor

    def rows(self, which: Tensor) -> "_State":
        """These images only."""
        return replace(self, **{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def put(self, which: Tensor, other: "_State") -> None:
        """Take over what was found for these images."""
        for name in ("best", "highest", "broken"):
            getattr(self, name)[which] = getattr(other, name)


@dataclass
class _Climb:
    """One restart of all images of a batch."""

    network: nn.Module
    ball: Ball
    loss: Loss
    steps: int
    is_broken: Broken | None

    def up(
        self, images: Tensor, labels: Tensor, start: Tensor | None, first: Look | None
    ) -> _State:
        """The state after all steps, images in their order; without `start` from the images."""
        whole = self._begin(images, labels, start, first)
        left = torch.arange(len(images), device=images.device)
        now = whole.rows(left)
        stops, last_stop = self._stops(), 0
        corners = max(1, int(L1_CORNERS * self.steps)) if self._sparse else 0
        for number in range(1, self.steps + 1):
            if number > self.steps - corners:
                self._try_corner(now)
            else:
                self._step(now, carry=number > 1)
            if number not in stops and number != self.steps:
                continue
            whole.put(left, now)
            left, now = left[~now.broken], now.rows(~now.broken)
            if not len(left):
                break
            self._reconsider(now, number - last_stop)
            last_stop = number
        return whole

    def _begin(
        self, images: Tensor, labels: Tensor, start: Tensor | None, first: Look | None
    ) -> _State:
        here = images if start is None else start
        value, gradient = first or look(self.network, here, labels, self.loss)
        zero = torch.zeros_like(value)
        return _State(
            **{"images": images, "labels": labels, "here": here, "last": here},
            **{"gradient": gradient, "value": value, "best": here, "best_gradient": gradient},
            **{"highest": value, "size": zero + self._largest, "share": zero + 0.2, "rises": zero},
            **{"old_highest": value, "halved": zero.bool(), "broken": zero.bool()},
            changed=zero + images[0].numel(),
        )

    def _step(self, now: _State, carry: bool) -> None:
        """Move, and remember what is best."""
        moved = self._moved(now, MOMENTUM if carry and not self._sparse else 1.0)
        now.last, now.here = now.here, moved
        value, now.gradient, broken = self._measured(moved, now.labels)
        now.rises = now.rises + (value > now.value)
        now.value = value
        self._remember(now, moved, value, now.gradient, broken)

    def _try_corner(self, now: _State) -> None:
        """In l1: move to where the best point would lead if the network were linear, if better."""
        ball = self.ball
        corner = l1_corner(now.best_gradient, now.images, ball.radius, ball.low, ball.high)
        value, gradient, broken = self._measured(corner, now.labels)
        better = self._remember(now, corner, value, gradient, broken)
        wide = per_image(better, corner)
        now.here = torch.where(wide, corner, now.here)
        now.gradient = torch.where(wide, gradient, now.gradient)
        now.value = torch.where(better, value, now.value)

    def _remember(
        self, now: _State, moved: Tensor, value: Tensor, gradient: Tensor, broken: Tensor
    ) -> Tensor:
        """Take over the points that are better than the best so far; which ones, is returned."""
        better = ((value > now.highest) | broken) & ~now.broken
        wide = per_image(better, moved)
        now.best = torch.where(wide, moved, now.best)
        now.best_gradient = torch.where(wide, gradient, now.best_gradient)
        now.highest = torch.where(better, value, now.highest)
        now.broken = now.broken | broken
        return better

    def _moved(self, now: _State, weight: float) -> Tensor:
        size = per_image(now.size, now.here)
        if self._sparse:
            direction = sparse_direction(now.gradient, now.share)
        else:
            direction = self.ball.step(torch.zeros_like(now.here), now.gradient, 1.0)
        ahead = self.ball.project(now.here + size * direction, now.images)
        if weight == 1.0:
            return ahead
        carried = (1 - weight) * (now.here - now.last)
        return self.ball.project(now.here + weight * (ahead - now.here) + carried, now.images)

    def _reconsider(self, now: _State, steps: int) -> None:
        """Where ascent stalls, take smaller steps from the best point."""
        again = self._sparser(now) if self._sparse else self._stalled(now, steps)
        wide = per_image(again, now.here)
        now.here = torch.where(wide, now.best, now.here)
        now.gradient = torch.where(wide, now.best_gradient, now.gradient)
        if not self._sparse:
            now.last = torch.where(wide, now.best, now.last)
        now.rises = torch.zeros_like(now.rises)
        now.old_highest = now.highest

    def _stalled(self, now: _State, steps: int) -> Tensor:
        """Halve the steps where few of them rose, or none found better since they were halved."""
        few = now.rises < SUCCESS * steps
        still = ~now.halved & (now.old_highest >= now.highest)
        now.halved = few | still
        now.size = torch.where(now.halved, now.size / 2, now.size)
        return now.halved

    def _sparser(self, now: _State) -> Tensor:
        """In l1: full steps again where the best point has become sparser, else smaller ones."""
        changed = (now.best != now.images).flatten(1).sum(1).to(now.size)
        sparser = changed < STILL_SPARSER * now.changed
        now.share = (changed / now.images[0].numel() / 1.5).clamp(min=1e-12)
        smaller = (now.size / L1_SHRINK).clamp(min=self._largest / L1_SMALLEST)
        now.size = torch.where(sparser, torch.full_like(smaller, self._largest), smaller)
        now.changed = changed
        return sparser

    def _measured(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of each image, its gradient, and whether it is broken, in one pass."""
        broken = torch.zeros(len(images), dtype=torch.bool, device=images.device)

        def loss(logits: Tensor, known: Tensor) -> Tensor:
            if self.is_broken is not None:
                broken.copy_(self.is_broken(logits.detach(), known))
            return self.loss(logits, known)

        return *look(self.network, images, labels, loss), broken

    @property
    def _sparse(self) -> bool:
        return self.ball.norm == "l1"

    @property
    def _largest(self) -> float:
        return self.ball.radius * (1.0 if self._sparse else 2.0)

    def _stops(self) -> set[int]:
        if not self._sparse:
            return set(checkpoints(self.steps))
        period = max(1, int(L1_PERIOD * self.steps))
        return set(range(period, self.steps + 1, period))
