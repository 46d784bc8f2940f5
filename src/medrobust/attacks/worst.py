"""The worst case over several attacks, image by image and finding by finding."""

import torch
from torch import Tensor

from medrobust.attacks.goals import Goal
from medrobust.losses import class_margin_loss, rank_scores, signs


def wrong(logits: Tensor, labels: Tensor, cuts: Tensor) -> Tensor:
    """Which findings are decided wrongly, (N, K): positive means score ≥ cut; unknown: never."""
    known = ~torch.isnan(labels)
    return ((logits >= cuts) != (labels == 1)) & known


def class_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) the logit of the own class minus the largest other; NaN where the class is unknown."""
    known = (labels == 1).any(1)
    return torch.where(known, -class_margin_loss(logits, labels), torch.nan)


class Worst:
    """Of everything an image was shown as, what serves each of its labels worst.

    An attacker may leave an image alone, so the unchanged image is the first of the candidates.

    Args:
        logits: (N, K) of the unchanged images.
        labels: (N, K), NaN = unknown.
        task: `multilabel` or `exclusive`.
        images: (N, C, ...), unchanged.
        kept: (N,) bool, of which the worst images are to be kept.

    Attributes:
        scores: (N, K) logits (of exclusive classes: log-odds), the lowest for a positive finding,
            the highest for a negative one, that of the unchanged image for an unknown one.
        margin: (N,) of exclusive classes: the smallest logit of the own class minus the largest
            other; above 0 the image is still classified rightly. NaN where it is not defined.
        images: (n, K, C, ...) the kept images that gave `scores`; of exclusive classes (n, K + 1,
            C, ...), the last one gave `margin`.
    """

    def __init__(
        self, logits: Tensor, labels: Tensor, task: str, images: Tensor, kept: Tensor
    ) -> None:
        self._task, self._labels = task, labels
        self.scores = rank_scores(logits, task).clone()
        self.margin = self._margin(logits, labels)
        slots = logits.shape[1] + (task == "exclusive")
        self.images = images[kept][:, None].repeat(1, slots, *[1] * (images.ndim - 1))
        self._place = torch.where(kept, kept.cumsum(0) - 1, -1)

    def see(self, logits: Tensor, rows: Tensor, images: Tensor) -> None:
        """Take another candidate into account, for these rows (n,) only; all of shape (n, ...)."""
        labels = self._labels[rows]
        scores, margin = rank_scores(logits, self._task), self._margin(logits, labels)
        lower = signs(labels) * (scores - self.scores[rows]) < 0
        less = margin < self.margin[rows]
        self.scores[rows] = torch.where(lower, scores, self.scores[rows])
        self.margin[rows] = torch.where(less, margin, self.margin[rows])
        kept = self._place[rows] >= 0
        if kept.any():
            better = torch.cat([lower, less[:, None]], dim=1)[kept, : self.images.shape[1]]
            place, shown = self._place[rows[kept]], images[kept][:, None]
            wide = better.reshape(*better.shape, *[1] * (images.ndim - 1))
            self.images[place] = torch.where(wide, shown, self.images[place])

    def broken(self, cuts: Tensor, goal: Goal) -> Tensor:
        """(N,) whether any finding of the goal, or the class, is wrong in some candidate."""
        if self._task == "exclusive" and goal.kind == "total":
            return self.margin <= 0
        return wrong(self.scores, goal.labels(self._labels), cuts).any(1)

    def _margin(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self._task != "exclusive":
            return torch.full_like(logits[:, 0], torch.nan)
        return class_margin(logits, labels)
