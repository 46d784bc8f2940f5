"""The published recipe, written plainly: what our times are held against.

Han et al., Nature Communications 12:4315 (2021): projected gradient ascent by sign steps, then one
forward and backward pass of clean images through the clean norms and of attacked images through
the adversarial norms. The mathematics is that of the product; nothing is done for speed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from medrobust.dual import DualBN


def attack(
    network: nn.Module, images: Tensor, labels: Tensor, start: Tensor, radius: float, steps: int
) -> Tensor:
    """Sign steps of 2.5 · radius / steps from `start`, in l∞ and in [0, 1]."""
    network.eval()
    attacked, size = start, 2.5 * radius / steps
    for _ in range(steps):
        attacked = attacked.detach().requires_grad_()
        loss = F.binary_cross_entropy_with_logits(network(attacked), labels, reduction="sum")
        gradient = torch.autograd.grad(loss, attacked)[0]
        moved = attacked.detach() + size * gradient.sign()
        attacked = (images + (moved - images).clamp(-radius, radius)).clamp(0, 1)
    network.train()
    return attacked.detach()


def step(
    model: DualBN,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    radius: float,
    steps: int,
) -> Tensor:
    """One update by clean and attacked images; the loss before it."""
    attacked = attack(model.branch("adv"), images, labels, start, radius, steps)
    model.train()
    clean = F.binary_cross_entropy_with_logits(model.branch("clean")(images), labels)
    robust = F.binary_cross_entropy_with_logits(model.branch("adv")(attacked), labels)
    loss = clean + robust
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()
    return loss.detach()


def sweep(
    network: nn.Module, images: Tensor, labels: Tensor, radii: tuple[float, ...], steps: int
) -> None:
    """Image by image and radius by radius: a clean pass, an attack from the image, a last pass."""
    network.eval()
    for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
        for radius in radii:
            with torch.no_grad():
                network(image)
            attacked = image
            for _ in range(steps):
                attacked = attacked.detach().requires_grad_()
                loss = F.binary_cross_entropy_with_logits(network(attacked), label)
                torch.autograd.backward(loss)  # of the weights, too
                moved = attacked.detach() + radius / 2 * _gradient(attacked).sign()
                attacked = (image + (moved - image).clamp(-radius, radius)).clamp(0, 1)
            with torch.no_grad():
                network(attacked)
    network.zero_grad()


def _gradient(images: Tensor) -> Tensor:
    return torch.zeros_like(images) if images.grad is None else images.grad


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """One PNG an image, read when it is its turn."""

    def __init__(self, files: list[Path], labels: Tensor) -> None:
        self.files, self.labels = files, labels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.files[place]) as picture:
            pixels = np.array(picture, dtype=np.float32) / 255
        return torch.from_numpy(pixels)[None], self.labels[place]


def batches(pictures: Pictures, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch in random order."""
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(pictures, batch_size, shuffle=True)
    yield from loader
