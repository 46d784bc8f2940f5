"""Backbones by name, from MONAI's catalogue or anybody's own; normalisation is the first layer."""

import difflib
import importlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medrobust.errors import MedrobustError


class Classifier(nn.Module):
    """Images in [0, 1] -> logits: normalisation, then the backbone.

    Args:
        backbone: (N, C, H, W) or (N, C, D, H, W) -> (N, K).
        mean: of each channel over the training images, in [0, 1].
        spread: standard deviation of each channel.
        dimensions: 2 or 3.
    """

    input_mean: Tensor
    input_spread: Tensor

    def __init__(
        self, backbone: nn.Module, mean: Sequence[float], spread: Sequence[float], dimensions: int
    ) -> None:
        super().__init__()
        shape = (-1, *[1] * dimensions)
        self.register_buffer("input_mean", torch.tensor(mean).reshape(shape))
        self.register_buffer("input_spread", torch.tensor(spread).reshape(shape))
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, ...) in [0, 1]."""
        logits: Tensor = self.backbone((images - self.input_mean) / self.input_spread)
        return logits


Factory = Callable[..., nn.Module]
"""(channels, outputs, dimensions, **options) -> a backbone."""


def build_backbone(
    name: str, *, channels: int, outputs: int, dimensions: int = 2, **options: Any
) -> nn.Module:
    """A backbone with fresh weights.

    Args:
        name: one of `BACKBONES`, or `package.module:factory` for one's own factory, called with
            `channels, outputs, dimensions` and the options.
        channels: of the image; 1 for grey.
        outputs: number of logits.
        dimensions: 2 for pictures, 3 for volumes.
        options: what the backbone knows, such as `width` or `stem_stride`.

    Raises:
        MedrobustError: unknown name or option, or a factory that can't be imported.
    """
    factory = _import_factory(name) if ":" in name else _named_factory(name)
    try:
        return factory(channels=channels, outputs=outputs, dimensions=dimensions, **options)
    except TypeError as error:
        raise MedrobustError(f"network {name}: these options do not fit ({error})") from error


def resnet(
    block: str,
    layers: tuple[int, int, int, int],
    *,
    channels: int,
    outputs: int,
    dimensions: int,
    width: int = 64,
    stem_stride: int = 2,
    stem_pool: bool = True,
) -> nn.Module:
    """ResNet (He et al. 2016) with torchvision's layout and parameter names.

    `width` is the first stage's number of channels. For images of about 32 pixels take
    `stem_stride=1, stem_pool=False`.
    """
    from monai.networks.nets.resnet import ResNet

    network: nn.Module = ResNet(
        block,
        list(layers),
        [width, 2 * width, 4 * width, 8 * width],
        spatial_dims=dimensions,
        n_input_channels=channels,
        num_classes=outputs,
        conv1_t_stride=stem_stride,
        no_max_pool=not stem_pool,
        bias_downsample=False,
    )
    return network


def densenet121(*, channels: int, outputs: int, dimensions: int, width: int = 64) -> nn.Module:
    """DenseNet-121 (Huang et al. 2017), the usual network for chest radiographs."""
    from monai.networks.nets.densenet import DenseNet121

    network: nn.Module = DenseNet121(
        spatial_dims=dimensions,
        in_channels=channels,
        out_channels=outputs,
        init_features=width,
        growth_rate=width // 2,
    )
    return network


class SmallResNet(nn.Sequential):
    """A ResNet of three stages with one block each: for demos, tests and thumbnails.

    A 3×3 stem, then stages of `width`, 2 `width` and 4 `width` channels, the last two halving
    the image. `stem_stride=2` suits 64 pixels, 1 suits 28.
    """

    def __init__(
        self,
        *,
        channels: int,
        outputs: int,
        dimensions: int,
        width: int = 16,
        stem_stride: int = 1,
    ) -> None:
        from monai.networks.layers.factories import Conv, Norm, Pool
        from monai.networks.nets.resnet import ResNetBlock

        convolution, norm = Conv["conv", dimensions], Norm["batch", dimensions]

        def stage(inner: int, outer: int, stride: int) -> nn.Module:
            shortcut = None
            if stride != 1 or inner != outer:
                shortcut = nn.Sequential(
                    convolution(inner, outer, 1, stride=stride, bias=False), norm(outer)
                )
            block: nn.Module = ResNetBlock(inner, outer, dimensions, stride, shortcut)
            return block

        super().__init__(
            OrderedDict(
                conv1=convolution(channels, width, 3, stride=stem_stride, padding=1, bias=False),
                bn1=norm(width),
                act=nn.ReLU(inplace=True),
                layer1=stage(width, width, 1),
                layer2=stage(width, 2 * width, 2),
                layer3=stage(2 * width, 4 * width, 2),
                avgpool=Pool["adaptiveavg", dimensions](1),
                flatten=nn.Flatten(),
                fc=nn.Linear(4 * width, outputs),
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _resnet(block: str, *layers: int) -> Factory:
    def build(**settings: Any) -> nn.Module:
        first, second, third, fourth = layers
        return resnet(block, (first, second, third, fourth), **settings)

    return build


BACKBONES: dict[str, Factory] = {
    "small": SmallResNet,
    "resnet18": _resnet("basic", 2, 2, 2, 2),
    "resnet34": _resnet("basic", 3, 4, 6, 3),
    "resnet50": _resnet("bottleneck", 3, 4, 6, 3),
    "resnet101": _resnet("bottleneck", 3, 4, 23, 3),
    "densenet121": densenet121,
}


def _named_factory(name: str) -> Factory:
    if name in BACKBONES:
        return BACKBONES[name]
    near = difflib.get_close_matches(name, BACKBONES, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise MedrobustError(
        f"network: expected one of {', '.join(BACKBONES)} or package.module:factory, "
        f"found {name!r}{hint}"
    )


def _import_factory(name: str) -> Factory:
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise MedrobustError(
            f"network: {name!r} can't be imported ({error}); "
            "expected package.module:factory, on the Python path"
        ) from error
    if not callable(factory):
        raise MedrobustError(f"network: {name!r} is not a function that builds a network")
    return factory  # type: ignore[no-any-return]
