"""Optimisers, learning-rate schedules and the running average of weights."""

import copy
import math

import torch
from torch import Tensor, nn

from medrobust.config import Train
from medrobust.dual import DualBN


def build_optimiser(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """The optimiser of the settings; biases and norms (vectors) have no weight decay.

    Fused: all of an update in one kernel, a quarter of the time on a processor.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            groups, settings.lr, momentum=settings.momentum, nesterov=True, fused=True
        )
    if settings.optimiser == "adam":
        return torch.optim.Adam(groups, settings.lr, fused=True)
    return torch.optim.AdamW(groups, settings.lr, fused=True)


def learning_rate(settings: Train, step: int, steps_per_epoch: int) -> float:
    """The rate of a step (from 0), a function of nothing else, so that resuming is exact.

    one-cycle: from lr/25 up to lr over the first 30 %, then down to lr/10,000, both along
    cosines (Smith 2018); multistep: a tenth after each milestone, as in the study.
    """
    total = settings.epochs * steps_per_epoch
    done = step / max(1, total - 1)
    if settings.schedule == "multistep":
        passed = sum(step >= milestone * steps_per_epoch for milestone in settings.milestones)
        return settings.lr * 0.1**passed
    if settings.schedule == "cosine":
        return _cosine(settings.lr, settings.lr * 1e-4, done)
    if settings.schedule == "one-cycle":
        if done < 0.3:
            return _cosine(settings.lr / 25, settings.lr, done / 0.3)
        return _cosine(settings.lr, settings.lr * 1e-4, (done - 0.3) / 0.7)
    return settings.lr


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


class Average:
    """The exponential running average of a model's weights and statistics.

    The decay grows to its full value as (1 + step) / (10 + step), so that short runs are not
    held back by their first weights.
    """

    def __init__(self, model: DualBN, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the model's present weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        floats = [(mine, now) for mine, now in self._pairs if mine.is_floating_point()]
        mine, now = ([pair[side] for pair in floats] for side in (0, 1))
        torch._foreach_lerp_(mine, now, 1 - decay)
        for counter, current in self._pairs:
            if not counter.is_floating_point():
                counter.copy_(current)


def _tensors(model: nn.Module) -> list[Tensor]:
    """Each parameter once, although branches share it, and every buffer."""
    return [*model.parameters(), *model.buffers()]
