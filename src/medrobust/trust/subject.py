"""What is checked: a network, images, the threat model, and the attack."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from medrobust import statistics
from medrobust.attacks.ball import Ball
from medrobust.attacks.goals import Goal
from medrobust.attacks.gradient import frozen, full_precision
from medrobust.attacks.suite import is_wrong
from medrobust.attacks.worst import wrong
from medrobust.errors import MedrobustError
from medrobust.losses import Loss, class_margin_loss, margin_loss, sigmoid_loss, softmax_loss

ALL = Goal()


class Climb(Protocol):
    """An attack of so many steps and restarts, as `apgd` and `pgd` are."""

    def __call__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        keys: Tensor,
        *,
        ball: Ball,
        loss: Loss,
        steps: int,
        restarts: int,
    ) -> Tensor:
        """The attacked images."""


Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(images, labels, keys) of a batch -> what the network is shown instead."""


@dataclass(frozen=True)
class Subject:
    """A network, N images with at least one known label each, and how they are attacked."""

    network: nn.Module
    images: Tensor
    labels: Tensor
    keys: Tensor
    ball: Ball
    task: str
    cuts: Tensor
    attack: Climb
    batch_size: int

    @property
    def margin(self) -> Loss:
        """What the attack raises; above 0 is wrong, on average over an image's findings."""
        return class_margin_loss if self.task == "exclusive" else margin_loss

    @property
    def cross_entropy(self) -> Loss:
        """What networks are trained on."""
        return softmax_loss if self.task == "exclusive" else sigmoid_loss

    def each(self, of: Change) -> Tensor:
        """What a function of batches gives for all images, (N, ...)."""
        found = []
        for first in range(0, len(self.images), self.batch_size):
            rows = slice(first, first + self.batch_size)
            found.append(of(self.images[rows], self.labels[rows], self.keys[rows]))
        return torch.cat(found)

    def answers(self, change: Change) -> Tensor:
        """The network's logits (N, K) for changed images.

        Raises MedrobustError for an infinite logit, or one that is not a number.
        """

        def logits(images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
            shown = change(images, labels, keys)
            with frozen(self.network):
                return full_precision(self.network(shown))

        found = self.each(logits)
        infinite = int((~found.isfinite()).any(1).sum())
        if infinite:
            raise MedrobustError(
                f"trust: expected finite logits, found others for {infinite} of {len(found)} "
                "images; such a network can't be checked"
            )
        return found

    def clean(self) -> Tensor:
        """The logits (N, K) of the images as they are."""
        return self.answers(lambda images, labels, keys: images)

    def attacked(
        self,
        steps: int,
        restarts: int = 1,
        *,
        ball: Ball | None = None,
        source: nn.Module | None = None,
        goal: Goal = ALL,
    ) -> Tensor:
        """The logits (N, K) of attacked images, also of those made on another network."""

        def change(images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
            return self.attack(
                *(source or self.network, images, goal.labels(labels), keys),
                ball=ball or self.ball,
                loss=self.margin,
                steps=steps,
                restarts=restarts,
            )

        return self.answers(change)

    def losses(self, logits: Tensor) -> Tensor:
        """The margin loss of each image, (N,) float64."""
        return self.margin(logits, self.labels).double()

    def loss(self, logits: Tensor) -> float:
        """Its mean over the images."""
        return float(self.losses(logits).mean())

    def worst(self, attempts: Sequence[Tensor]) -> Tensor:
        """Of several attacks' logits, each (N, K), those of the highest loss for each image."""
        highest = torch.stack([self.losses(logits) for logits in attempts]).argmax(0)
        rows = torch.arange(len(highest), device=highest.device)
        return torch.stack(list(attempts))[highest, rows]

    def broken(self, logits: Tensor) -> Tensor:
        """(N,) whether any known finding, or the class, is decided wrongly."""
        return is_wrong(self.task, self.cuts)(logits, self.labels)

    def accuracy(self, logits: Tensor) -> float:
        """The share of right decisions, of classes or of known findings."""
        if self.task == "exclusive":
            return 1 - float(self.broken(logits).double().mean())
        mistakes = wrong(logits, self.labels, self.cuts.to(logits)).sum()
        return 1 - float(mistakes / (~torch.isnan(self.labels)).sum())

    def aurocs(self, logits: Tensor) -> dict[int, float]:
        """By column, of the findings with both classes; of exclusive classes none."""
        if self.task == "exclusive":
            return {}
        labels, scores = self.labels.cpu().numpy(), logits.cpu().numpy()
        found = {j: statistics.auroc(labels[:, j], scores[:, j]) for j in range(labels.shape[1])}
        return {column: value for column, value in found.items() if not math.isnan(value)}
