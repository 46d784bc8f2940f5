"""What is checked, and what several checks of it share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from medrobust.attacks.ball import Ball
from medrobust.explain.sanity import deletion
from medrobust.explain.sanity.map_attack import MapAttack, attack_maps
from medrobust.explain.sanity.methods import Method, in_batches
from medrobust.explain.sanity.similarity import Floats
from medrobust.explain.sanity.verdicts import Judge
from medrobust.inference import probabilities
from medrobust.randomness import image_keys, key

KINDS: tuple[deletion.Kind, ...] = ("deletion", "insertion")


@dataclass(frozen=True)
class Scene:
    """One network, one finding, and the images on which methods are checked."""

    network: nn.Module
    fresh: nn.Module
    """The same network, untrained."""
    column: int
    """The finding's logit."""
    images: Tensor
    """(N, C, ...) in [0, 1]."""
    keys: Tensor
    """(N,), for random numbers."""
    patients: Sequence[str]
    """(N,)."""
    task: str
    ball: Ball
    batch_size: int
    seed: int

    @property
    def judge(self) -> Judge:
        """What makes numbers of values per image."""
        return Judge(self.patients)

    def batched(self, method: Method) -> Method:
        """The same method, in batches."""

        def maps(network: nn.Module, images: Tensor, finding: int) -> Tensor:
            return in_batches(lambda part: method(network, part, finding), self.batch_size, images)

        return maps

    def attacked(self, times_input: bool) -> MapAttack:
        """Points where the gradient, or gradient × input, is as unlike as could be found."""
        return self._products if times_input else self._gradients

    @cached_property
    def randomly_changed(self) -> Tensor:
        """The images with a random change of the attack's size."""
        return self.ball.start(self.images, image_keys(key("random change"), self.keys))

    @cached_property
    def random_areas(self) -> dict[deletion.Kind, Floats]:
        """Areas (N,) under both curves with the pixels in random order."""
        order = deletion.at_random(self.images, self.keys)
        return {kind: self.areas(order, kind) for kind in KINDS}

    @cached_property
    def fall(self) -> Floats:
        """By how much blurring the whole image lowers the finding's probability, (N,)."""
        order = deletion.at_random(self.images, self.keys)
        ends = in_batches(
            partial(self._curve, kind="deletion", steps=1), self.batch_size, self.images, order
        )
        found: Floats = (ends[:, 0] - ends[:, 1]).double().cpu().numpy()
        return found

    def areas(self, order: deletion.Order, kind: deletion.Kind) -> Floats:
        """Areas (N,) under the curve of the finding's probability, pixels in this order."""

        curves = in_batches(partial(self._curve, kind=kind), self.batch_size, self.images, order)
        areas: Floats = deletion.area(curves).double().cpu().numpy()
        return areas

    def _curve(
        self,
        images: Tensor,
        order: deletion.Order,
        kind: deletion.Kind,
        steps: int = deletion.STEPS,
    ) -> Tensor:
        return deletion.curve(
            self.network,
            images,
            self.column,
            order,
            kind=kind,
            steps=steps,
            probability=partial(probabilities, task=self.task),
        )

    @cached_property
    def _gradients(self) -> MapAttack:
        return self._attack(times_input=False)

    @cached_property
    def _products(self) -> MapAttack:
        return self._attack(times_input=True)

    def _attack(self, times_input: bool) -> MapAttack:
        parts = [
            attack_maps(
                self.network, images, self.column, keys, ball=self.ball, times_input=times_input
            )
            for images, keys in zip(
                torch.split(self.images, self.batch_size),
                torch.split(self.keys, self.batch_size),
                strict=True,
            )
        ]
        images, found = zip(*parts, strict=True)
        return MapAttack(torch.cat(images), torch.cat(found))
