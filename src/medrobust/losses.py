"""Losses from logits, one number per image; unknown labels count for nothing."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, K), labels (N, K) with NaN = unknown) -> (N,)."""


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
