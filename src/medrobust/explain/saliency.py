"""Saliency maps: functions of (network, images, finding)."""

import torch
from torch import Tensor, nn

from medrobust.attacks.gradient import frozen


def gradient(network: nn.Module, images: Tensor, finding: int) -> Tensor:
    """The gradient of one finding's logit with respect to the image (Simonyan et al. 2014).

    The study summed the logits of all positive findings, which mixes their maps; here each
    finding has its own.

    Args:
        network: images -> logits (N, K); explained in evaluation mode, left as it was.
        images: (N, C, H, W) or (N, C, D, H, W) in [0, 1].
        finding: the logit's column.

    Returns:
        (N, H, W) or (N, D, H, W), signed: positive where more brightness raises the logit. Of
        several channels the gradients are added.
    """
    with frozen(network), torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        logit = network(images)[:, finding].sum()
        return torch.autograd.grad(logit, images)[0].sum(1)
