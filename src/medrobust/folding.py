"""A network for many passes: batch norms folded into the layers before them.

In evaluation mode a batch norm is a fixed scale and shift of each channel, which a convolution can
carry itself; the pass then reads and writes memory about half as often. The result is the same
function, up to rounding.
"""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from medrobust.errors import MedrobustError
from medrobust.randomness import key, seeded
from medrobust.watching import watched

Pair = tuple[str, str]
"""The names of a layer and of the batch norm that takes its output."""


def folded(network: nn.Module, images: Tensor) -> nn.Module:
    """A frozen copy in evaluation mode, without those batch norms that follow a layer directly.

    Which they are is found by watching `images` pass, whatever the network's code; that nothing
    else changed is checked in double precision. Convolutions of pictures are channels-last.

    Args:
        network: images -> logits; left as it is.
        images: (N, C, ...), a few are enough.

    Raises:
        MedrobustError: it can't be copied, or the copy's outputs are not the network's.
    """
    try:
        exact = copy.deepcopy(network).to("cpu", torch.float64).eval()
        plain = copy.deepcopy(network).eval().requires_grad_(False)
        shown = images.to("cpu", torch.float64)
        pairs = _pairs(exact, shown)
        before = _outputs(exact, shown)
        after = _outputs(_fold(exact, pairs), shown)
    except Exception as error:  # whatever a foreign network raises where it is copied or shown
        raise MedrobustError(f"batch norms can't be folded: {error}") from error
    if not torch.allclose(before, after, rtol=1e-7, atol=1e-7, equal_nan=True):
        raise MedrobustError("batch norms can't be folded: the outputs would change")
    return _channels_last(_fold(plain, pairs))


def _pairs(network: nn.Module, images: Tensor) -> list[Pair]:
    """Layers and the norms that take what they return, each used once in a pass."""
    names = {module: name for name, module in network.named_modules()}
    makers: list[tuple[nn.Module, Tensor]] = []
    found: list[Pair] = []
    uses: Counter[str] = Counter()

    def watch(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        uses[names[module]] += 1
        if not isinstance(module, _BatchNorm):
            makers.append((module, out))
        elif module.running_mean is not None:
            found.extend((names[m], names[module]) for m, made in makers if made is given[0])

    layers = [m for m in network.modules() if isinstance(m, _BatchNorm | _ConvNd | nn.Linear)]
    with watched(layers, watch):
        _outputs(network, images)
    return [pair for pair in found if uses[pair[0]] == uses[pair[1]] == 1]


def _fold(network: nn.Module, pairs: list[Pair]) -> nn.Module:
    for layer_name, norm_name in pairs:
        layer, norm = network.get_submodule(layer_name), network.get_submodule(norm_name)
        fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        network.set_submodule(layer_name, fuse(layer, norm))  # type: ignore[type-var,arg-type]
        network.set_submodule(norm_name, nn.Identity())
    return network.eval().requires_grad_(False)


def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad(), seeded(key(0, "folding")):  # layers that draw, draw the same again
        out: Tensor = network(images)
        return out


def _channels_last(network: nn.Module) -> nn.Module:
    """Weights of 2-D convolutions with the channel as their last axis in memory."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
