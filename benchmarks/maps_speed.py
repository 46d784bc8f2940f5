"""Gradient maps in batches against one image at a time (ResNet-18, 64 px).

python benchmarks/maps_speed.py [--images 1000] [--threads 2] [--json FILE]

The plain way is that of the published code: an image, a pass, `backward()` from the sum of its
logits with parameters included, the image's gradient as an array; then the next image. Ours are the
maps of one finding: batches, no gradient of parameters, and with batch norms folded (folding is
timed too). That both give the same maps is checked first. Then all scores of as many maps.
"""

import argparse
import copy
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from measure import interleaved, ratio, report
from medrobust.explain.localisation import Tolerance, score_map
from medrobust.explain.saliency import gradient
from medrobust.folding import folded
from medrobust.networks import Classifier, build_backbone

Maps = NDArray[np.floating]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", channels=1, outputs=1)
    network = Classifier(backbone, [0.5], [0.25], 2).eval()
    images = torch.rand(given.images, 1, 64, 64)
    check(network, images[:8])
    jobs = {
        "one image at a time": lambda: one_by_one(network, images),
        "batches": lambda: batches(network, images, given.batch_size),
        "batches, norms folded": lambda: batches(
            folded(network, images[:1]), images, given.batch_size
        ),
    }
    seconds = interleaved(jobs, given.repeats)
    rows = [
        {
            "what": name,
            "seconds": median(seconds[name]),
            "ms per image": 1000 * median(seconds[name]) / given.images,
            "times faster": ratio(seconds, "one image at a time", name),
        }
        for name in jobs
    ]
    title = f"{given.images} gradient maps, ResNet-18 at 64 px, {given.threads} threads"
    report(title, rows, given.json)
    maps = np.random.default_rng(0).normal(size=(given.images, 64, 64)).astype(np.float32)
    taken = median(interleaved({"scores": lambda: score(maps)}, given.repeats)["scores"])
    report(
        f"All scores of {given.images} maps of 64 px", [{"what": "scores", "seconds": taken}], None
    )


def score(maps: Maps) -> None:
    """Hit rate with a tolerance, mass, rank, average precision and overlap of each."""
    mask = np.zeros(maps.shape[1:], bool)
    mask[20:30, 30:45] = True
    for one in maps:
        score_map(one, mask, Tolerance(2), 0.5)


def one_by_one(network: nn.Module, images: Tensor) -> Maps:
    """The published way, (N, H, W)."""
    maps = []
    for image in images.split(1):
        shown = image.clone().requires_grad_()
        network.zero_grad()
        network(shown).sum().backward()
        maps.append(shown.grad.detach().numpy()[0, 0])
    network.zero_grad()
    return np.stack(maps)


def batches(network: nn.Module, images: Tensor, size: int) -> Maps:
    """Ours, (N, H, W)."""
    return np.concatenate([gradient(network, batch, 0).numpy() for batch in images.split(size)])


def check(network: nn.Module, images: Tensor) -> None:
    """Raise where the ways differ; in double precision, since rounding can flip a ReLU."""
    exact, images = copy.deepcopy(network).double(), images.double()
    expected = one_by_one(exact, images)
    for one in (exact, folded(exact, images[:1])):
        np.testing.assert_allclose(batches(one, images, len(images)), expected, atol=1e-9)


if __name__ == "__main__":
    main()
