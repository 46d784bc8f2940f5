"""What is checked: saliency methods as functions."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Method = Callable[[nn.Module, Tensor, int], Tensor]
"""(network, images (N, C, ...), the logit's column) -> maps (N, ...), signed or not."""


def in_batches(function: Callable[..., Tensor], size: int, *tensors: Tensor) -> Tensor:
    """What a function of tensors (N, ...) gives, worked out `size` images at a time."""
    parts = zip(*(torch.split(tensor, size) for tensor in tensors), strict=True)
    return torch.cat([function(*part) for part in parts])
