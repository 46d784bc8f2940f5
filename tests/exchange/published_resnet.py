"""ResNets as torchvision and the published code name them, in plain PyTorch: an oracle.

Nothing of medrobust is used. `domains` = 2 gives every norm two halves under `bns.0` and `bns.1`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

Layers = tuple[int, int, int, int]


class Norm(nn.Module):
    def __init__(self, channels: int, domains: int) -> None:
        super().__init__()
        self.bns = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(domains))

    def forward(self, images: Tensor, domain: int) -> Tensor:
        found: Tensor = self.bns[domain](images)
        return found


class Single(nn.BatchNorm2d):
    def forward(self, images: Tensor, domain: int = 0) -> Tensor:
        return super().forward(images)


def norm(channels: int, domains: int) -> nn.Module:
    return Norm(channels, domains) if domains > 1 else Single(channels)


class Block(nn.Module):
    """Basic (two convolutions of 3x3) or bottleneck (1x1, 3x3 with the stride, 1x1)."""

    def __init__(self, inner: int, width: int, stride: int, bottleneck: bool, domains: int) -> None:
        super().__init__()
        outer = 4 * width if bottleneck else width
        if bottleneck:
            sizes = [(inner, width, 1, 1), (width, width, 3, stride), (width, outer, 1, 1)]
        else:
            sizes = [(inner, width, 3, stride), (width, width, 3, 1)]
        self.count = len(sizes)
        for place, (a, b, side, step) in enumerate(sizes, 1):
            self.add_module(f"conv{place}", nn.Conv2d(a, b, side, step, side // 2, bias=False))
            self.add_module(f"bn{place}", norm(b, domains))
        self.downsample = None
        if stride != 1 or inner != outer:
            self.downsample = nn.ModuleList(
                [nn.Conv2d(inner, outer, 1, stride, bias=False), norm(outer, domains)]
            )

    def forward(self, images: Tensor, domain: int) -> Tensor:
        shortcut = found = images
        for place in range(1, self.count + 1):
            found = self.get_submodule(f"conv{place}")(found)
            found = self.get_submodule(f"bn{place}")(found, domain)
            if place < self.count:
                found = functional.relu(found)
        if self.downsample is not None:
            shortcut = self.downsample[1](self.downsample[0](shortcut), domain)
        return functional.relu(found + shortcut)


class ResNet(nn.Module):
    def __init__(
        self,
        layers: Layers,
        bottleneck: bool,
        channels: int,
        outputs: int,
        width: int,
        domains: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = norm(width, domains)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inner = width
        for stage, count in enumerate(layers):
            blocks = nn.ModuleList()
            for number in range(count):
                stride = 2 if stage and not number else 1
                blocks.append(Block(inner, width * 2**stage, stride, bottleneck, domains))
                inner = width * 2**stage * (4 if bottleneck else 1)
            self.add_module(f"layer{stage + 1}", blocks)
        self.fc = nn.Linear(inner, outputs)

    def forward(self, images: Tensor, domain: int = 0) -> Tensor:
        found = self.maxpool(functional.relu(self.bn1(self.conv1(images), domain)))
        for stage in (1, 2, 3, 4):
            for block in self.get_submodule(f"layer{stage}").children():
                found = block(found, domain)
        logits: Tensor = self.fc(found.mean((2, 3)))
        return logits


KINDS: dict[str, tuple[Layers, bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}


def network(
    kind: str,
    *,
    channels: int = 3,
    outputs: int = 1,
    width: int = 8,
    domains: int = 2,
    seed: int = 0,
) -> ResNet:
    """A network with random weights, random affine parameters and random running statistics."""
    made = ResNet(*KINDS[kind], channels, outputs, width, domains)
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in made.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
        elif tensor.ndim > 1:
            noise = torch.randn(tensor.shape, generator=draw)
            tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=draw)
            tensor.copy_(0.2 * noise + (0.5 if name.endswith("weight") else 0))
        else:
            tensor.fill_(1000)
    return made.eval()
