"""A network for many passes: batch norms folded into the layers before them.

In evaluation mode a batch norm is a fixed scale and shift of each channel, which a convolution can
carry itself; the pass then reads and writes memory about half as often. The result is the same
function, up to rounding.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from medrobust.compiling import compile_if_possible
from medrobust.errors import MedrobustError
from medrobust.packing import pack
from medrobust.randomness import key, seeded
from medrobust.watching import watched

Fast = Callable[[nn.Module, Tensor], AbstractContextManager[nn.Module]]
"""(network, images like those to come) -> what stands for the network while the block runs."""

Pair = tuple[str, str]
"""The names of a layer and of the batch norm that takes its output."""


def as_it_is(network: nn.Module, images: Tensor) -> AbstractContextManager[nn.Module]:
    """The network itself, where no copy is wanted."""
    return nullcontext(network)


def folded(network: nn.Module, images: Tensor) -> nn.Module:
    """A frozen copy in evaluation mode, without those batch norms that follow a layer directly.

    Args and errors are those of `FoldedCopy`.
    """
    return FoldedCopy(network, images).network


def folded_if_possible(network: nn.Module, images: Tensor) -> nn.Module:
    """As `folded`; the network itself where that can't be done."""
    try:
        return folded(network, images)
    except MedrobustError:
        return network


class FoldedCopy:
    """A frozen copy in evaluation mode that can be brought up to date while the network learns.

    It lacks those batch norms that follow a layer directly. Which they are is found by watching
    `images` pass, whatever the network's code; that nothing else changed is checked in double
    precision. Convolutions of pictures are channels-last and, on a processor, packed.

    Args:
        network: images -> logits; left as it is.
        images: (N, C, ...), a few are enough.
        packed: not for a copy that is to be compiled.

    Raises:
        MedrobustError: it can't be copied, or the copy's outputs are not the network's.
    """

    def __init__(self, network: nn.Module, images: Tensor, packed: bool = True) -> None:
        shown = images.to("cpu", torch.float64)
        try:
            exact = copy.deepcopy(network).to("cpu", torch.float64).eval()
            plain = copy.deepcopy(network)
            pairs = _pairs(exact, shown)
            before, after = _outputs(exact, shown), _outputs(_without(exact, pairs), shown)
        except Exception as error:  # whatever a foreign network raises where copied or shown
            raise MedrobustError(f"batch norms can't be folded: {error}") from error
        if not torch.allclose(before, after, rtol=1e-7, atol=1e-7, equal_nan=True):
            raise MedrobustError("batch norms can't be folded: the outputs would change")
        self.network = _without(plain, pairs)
        taken = {name for pair in pairs for name in pair}
        layers = [(pair[0], network.get_submodule(pair[1])) for pair in pairs]
        self._folds: list[tuple[Any, Any, Any]] = [
            (network.get_submodule(name), norm, self.network.get_submodule(name))
            for name, norm in layers
        ]
        mine, theirs = _tensors(self.network, taken), _tensors(network, taken)
        self._rest = [(mine[name], now) for name, now in theirs.items()]
        self._packed = pack(self.network) if packed else []
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the network's present weights and running statistics."""
        for layer, norm, mine in self._folds:
            mine.weight.data, mine.bias.data = map(_channels_last, _fused(layer, norm))
        for tensor, now in self._rest:
            tensor.data = _channels_last(now.detach())
        self._forget()

    def release(self) -> None:
        """Give its memory back until the next `refresh`."""
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            tensor.data = tensor.data.new_empty(0)
        self._forget()

    def _forget(self) -> None:
        for convolution in self._packed:
            convolution.forget()


class FoldedCopies:
    """Copies of networks that learn, each made at its first use and then kept up to date.

    A network that can't be folded stands for itself, and `say` is told why. Copies are compiled
    where `compiled` asks for it.
    """

    def __init__(
        self, say: Callable[[str], None] = lambda text: None, compiled: bool = False
    ) -> None:
        self.say, self.compiled = say, compiled
        self._made: dict[nn.Module, FoldedCopy | None] = {}

    @contextmanager
    def of(self, network: nn.Module, images: Tensor) -> Iterator[nn.Module]:
        """The copy with the network's present weights; it takes memory while the block runs.

        Args:
            network: may have learnt since the last time.
            images: (N, C, ...) as in `FoldedCopy`.
        """
        if network not in self._made:
            self._made[network] = self._make(network, images[:2])
        copied = self._made[network]
        if copied is None:
            yield network
            return
        copied.refresh()
        try:
            yield copied.network
        finally:
            copied.release()

    def _make(self, network: nn.Module, images: Tensor) -> FoldedCopy | None:
        try:
            copied = FoldedCopy(network, images, packed=not self.compiled)
        except MedrobustError as error:
            self.say(f"attacks take the network as it is: {error}")
            return None
        if self.compiled:
            compile_if_possible(copied.network, images, self.say)
        return copied


def _tensors(network: nn.Module, without: set[str]) -> dict[str, Tensor]:
    """Parameters and buffers by name, but for those of the modules `without`."""
    named = [*network.named_parameters(), *network.named_buffers()]
    return {name: tensor for name, tensor in named if name.rpartition(".")[0] not in without}


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


def _without(network: nn.Module, pairs: Sequence[Pair]) -> nn.Module:
    """The network itself, frozen, with the norms of `pairs` gone into their layers."""
    for layer_name, norm_name in pairs:
        layer = network.get_submodule(layer_name)
        layer.weight, layer.bias = map(
            nn.Parameter, _fused(layer, network.get_submodule(norm_name))
        )
        network.set_submodule(norm_name, nn.Identity())
    return network.eval().requires_grad_(False)


def _fused(layer: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer that does the norm's work, too."""
    mean = norm.running_mean
    scale = torch.ones_like(mean) if norm.weight is None else norm.weight
    shift = torch.zeros_like(mean) if norm.bias is None else norm.bias
    given = (layer.weight, layer.bias, mean, norm.running_var, norm.eps, scale, shift)
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_weights(*given)
    return fuse_conv_bn_weights(*given, transpose=isinstance(layer, _ConvTransposeNd))


def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad(), seeded(key(0, "folding")):  # layers that draw, draw the same again
        out: Tensor = network(images)
        return out


def _channels_last(tensor: Tensor) -> Tensor:
    """A copy: of filters of pictures with the channel as their last axis in memory."""
    if tensor.ndim != 4:
        return tensor.clone()
    _, channels, height, width = tensor.shape
    # spelt out: for a single channel both orders are the same, and PyTorch would take the other
    # one, also for what the layer returns
    strides = (height * width * channels, 1, width * channels, channels)
    laid = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)
    return laid.copy_(tensor)
