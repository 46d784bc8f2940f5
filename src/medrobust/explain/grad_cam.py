"""Grad-CAM: which places of a layer's feature maps speak for a finding."""

import difflib
import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from medrobust.attacks.gradient import frozen
from medrobust.errors import MedrobustError
from medrobust.watching import watched

Sizes = dict[str, tuple[int, ...]]
"""The spatial size of layers' outputs by the layers' names, in the order in which they finish."""


def grad_cam(
    network: nn.Module, images: Tensor, finding: int, *, layer: str | None = None
) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2), enlarged to the image.

    The feature maps of a layer are added, weighted by the mean of the logit's gradient over each;
    what is negative becomes 0. Enlarging is bilinear, of volumes trilinear.

    Args:
        network: images -> logits (N, K); explained in evaluation mode, left as it was.
        images: (N, C, H, W) or (N, C, D, H, W) in [0, 1].
        finding: the logit's column.
        layer: its name among `network.named_modules()`; found by `cam_layer` if not given. Of a
            layer that is used several times the last use counts.

    Returns:
        (N, H, W) or (N, D, H, W), never negative; all zero where nothing speaks for the finding.

    Raises:
        MedrobustError: as `cam_layer`.
    """
    from captum.attr import LayerGradCam

    with frozen(network):
        given = images.detach().clone()
        module = network.get_submodule(cam_layer(network, given, layer))
        maps: Tensor = LayerGradCam(network, module).attribute(
            given, target=finding, relu_attributions=True
        )
        mode = "trilinear" if given.ndim == 5 else "bilinear"
        size = list(given.shape[2:])
        return F.interpolate(maps.detach(), size, mode=mode, align_corners=False)[:, 0]


def cam_layer(network: nn.Module, images: Tensor, layer: str | None = None) -> str:
    """The layer that Grad-CAM looks at, found by watching one image pass.

    It is the last one whose output has the size of the last convolution's, of those larger than
    one pixel: after that convolution's norm, activation and shortcut, and before pooling. In the
    ResNets of the study that is the last block.

    Args:
        network: images -> logits (N, K).
        images: (N, C, H, W) or (N, C, D, H, W) in [0, 1]; the first is shown.
        layer: one chosen by name, which is only checked.

    Raises:
        MedrobustError: there is no such layer; or its output has no extent in space.
    """
    sizes = _sizes(network, images[:1])
    if layer in sizes:
        return layer
    if layer is not None:
        is_there = layer in dict(network.named_modules())
        what = "whose output is larger than 1 pixel" if is_there else "of the network"
        near = difflib.get_close_matches(layer, sizes, 1)
        hint = f"; did you mean {near[0]}?" if near and not is_there else ""
        raise MedrobustError(
            f"grad-cam: expected a layer {what}, such as {_outermost(sizes)}, found {layer!r}{hint}"
        )
    convolutions = [name for name in sizes if isinstance(network.get_submodule(name), _ConvNd)]
    if not convolutions:
        raise MedrobustError(
            "grad-cam: expected a convolution whose output is larger than 1 pixel, found none in "
            f"{type(network).__name__}; name a layer ({_outermost(sizes)}) or use another method"
        )
    last = sizes[convolutions[-1]]
    return [name for name, size in sizes.items() if size == last][-1]


def _sizes(network: nn.Module, images: Tensor) -> Sizes:
    """Those layers whose output is a picture or volume of more than one pixel."""
    names = {module: name for name, module in network.named_modules() if name}
    sizes: Sizes = {}

    def watch(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        sizes.pop(names[module], None)  # used again: its last use counts
        if isinstance(out, Tensor) and out.ndim == images.ndim and math.prod(out.shape[2:]) > 1:
            sizes[names[module]] = tuple(out.shape[2:])

    with watched(names, watch), frozen(network):
        network(images)
    return sizes


def _outermost(sizes: Sizes) -> str:
    """The layers that are not part of another one."""
    names = [name for name in sizes if name.rpartition(".")[0] not in sizes]
    return ", ".join(names) or "none"
