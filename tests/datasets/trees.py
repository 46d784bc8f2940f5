"""A small tree of every data set in its raw layout, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from test_dicom_folder import write as write_dicom
from test_kneemri import tree as knees
from test_luna16 import tree as scans

from medrobust.data.source import Source
from medrobust.datasets.arrays import Arrays
from medrobust.datasets.chexpert import CheXpert
from medrobust.datasets.dicom import Dicom
from medrobust.datasets.images import Images
from medrobust.datasets.kneemri import KneeMRI
from medrobust.datasets.luna16 import LUNA16
from medrobust.datasets.medmnist import MedMNIST
from medrobust.datasets.nih import NIH
from medrobust.datasets.phantom import Phantom
from test_chexpert_path import chexpert, nih


@dataclass(frozen=True)
class Tree:
    """How to write a tree into an empty folder, and how to open it."""

    write: Callable[[Path], object]
    open: Callable[[Path], Source]
    files: str = ""
    """Pattern of the files that hold one image each; empty where there are none."""


def write_images(root: Path) -> None:
    """24 PNG and TIFF files of 16 and 8 bits with masks, and a table."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "masks").mkdir()
    names = [f"{number:02d}.{'tif' if number % 3 else 'png'}" for number in range(24)]
    for number, name in enumerate(names):
        deep = rng.integers(0, 60_000, (20, 17)).astype(np.uint16)
        Image.fromarray(deep).save(root / "images" / name)
        mask = np.zeros((20, 17), np.uint8)
        mask[4:9, 5:12] = number % 2 + 2
        Image.fromarray(mask).save(root / "masks" / f"{number:02d}.png")
    pd.DataFrame(
        {
            "image": names,
            "patient": [f"p{n // 2}" for n in range(24)],
            "ill": [n % 2 for n in range(24)],
        }
    ).to_csv(root / "table.csv", index=False)


def open_images(root: Path) -> Images:
    return Images(
        root / "table.csv",
        root / "images",
        image_column="image",
        labels={"ill": "ill"},
        patient_column="patient",
        masks=root / "masks",
        mask_bits="1=ill,2=lung:anatomy",
    )


def write_dicoms(root: Path) -> None:
    for number in range(24):
        write_dicom(root / "files" / f"IM{number:02d}", number)
    rows = [f"IM{number:02d},{number % 2}" for number in range(24)]
    (root / "labels.csv").write_text("\n".join(["file,ill", *rows]))


def write_arrays(root: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 65_536, (24, 9, 8), dtype=np.uint16)
    np.savez(root / "a.npz", images=images, labels=np.arange(24) % 3)


def write_medmnist(root: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in {"train": 20, "val": 8, "test": 8}.items():
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 6, 7, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(root / "nodulemnist3d.npz", **arrays)


TREES = {
    "phantom": Tree(lambda root: None, lambda root: Phantom(24, 32)),
    "medmnist": Tree(write_medmnist, MedMNIST),
    "arrays": Tree(write_arrays, lambda root: Arrays(root / "a.npz")),
    "images": Tree(write_images, open_images, "images/*"),
    "dicom": Tree(
        write_dicoms,
        lambda root: Dicom(root / "files", root / "labels.csv", {"ill": "ill"}),
        "files/*",
    ),
    "chexpert": Tree(lambda root: chexpert(root / "CheXpert-v1.0", 24), CheXpert, "**/*.jpg"),
    "nih": Tree(lambda root: nih(root / "CXR8", 24), NIH, "**/*.png"),
    "kneemri": Tree(lambda root: knees(root / "kneeMRI", 9), KneeMRI, "**/*.pck"),
    "kneemri volumes": Tree(
        lambda root: knees(root / "kneeMRI", 12),
        lambda root: KneeMRI(root, volume=True),
        "**/*.pck",
    ),
    "luna16": Tree(lambda root: scans(root / "LUNA16", 12), LUNA16, "**/*.raw"),
    "luna16 cubes": Tree(
        lambda root: scans(root / "LUNA16", 12),
        lambda root: LUNA16(root, dims="3d", pixels=16),
        "**/*.mhd",
    ),
}
