"""Frozen convolutions for many passes on a processor: the same function, less copying.

PyTorch hands filters to oneDNN in its own order, and every call copies all of them into another
one, on the way to the logits and on the way back. In small batches of small images that is a third
of the convolutions' time. Frozen filters can be copied once; and those of one pixel need no copy,
as channels-last images are a matrix already.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

kernels = torch.ops.mkldnn
"""oneDNN's, which `torch.compile` calls as well."""

FEW = 2**13
"""Weights that are not worth a copy: PyTorch may choose a faster kernel for those of its own."""


def pack(network: nn.Module) -> list["FrozenConvolution"]:
    """Exchange a frozen network's convolutions of pictures for faster ones, in place.

    Returns:
        the new ones, to be told when weights change; nothing is exchanged where PyTorch lacks
        oneDNN's kernels.
    """
    if not can_pack():
        return []
    for name, layer in list(network.named_modules()):
        if _can_gain(layer):
            network.set_submodule(name, FrozenConvolution(layer))
    return [m for m in network.modules() if isinstance(m, FrozenConvolution)]


def can_pack() -> bool:
    """Whether this PyTorch has the kernels."""
    names = ("_convolution_pointwise", "_convolution_transpose_pointwise")
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and all(hasattr(kernels, name) for name in names)


class FrozenConvolution(nn.Module):
    """A convolution for many passes with the same filters.

    Images of another precision than single or on another device take the ordinary way.

    Args:
        layer: its weights may be moved into copies; new ones may be put there before `forget`.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.train(layer.training)
        self._filters: _Packed | _Matrix | None = None

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H', W'), as the layer."""
        if images.dtype != torch.float32 or images.device.type != "cpu" or images.ndim != 4:
            self._restore()
            ordinary: Tensor = self.layer(images)
            return ordinary
        if self._filters is None:
            self._filters = _filters(self.layer, images)
        return _passed(images, self._filters, self.layer.bias)

    def forget(self) -> None:
        """Copy the filters anew at the next images."""
        self._filters = None

    def _restore(self) -> None:
        if self._filters is not None:
            self.layer.weight.data = self._filters.weight().to(self.layer.weight)
            self.forget()

    def __getstate__(self) -> dict[str, Any]:
        """With ordinary weights: packed ones can neither be copied nor saved."""
        self._restore()
        return self.__dict__


def _can_gain(layer: nn.Module) -> bool:
    if type(layer) is not nn.Conv2d or layer.padding_mode != "zeros" or layer.padding == "same":
        return False
    worth = layer.weight.numel() >= FEW or _is_square_entry(layer)
    return worth and layer.weight.device.type == "cpu"


def _filters(layer: nn.Conv2d, images: Tensor) -> "_Packed | _Matrix":
    if _is_large_matrix(layer, images):
        return _Matrix(layer)
    return _Entry(layer, images) if _is_square_entry(layer) else _Packed(layer, images)


def _is_large_matrix(layer: nn.Conv2d, images: Tensor) -> bool:
    """Filters of one pixel of which a copy would take more memory than it saves time."""
    pixelwise = layer.kernel_size == (1, 1) and layer.groups == 1 and _padding(layer) == [0, 0]
    return pixelwise and 4 * images[:, 0].numel() <= min(layer.in_channels, layer.out_channels)


def _is_square_entry(layer: nn.Conv2d) -> bool:
    """A strided layer that takes very few channels, as a network's first one often does."""
    alike = all(len(set(way)) == 1 for way in (layer.kernel_size, layer.stride, _padding(layer)))
    plain = layer.groups == 1 and layer.dilation == (1, 1)
    return alike and plain and layer.stride[0] > 1 and layer.in_channels <= 4


class _Matrix:
    """Filters of one pixel; images with the channel last are a matrix of pixels already."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self._matrix, self._stride = layer.weight.detach().flatten(1), layer.stride

    def weight(self) -> Tensor:
        """In PyTorch's order."""
        return self._matrix[:, :, None, None]

    def there(self, images: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution."""
        out = self._times(self._seen(images), self._matrix.T)
        return out if bias is None else out.add_(bias[:, None, None])

    def back(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of images of this shape."""
        seen = self._times(gradient, self._matrix)
        if seen.shape == shape:
            return seen
        whole = _empty(seen, shape).zero_()
        self._seen(whole).copy_(seen)
        return whole

    @staticmethod
    def _times(images: Tensor, matrix: Tensor) -> Tensor:
        out = _empty(images, (len(images), matrix.shape[1], *images.shape[2:]))
        torch.mm(_rows(images), matrix, out=_rows(out))
        return out

    def _seen(self, images: Tensor) -> Tensor:
        down, across = self._stride
        return images[:, :, ::down, ::across]


class _Packed:
    """Filters in the kernels' order, for the way there and, once that is taken, the way back."""

    def __init__(self, layer: nn.Conv2d, images: Tensor) -> None:
        self._layer, self._size = layer, layer.kernel_size
        self.how = (_padding(layer), list(layer.stride), list(layer.dilation), layer.groups)
        weight, shape = layer.weight.detach(), list(images.shape)
        self._there = kernels._reorder_convolution_weight(weight, *self.how, shape)
        self._back: Tensor | None = None

    def weight(self) -> Tensor:
        """In PyTorch's order."""
        dense: Tensor = self._there.to_dense()
        return dense

    def there(self, images: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution."""
        end: tuple[Any, ...] = ("none", [], "")
        out: Tensor = kernels._convolution_pointwise(images, self._there, bias, *self.how, *end)
        return out

    def back(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of images of this shape."""
        padding, *rest = self.how
        how = (padding, self._unreached(gradient.shape, shape), *rest)
        if self._back is None:
            weight = self._layer.weight.detach()
            self._back = kernels._reorder_convolution_transpose_weight(
                weight, *how, list(gradient.shape)
            )
            self._layer.weight.data = weight.new_empty(0)  # of which both copies are made
        end: tuple[Any, ...] = (None, *how, "none", [], "")
        out: Tensor = kernels._convolution_transpose_pointwise(gradient, self._back, *end)
        return out

    def _unreached(self, out: torch.Size, given: torch.Size) -> list[int]:
        """Rows and columns at the end that no filter sees."""
        padding, stride, dilation, _ = self.how
        ends = [
            (out[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (self._size[i] - 1) + 1
            for i in range(2)
        ]
        return [given[2 + i] - end for i, end in enumerate(ends)]


class _Entry(_Packed):
    """A network's entry: the way back to 1 or 3 channels with a stride would leave lanes empty.

    The pixels that lie a stride apart depend on the same filters' parts, so the gradient is a
    convolution without stride whose channels are the image's pixels in blocks.
    """

    def __init__(self, layer: nn.Conv2d, images: Tensor) -> None:
        super().__init__(layer, images)
        size, stride, padding = self._size[0], layer.stride[0], self.how[0][0]
        self._last = (size - 1 - padding) // stride  # tap of a block, the first of which is:
        self._first = -((padding + stride - 1) // stride)
        taps = self._last - self._first + 1
        before = -stride * self._first - padding
        after = stride * taps - size - before
        weight = functional.pad(layer.weight.detach(), (before, after, before, after))
        blocks = weight.view(*weight.shape[:2], taps, stride, taps, stride).flip(2, 4)
        filters = blocks.permute(1, 3, 5, 0, 2, 4)
        self._blocks = filters.flatten(0, 2).contiguous(memory_format=torch.channels_last)

    def back(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of images of this shape."""
        stride = self.how[1][0]
        rows, columns = (-(-length // stride) for length in shape[2:])
        more = max(rows - gradient.shape[2], columns - gradient.shape[3])
        margin = max(self._last, more - self._first, 0)
        start = margin - self._last
        out = torch.conv2d(gradient, self._blocks, padding=margin)
        out = out[:, :, start : start + rows, start : start + columns]
        return functional.pixel_shuffle(out, stride)[:, :, : shape[2], : shape[3]].clone()


def _empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last)


def _rows(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N H W, C), which is the same memory if the channel is its last axis."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _padding(layer: nn.Conv2d) -> list[int]:
    return [0, 0] if isinstance(layer.padding, str) else list(layer.padding)  # "valid"


Filters = _Packed | _Matrix


def _passed(images: Tensor, filters: Filters, bias: Tensor | None) -> Tensor:
    out: Tensor = _There.apply(images, filters, bias)  # type: ignore[no-untyped-call]
    return out


class _There(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, filters: Filters, bias: Tensor | None) -> Tensor:
        ctx.filters, ctx.shape = filters, images.shape
        return filters.there(images, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, None, None]:
        return _Back.apply(gradient, ctx.filters, ctx.shape), None, None  # type: ignore[no-untyped-call]


class _Back(Function):
    """Linear: its own gradient is the convolution without the bias."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, filters: Filters, shape: torch.Size) -> Tensor:
        ctx.filters = filters
        return filters.back(gradient, shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, None, None]:
        return _passed(gradient, ctx.filters, None), None, None
