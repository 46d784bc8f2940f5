"""What an attack costs at least with PyTorch's convolutions: they alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from medrobust.watching import watched


def convolutions(
    network: nn.Module, images: Tensor, passes: int, *, channels_last: bool
) -> Callable[[], None]:
    """A job: every convolution forward and back to its input, `passes` times.

    On images of the same shapes in one order of memory or the other (which is faster depends on
    shapes, threads and processor: the floor is the faster), without norms, activations, sums or
    weights' gradients.
    """
    calls = _calls(network, images, channels_last)

    def run() -> None:
        with torch.no_grad():
            for _ in range(passes):
                for forward, _ in calls:
                    forward()
                for _, backward in reversed(calls):
                    backward()

    return run


_Call = tuple[Callable[[], Tensor], Callable[[], Any]]


def _calls(network: nn.Module, images: Tensor, channels_last: bool) -> list[_Call]:
    """Each convolution's forward and backward, as it is met in a pass."""
    calls: list[_Call] = []

    def watch(module: _ConvNd, given: tuple[Any, ...], out: Any) -> None:
        calls.append(_call(module, given[0], out, channels_last))

    layers = [module for module in network.modules() if isinstance(module, _ConvNd)]
    with torch.no_grad(), watched(layers, watch):
        network.eval()(images)
    return calls


def _call(layer: _ConvNd, given: Tensor, out: Tensor, channels_last: bool) -> _Call:
    order = torch.channels_last if channels_last else torch.contiguous_format
    given, out = (torch.rand_like(t).contiguous(memory_format=order) for t in (given, out))
    weight = layer.weight.detach().contiguous(memory_format=order)
    dimensions = given.ndim - 2
    how = (layer.stride, layer.padding, layer.dilation, False, [0] * dimensions, layer.groups)
    apply = torch.ops.aten.convolution.default
    back = torch.ops.aten.convolution_backward.default
    mask = [True, False, False]
    return (
        lambda: apply(given, weight, None, *how),
        lambda: back(out, given, weight, [0], *how, mask),
    )
