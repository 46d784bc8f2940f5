"""What is timed: a network with two sets of batch norms, and a batch of images."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from medrobust.attacks.ball import Ball
from medrobust.dual import DualBN
from medrobust.networks import Classifier, build_backbone
from medrobust.randomness import image_keys, key, seeded

RADIUS, STEPS = 4 / 255, 10


@dataclass(frozen=True)
class Case:
    """A network and a batch, the same on every machine."""

    network: str = "resnet50"
    batch: int = 8
    channels: int = 3
    size: int = 64
    outputs: int = 8
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)
    """Of the network."""

    @property
    def title(self) -> str:
        """`resnet50, 8x3x64x64, 8 outputs, cpu`."""
        shape = f"{self.batch}x{self.channels}x{self.size}x{self.size}"
        return f"{self.network}, {shape}, {self.outputs} outputs, {self.device}"

    def model(self) -> DualBN:
        """A fresh dual model whose running statistics are those of two batches."""
        with seeded(key(0, "bench")):
            backbone = build_backbone(
                self.network, channels=self.channels, outputs=self.outputs, **self.options
            )
        mean, spread = [0.5] * self.channels, [0.25] * self.channels
        model = DualBN(Classifier(backbone, mean, spread, 2)).to(self.device).train()
        with torch.no_grad():
            for _ in range(2):
                model({"clean": self.images, "adv": self.images})
        return model

    @property
    def images(self) -> Tensor:
        """(N, C, H, W) in [0, 1]."""
        return self._drawn((self.batch, self.channels, self.size, self.size))

    @property
    def labels(self) -> Tensor:
        """(N, K) in {0, 1}."""
        return (self._drawn((self.batch, self.outputs)) > 0.5).float()

    @property
    def keys(self) -> Tensor:
        """(N,) of the attack's random starts."""
        return image_keys(key(0, "bench"), torch.arange(self.batch)).to(self.device)

    @property
    def ball(self) -> Ball:
        """l∞ of 4/255."""
        return Ball("linf", RADIUS)

    @property
    def start(self) -> Tensor:
        """Where PGD begins with these keys."""
        return self.ball.start(self.images, image_keys(key("restart", 0), self.keys))

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        draw = torch.Generator().manual_seed(0)
        return torch.rand(shape, generator=draw).to(self.device)


def waiting(case: Case) -> None:
    """Wait until a GPU has done what it was given."""
    if case.device.startswith("cuda"):
        torch.cuda.synchronize()


def classifier(model: DualBN) -> nn.Module:
    """The branch that is attacked."""
    return model.branch("adv")
