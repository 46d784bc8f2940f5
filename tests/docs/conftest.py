"""What a reader of the documentation has at hand: images with a table, a MedMNIST file, configs."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_pages import ROOT
from PIL import Image


@pytest.fixture(scope="session")
def belongings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images/`, `labels.csv`, `external.csv`, `pneumoniamnist.npz`, `configs/`."""
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
    return folder
