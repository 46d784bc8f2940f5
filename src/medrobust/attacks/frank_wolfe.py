"""Adaptive Frank–Wolfe: ascent to corners of an l_p ball inside the box, with no projection.

Boreiko et al., "Sparse visual counterfactual explanations in image space" (2022, arXiv
2205.07972). Between l1 (few pixels, each changed much) and l2 (all pixels, each changed little) lie
norms whose changes a person sees as a thing, p = 1.5 above all; projecting on them is hard, but
maximising a linear function over ball and box together is easy and exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medrobust.attacks.apgd import SUCCESS, checkpoints
from medrobust.attacks.ball import per_image
from medrobust.attacks.gradient import check_budget, frozen, look
from medrobust.attacks.l1 import l1_corner
from medrobust.errors import MedrobustError
from medrobust.losses import Loss
from medrobust.randomness import image_keys, key, normal

STEPS = 75
FIRST_STEP = 0.75
"""Share of the way to the corner that the first steps go."""

Watch = Callable[[int, Tensor], None]
"""Called after each step with its number, from 1 on, and the best points so far."""


def corner(
    gradient: Tensor,
    images: Tensor,
    radius: float,
    p: float,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Where a linear function of this gradient is largest in ball and box (N, ...), exactly.

    The change of pixel i is sign(w_i) · min(room_i, (|w_i| / pμ)^(1/(p−1))), where room_i is the
    way to the box's wall and μ the one number that makes the length the radius. If everything fits
    into the ball, all pixels go to their walls. Pixels without a finite gradient stay. Computed in
    float64 from the gradient's logarithm, so that neither its scale nor a p near 1 matters.

    Args:
        gradient: (N, ...), of any scale.
        images: (N, ...) inside the box; the balls' centres.
        radius: ≥ 0, in the units of the box.
        p: the norm, 1 ≤ p ≤ ∞.
        low: smallest valid pixel value.
        high: largest valid pixel value.

    Raises:
        MedrobustError: a norm or radius that cannot be.
    """
    check_ball(radius, p)
    slope = gradient.flatten(1).double().nan_to_num(0.0, 0.0, 0.0)
    if p == 1:
        return l1_corner(slope.reshape(images.shape), images, radius, low, high)
    start = images.flatten(1).double()
    room = torch.where(slope > 0, high - start, start - low).clamp(min=0) * (slope != 0)
    if radius == 0 or p == math.inf:
        size = room.clamp(max=radius)
    else:
        size = radius * _sizes(slope.abs(), room / radius, p)
    moved = start + slope.sign() * torch.minimum(size, room)
    return moved.clamp(low, high).to(images.dtype).reshape(images.shape)


def frank_wolfe(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    radius: float,
    loss: Loss,
    p: float = 1.5,
    low: float = 0.0,
    high: float = 1.0,
    steps: int = STEPS,
    first_step: float = FIRST_STEP,
    watch: Watch = lambda step, best: None,
) -> Tensor:
    """The point of highest loss that the search finds for each image, or the image itself.

    Each step goes a share of the way to the corner that the gradient points at. At APGD's
    checkpoints the share is halved, and the search goes back to the best point, where at most 75 %
    of the steps raised the loss, or where none found a better point and the share was not halved
    at the last checkpoint. Every image has a share and a history of its own, so the result does
    not depend on the batch it is in.

    Args:
        network: images -> logits (N, K); left as it was.
        images: (N, C, ...) inside the box.
        labels: (N, K), what the loss is told.
        keys: (N,) decide the random starts: corners that noise points at.
        radius: of the l_p ball, ≥ 0, in the units of the box.
        loss: what is raised, per image.
        p: the norm, 1 ≤ p ≤ ∞.
        low: smallest valid pixel value.
        high: largest valid pixel value.
        steps: gradient steps.
        first_step: share of the way to the corner, in (0, 1].
        watch: is shown the way.

    Raises:
        MedrobustError: a norm, radius, first step or number of steps that cannot be.
    """
    check_budget(steps, 1, random_start=True)
    check_ball(radius, p)
    if not 0 < first_step <= 1:
        raise MedrobustError(f"first step: expected a share above 0 up to 1, found {first_step}")

    def to_corner(gradient: Tensor) -> Tensor:
        return corner(gradient, images, radius, p, low, high)

    noise = normal(image_keys(key("frank-wolfe"), keys), images.shape[1:])
    with frozen(network):
        search = _Search(network, labels, loss, to_corner)
        now = search.begin(images, to_corner(noise.to(images)), first_step)
        stops, last_stop = checkpoints(steps), 0
        for number in range(1, steps + 1):
            search.step(now)
            watch(number, now.best)
            if number in stops:
                _reconsider(now, number - last_stop)
                last_stop = number
        return now.best


def check_ball(radius: float, p: float) -> None:
    """Raise MedrobustError for a norm or a radius that cannot be."""
    if not p >= 1:
        raise MedrobustError(f"p: expected a norm's number ≥ 1, found {p}")
    if not 0 <= radius < math.inf:
        raise MedrobustError(f"radius: expected a finite number ≥ 0, found {radius}")


@dataclass
class _State:
    """Where each image's search is, a row per image: points (N, C, ...), all else (N,)."""

    here: Tensor
    value: Tensor
    gradient: Tensor
    best: Tensor
    highest: Tensor
    best_gradient: Tensor
    size: Tensor
    """Share of the way to the corner of the next step."""
    rises: Tensor
    """Steps since the last checkpoint that raised the loss."""
    old_highest: Tensor
    """`highest` at the last checkpoint."""
    halved: Tensor
    """Whether the share was halved there."""


@dataclass(frozen=True)
class _Search:
    """What the steps of a batch have in common."""

    network: nn.Module
    labels: Tensor
    loss: Loss
    to_corner: Callable[[Tensor], Tensor]

    def begin(self, images: Tensor, start: Tensor, first_step: float) -> _State:
        """At the start, with the images themselves as the best points if they are."""
        value, gradient = look(self.network, images, self.labels, self.loss)
        zero = torch.zeros_like(value)
        now = _State(
            **{"here": start, "value": value, "gradient": gradient},
            **{"best": images.detach().clone(), "highest": value, "best_gradient": gradient},
            **{"size": zero + first_step, "rises": zero, "old_highest": value},
            halved=zero.bool(),
        )
        self._arrive(now, start)
        now.old_highest = now.highest
        return now

    def step(self, now: _State) -> None:
        """Go part of the way to the corner, and remember what is best."""
        before = now.value
        ahead = self.to_corner(now.gradient) - now.here
        self._arrive(now, now.here + per_image(now.size, ahead) * ahead)
        now.rises = now.rises + (now.value > before)

    def _arrive(self, now: _State, there: Tensor) -> None:
        now.here = there
        now.value, now.gradient = look(self.network, there, self.labels, self.loss)
        better = now.value > now.highest
        wide = per_image(better, there)
        now.best = torch.where(wide, there, now.best)
        now.best_gradient = torch.where(wide, now.gradient, now.best_gradient)
        now.highest = torch.where(better, now.value, now.highest)


def _reconsider(now: _State, steps: int) -> None:
    """Where the search stalls, take smaller steps from the best point."""
    few = now.rises <= SUCCESS * steps
    still = ~now.halved & (now.old_highest >= now.highest)
    now.halved = few | still
    now.size = torch.where(now.halved, now.size / 2, now.size)
    wide = per_image(now.halved, now.here)
    now.here = torch.where(wide, now.best, now.here)
    now.gradient = torch.where(wide, now.best_gradient, now.gradient)
    now.value = torch.where(now.halved, now.highest, now.value)
    now.rises = torch.zeros_like(now.rises)
    now.old_highest = now.highest


def _sizes(steepness: Tensor, room: Tensor, p: float) -> Tensor:
    """(N, d) changes in the unit ball, 1 < p < ∞, before they stop at the walls.

    They are m · u with u = |w|^(1/(p−1)): the larger the common factor m, the more pixels have
    stopped, in the order of room / u. So m lies between two of these, or everything has stopped.
    """
    moving = room > 0
    pull = torch.where(moving, steepness.log(), -torch.inf)  # log u, of the steepest 0
    most = pull.amax(1, keepdim=True).clamp(min=torch.finfo(pull.dtype).min)
    pull = (pull - most) / (p - 1)
    stop, order = torch.where(moving, room.log() - pull, torch.inf).sort(dim=1)
    stopped = (room**p).gather(1, order).cumsum(1)
    before = torch.cat([torch.zeros_like(stopped[:, :1]), stopped[:, :-1]], dim=1)
    rest = (p * pull).gather(1, order).flip(1).logcumsumexp(1).flip(1)
    length = before + (p * stop + rest).exp()  # to the power p, when this pixel stops
    length = torch.where(stop < torch.inf, length, torch.inf)
    place = (length < 1).sum(1, keepdim=True).clamp(max=length.shape[1] - 1)
    left = (1 - before.gather(1, place)).clamp(min=0)
    factor = (left.log() - rest.gather(1, place)) / p
    all_fits = stopped[:, -1:] <= 1
    factor = torch.where(all_fits, torch.finfo(factor.dtype).max, factor)
    return (factor + pull).exp()
