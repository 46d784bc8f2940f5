"""Losses from logits, one number per image; unknown labels count for nothing.

Training uses the cross-entropies. Attacks use margins, too: they have no flat parts, so an attack
does not stall where a network is sure of itself.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.errors import MedrobustError

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, K), labels (N, K) with NaN = unknown) -> (N,)."""

TARGET = -1.0
"""The label that marks the class an attack aims at, beside the 1 of the true one."""


def sigmoid_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of independent findings, the mean over an image's known labels.

    Args:
        logits: (N, K).
        labels: (N, K) in {0, 1}, NaN = unknown.

    Returns:
        (N,); 0 for an image of which nothing is known.
    """
    known = ~torch.isnan(labels)
    targets = labels.nan_to_num().to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (each * known).sum(1) / known.sum(1).clamp(min=1)


def softmax_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of exclusive classes.

    Args:
        logits: (N, K), K ≥ 2.
        labels: (N, K) one-hot, NaN = unknown.

    Returns:
        (N,); 0 for an image of unknown class.
    """
    return -(labels.nan_to_num() * F.log_softmax(logits, dim=1)).sum(1)


def margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the margin s·z of independent findings, s = ±1 by label; the mean over known labels.

    Args:
        logits: (N, K).
        labels: (N, K) in {0, 1}, NaN = unknown.

    Returns:
        (N,); 0 for an image of which nothing is known.
    """
    known = (~torch.isnan(labels)).sum(1).clamp(min=1)
    return -(signs(labels).to(logits.dtype) * logits).sum(1) / known


def class_margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest logit of another class minus that of the image's own (Carlini & Wagner 2017).

    Args:
        logits: (N, K), K ≥ 2.
        labels: (N, K) one-hot, NaN = unknown.

    Returns:
        (N,); above 0 where the image is misclassified, 0 where its class is unknown.
    """
    return _other(logits, labels) - _own(logits, labels)


def dlr_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio (Croce & Hein 2020, equation 6): blind to the logits' scale.

    Args:
        logits: (N, K), K ≥ 3.
        labels: (N, K) one-hot, NaN = unknown.

    Raises:
        MedrobustError: fewer than three classes.
    """
    ordered = _ordered(logits, 3)
    return class_margin_loss(logits, labels) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def targeted_dlr_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The same towards one class (Croce & Hein 2020, equation 7).

    Args:
        logits: (N, K), K ≥ 4.
        labels: (N, K); 1 for the own class, `TARGET` for the class aimed at, 0 for the others.

    Raises:
        MedrobustError: fewer than four classes.
    """
    ordered = _ordered(logits, 4)
    below = (ordered[:, 2] + ordered[:, 3]) / 2
    return targeted_margin_loss(logits, labels) / (ordered[:, 0] - below + 1e-12)


def targeted_margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the class aimed at minus that of the image's own; labels as above, K ≥ 2."""
    return -(labels.nan_to_num().to(logits.dtype) * logits).sum(1)


def towards(logits: Tensor, labels: Tensor, rank: int) -> Tensor:
    """One-hot labels in which the other class with the `rank`-th largest logit is the target.

    Args:
        logits: (N, K), of the unchanged images.
        labels: (N, K) one-hot; an image of unknown class stays unknown.
        rank: 1 for the most likely other class, up to K − 1.
    """
    others = logits.masked_fill(labels == 1, -torch.inf)
    place = others.argsort(dim=1, descending=True, stable=True)[:, rank - 1 : rank]
    return labels.scatter(1, place, torch.full_like(labels[:, :1], TARGET)) + 0 * labels


def one_against_rest(loss: Loss) -> Loss:
    """A loss of independent findings, for exclusive classes: of each class's log-odds."""
    return lambda logits, labels: loss(log_odds(logits), labels)


def log_odds(logits: Tensor) -> Tensor:
    """Of exclusive classes (N, K): log p / (1 − p), the logit minus log-sum-exp of the others."""
    others = logits[:, None, :].expand(-1, logits.shape[1], -1)
    diagonal = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    return logits - others.masked_fill(diagonal, -torch.inf).logsumexp(2)


def rank_scores(logits: Tensor, task: str) -> Tensor:
    """(N, K) scores that order images and do not saturate: the logit, or the class's log-odds."""
    return log_odds(logits) if task == "exclusive" else logits


def signs(labels: Tensor) -> Tensor:
    """+1 for a positive, −1 for a negative, 0 for an unknown label."""
    return (2 * labels - 1).nan_to_num()


def _own(logits: Tensor, labels: Tensor) -> Tensor:
    return (labels.nan_to_num().to(logits.dtype) * logits).sum(1)


def _other(logits: Tensor, labels: Tensor) -> Tensor:
    largest = logits.masked_fill(labels == 1, -torch.inf).amax(1)
    return torch.where((labels == 1).any(1), largest, torch.zeros_like(largest))


def _ordered(logits: Tensor, least: int) -> Tensor:
    """The logits of each image in falling order."""
    if logits.shape[1] < least:
        raise MedrobustError(
            f"loss dlr: expected at least {least} exclusive classes, found {logits.shape[1]}; "
            "use the margin instead"
        )
    return logits.sort(dim=1, descending=True).values
