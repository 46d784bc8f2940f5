"""What a reader of the documentation has at hand: images with a table, a MedMNIST file, configs."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from markdown_pages import ROOT
from PIL import Image

from medrobust.networks import build_backbone


@pytest.fixture(scope="session")
def belongings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images/`, `labels.csv`, `external.csv`, `pneumoniamnist.npz`, `configs/`.

    And `checkpoint_best.pth`, as the published code writes it, of a small network.
    """
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "configs", folder / "configs")
    noise = np.random.default_rng(0)
    labels = noise.integers(0, 2, 90)
    bright = noise.integers(0, 150, (90, 64, 64)) + 100 * labels[:, None, None]
    images = bright.astype(np.uint8)
    (folder / "images").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / "images" / f"{number:03d}.png")
    table = pd.DataFrame(
        {
            "image": [f"{number:03d}.png" for number in range(90)],
            "patient": [f"p{number // 2:03d}" for number in range(90)],
            "age": 40,
            "label": labels,
        }
    )
    table.to_csv(folder / "labels.csv", index=False)
    table.assign(split="test")[:20].to_csv(folder / "external.csv", index=False)
    parts = {"train": slice(0, 50), "val": slice(50, 70), "test": slice(70, 90)}
    arrays = {
        f"{split}_images": images[part, ::2, ::2][:, 2:30, 2:30] for split, part in parts.items()
    }
    arrays |= {f"{split}_labels": labels[part, None] for split, part in parts.items()}
    np.savez(folder / "pneumoniamnist.npz", **arrays)
    torch.save(published_weights(), folder / "checkpoint_best.pth")
    return folder


def published_weights() -> dict[str, torch.Tensor]:
    """A dual ResNet-18 with every norm twice, under `bns.0` and `bns.1`."""
    plain = build_backbone("resnet18", channels=3, outputs=1, width=4).state_dict()
    tensors = {}
    for name, tensor in plain.items():
        layer, _, part = name.rpartition(".")
        is_norm = f"{layer}.running_mean" in plain
        for half in (".bns.0", ".bns.1") if is_norm else ("",):
            tensors[f"{layer}{half}.{part}"] = tensor.clone()
    return tensors
