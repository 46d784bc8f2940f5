"""A weakness of known place and size, added to the network: does the attack find it?"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from medrobust.attacks.ball import Ball
from medrobust.losses import signs
from medrobust.randomness import key, uniform
from medrobust.trust import limits
from medrobust.trust.subject import Subject
from medrobust.trust.verdict import judged
from medrobust.trust_table import Check

SHIFT = 3.0
"""How much more the weakness changes the loss than the network itself does."""


class Planted(nn.Module):
    """A network whose logit j also grows by weight · ⟨pattern j, image − middle⟩."""

    def __init__(self, network: nn.Module, patterns: Tensor, weight: float, middle: float) -> None:
        super().__init__()
        self.network = network
        self._patterns, self._weight, self._middle = patterns, weight, middle

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        own: Tensor = self.network(images)
        return own + self._weight * (images - self._middle).flatten(1) @ self._patterns.T


def planted(subject: Subject, clean: Tensor, white: Tensor, steps: int) -> Check:
    """The attack must reach the loss of a point that is known to be weak.

    The patterns are random signs, a pattern a logit, so that the weakest point of their sum alone
    is known in closed form in l∞ (and a weak one in l2 and l1).
    """
    patterns = patterns_for(subject.images, clean.shape[1])
    wanted = _wanted(subject) @ patterns
    ball, images = subject.ball, subject.images
    known = known_points(images, wanted, ball)
    offered = (wanted * (known - images).flatten(1)).sum(1).mean()
    spread = max(
        subject.loss(white) - subject.loss(clean), float(subject.losses(clean).std(correction=0))
    )
    weight = SHIFT * max(spread, limits.ROUNDING) / float(offered)
    weak = Planted(subject.network, patterns, weight, (ball.low + ball.high) / 2)
    harder = replace(subject, network=weak)

    there = replace(harder, images=known)
    start, reference = harder.loss(harder.clean()), there.loss(there.clean())
    found = (harder.loss(harder.attacked(steps)) - start) / (reference - start)
    return judged(
        "planted",
        found,
        limits.PLANTED,
        not found >= limits.PLANTED,
        f"Of a weakness that was added to the network on purpose the attack found {found:.1%}",
        fine="it finds what is there",
        bad="it misses a point that is known to be weak",
    )


def patterns_for(images: Tensor, findings: int) -> Tensor:
    """(K, d) random signs, the same for all images."""
    keys = torch.tensor([key("planted", j) for j in range(findings)], device=images.device)
    return (uniform(keys, (images[0].numel(),)) < 0.5).to(images) * 2 - 1


def known_points(images: Tensor, direction: Tensor, ball: Ball) -> Tensor:
    """The images moved as far as ball and box allow along a direction (N, d)."""
    gradient = direction.reshape(images.shape)
    return ball.project(ball.step(images, gradient, ball.radius), images)


def _wanted(subject: Subject) -> Tensor:
    """(N, K): by how much a logit that grows by 1 raises the margin loss.

    Of exclusive classes the class after the own one is to win: the loss rises at least so much.
    """
    labels = subject.labels
    if subject.task == "exclusive":
        own = labels.nan_to_num()
        return own.roll(1, dims=1) - own
    return -signs(labels) / (~torch.isnan(labels)).sum(1, keepdim=True)
