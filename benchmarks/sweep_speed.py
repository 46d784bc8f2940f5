"""A sweep over 21 radii against attacking one image at a time (ResNet-50, 64 px).

python benchmarks/sweep_speed.py [--images 16] [--threads 2] [--json FILE]

The plain way is that of the published code: an image, a radius, a clean pass, ten steps of sign
gradient ascent from the image, a pass of the result; then the next radius. The gradient is taken as
`loss.backward()` does, parameters included. Ours is that of `medrobust evaluate`: APGD with as many
steps, all images of a batch at once, with what radii share and batch norms folded. Seconds are per
image.
"""

import argparse
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from measure import interleaved, ratio, report
from medrobust.assault import Assault, Shown, attack_images
from medrobust.attacks.suite import Budget, suite_of
from medrobust.folding import folded
from medrobust.networks import Classifier, build_backbone
from medrobust.randomness import image_keys, key

RADII = tuple(np.linspace(0, 0.01, 21)[1:].tolist())
STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--alone", type=int, default=1, help="images attacked one at a time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    backbone = build_backbone("resnet50", channels=1, outputs=1)
    network = Classifier(backbone, [0.5], [0.25], 2).eval()
    images = torch.rand(given.images, 1, 64, 64)
    labels = torch.randint(0, 2, (given.images, 1)).float()
    jobs = {
        "one image at a time": lambda: plain(network, images[: given.alone], labels),
        "ours": lambda: ours(network, images, labels),
    }
    seconds = interleaved(jobs, given.repeats)
    counts = {"one image at a time": given.alone, "ours": given.images}
    each = {name: [s / counts[name] for s in values] for name, values in seconds.items()}
    rows = [{"what": name, "seconds per image": median(each[name])} for name in jobs]
    rows[1]["times faster"] = ratio(each, "one image at a time", "ours")
    rows[0]["times faster"] = 1.0
    title = f"21 radii, {STEPS} steps, ResNet-50 at 64 px, {given.threads} threads"
    report(title, rows, given.json)


def plain(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """The published way, image by image and radius by radius."""
    for image, label in zip(images.split(1), labels.split(1), strict=False):
        for radius in RADII:
            with torch.no_grad():
                network(image)
            attacked = image.clone()
            for _ in range(STEPS):
                attacked = attacked.detach().requires_grad_()
                F.binary_cross_entropy_with_logits(network(attacked), label).backward()
                moved = attacked.detach() + radius / 2 * attacked.grad.sign()
                attacked = torch.clamp(image + (moved - image).clamp(-radius, radius), 0, 1)
            with torch.no_grad():
                network(attacked)
    network.zero_grad()


def ours(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """All images and radii as one sweep; folding the batch norms counts."""
    network = folded(network, images[:2])
    members = suite_of(
        "fast", task="multilabel", findings=1, norm="linf", budget=Budget(steps=STEPS)
    )
    assault = Assault(
        members, "net", {"net": network}, {"net": torch.zeros(1)}, RADII, "linf", "multilabel"
    )
    keys = image_keys(key(0, "benchmark"), torch.arange(len(images)))
    none = torch.zeros(len(images), dtype=torch.bool)
    attack_images(assault, Shown(images, labels, keys, kept=none, checked=none))


if __name__ == "__main__":
    main()
