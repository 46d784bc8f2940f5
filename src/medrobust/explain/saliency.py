"""Saliency maps: functions of (network, images, finding).

Each explains one finding's logit, in evaluation mode, and leaves the network as it was. The maps
are (N, H, W) or (N, D, H, W) and signed: positive is evidence for the finding. Captum is imported
where it is used, since that takes half a second.
"""

import torch
from torch import Tensor, nn

from medrobust.attacks.gradient import frozen
from medrobust.errors import MedrobustError
from medrobust.randomness import image_keys, key, normal

AT_ONCE = 64
"""Pictures that pass the network together where a method shows several versions of an image."""


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


def gradient_x_input(network: nn.Module, images: Tensor, finding: int) -> Tensor:
    """The gradient times the image, pixel by pixel (Shrikumar et al. 2016).

    Black pixels get nothing, whatever they mean. Arguments and result as `gradient`.
    """
    from captum.attr import InputXGradient

    with frozen(network):
        given = images.detach().clone().requires_grad_()
        return _added(InputXGradient(network).attribute(given, target=finding))


def smooth_grad(
    network: nn.Module,
    images: Tensor,
    finding: int,
    *,
    draws: int = 25,
    noise: float = 0.15,
    at_once: int = AT_ONCE,
) -> Tensor:
    """The mean gradient over images with Gaussian noise (Smilkov et al. 2017, arXiv 1706.03825).

    As in its formula, noisy images are not clipped to [0, 1], and the mean is of signed gradients.
    All images, findings and networks see the same noise, so that a map depends on no other image,
    and models are compared without the luck of the draw.

    Args:
        network: images -> logits (N, K).
        images: (N, C, H, W) or (N, C, D, H, W) in [0, 1].
        finding: the logit's column.
        draws: noisy versions of each image.
        noise: standard deviation as a share of the range of pixel values, which is 1.
        at_once: pictures per pass, or the images given if those are more.

    Returns:
        As `gradient`.

    Raises:
        MedrobustError: no draw.
    """
    _check(draws, "smooth-grad", "draw")
    total, together = torch.zeros_like(images[:, 0]), max(1, at_once // len(images))
    for first in range(0, draws, together):
        numbers = torch.arange(first, min(first + together, draws), device=images.device)
        drawn = normal(image_keys(key("smooth-grad"), numbers), images.shape[1:]).to(images)
        noisy = images[None] + noise * drawn[:, None]
        maps = gradient(network, noisy.flatten(0, 1), finding)
        total += maps.reshape(len(numbers), *total.shape).sum(0)
    return total / draws


def integrated_gradients(
    network: nn.Module,
    images: Tensor,
    finding: int,
    *,
    baseline: float | None = 0.0,
    steps: int = 50,
    at_once: int = AT_ONCE,
) -> Tensor:
    """Gradients along the line from a baseline to the image (Sundararajan et al. 2017).

    A map's sum is the logit's difference between image and baseline, up to the error of Gauss and
    Legendre's rule. Pixels equal to the baseline get nothing.

    Args:
        network: images -> logits (N, K).
        images: (N, C, H, W) or (N, C, D, H, W) in [0, 1].
        finding: the logit's column.
        baseline: a grey value, 0 for black; None for each image's own mean.
        steps: points on the line.
        at_once: pictures per pass, or the images given if those are more.

    Returns:
        As `gradient`, in logits.

    Raises:
        MedrobustError: no step.
    """
    from captum.attr import IntegratedGradients

    _check(steps, "integrated-gradients", "step")
    with frozen(network):
        given = images.detach().clone()
        maps = IntegratedGradients(network).attribute(
            given,
            _uniform(given, baseline),
            target=finding,
            n_steps=steps,
            internal_batch_size=max(at_once, len(given)),
        )
    return _added(maps)


def occlusion(
    network: nn.Module,
    images: Tensor,
    finding: int,
    *,
    patch: float = 1 / 8,
    fill: float | None = None,
    at_once: int = AT_ONCE,
) -> Tensor:
    """By how much the logit falls when a patch is covered (Zeiler & Fergus 2014).

    Patches move by half their size; a pixel's value is the mean over the patches that cover it.

    Args:
        network: images -> logits (N, K).
        images: (N, C, H, W) or (N, C, D, H, W) in [0, 1].
        finding: the logit's column.
        patch: its sides as a share of the image's, in (0, 1]; all channels are covered.
        fill: a grey value; None for each image's own mean.
        at_once: pictures per pass, or the images given if those are more.

    Returns:
        As `gradient`, in logits.

    Raises:
        MedrobustError: a patch of no or more than the image's size.
    """
    from captum.attr import Occlusion

    if not 0 < patch <= 1:
        raise MedrobustError(
            f"occlusion: expected a patch above 0 and up to 1 of the image's side, found {patch:g}"
        )
    sides = [max(1, round(patch * side)) for side in images.shape[2:]]
    with frozen(network):
        given = images.detach().clone()
        maps: Tensor = Occlusion(network).attribute(
            given,
            sliding_window_shapes=(images.shape[1], *sides),
            strides=(images.shape[1], *[max(1, side // 2) for side in sides]),
            baselines=_uniform(given, fill),
            target=finding,
            perturbations_per_eval=max(1, at_once // len(given)),
        )
    return maps[:, 0]  # the same in every channel


def _uniform(images: Tensor, grey: float | None) -> Tensor:
    """As large as the images: this grey value, or each image's and channel's mean."""
    if grey is not None:
        return torch.full_like(images, grey)
    return images.mean(tuple(range(2, images.ndim)), keepdim=True).expand_as(images)


def _added(maps: Tensor) -> Tensor:
    return maps.detach().sum(1)


def _check(count: int, method: str, what: str) -> None:
    if count < 1:
        raise MedrobustError(f"{method}: expected at least 1 {what}, found {count}")
