"""How fast batches come from a store, against decoding PNG files anew in every epoch.

    OMP_NUM_THREADS=1 python benchmarks/batches.py [--json FILE]

Images of 256 x 256 in a temporary folder: a store of 8 bits read by one process, and the same
images as PNG files read by a PyTorch DataLoader with two workers. Then both with augmentation:
ours of whole batches, theirs image by image as the published pipeline has it (resize, pad, flip,
colour jitter 0.3, affine 25 degrees / shift 0.2 / scale 0.8 to 1.2 / shear 10, random crop).
"""

import argparse
import math
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch.utils.data import DataLoader, Dataset

from measure import interleaved, ratio, report
from medrobust.data.augment import Augmentation
from medrobust.data.batches import TrainingBatches, training_batches
from medrobust.data.prepare import prepare
from medrobust.datasets.arrays import Arrays
from medrobust.datasets.phantom import Phantom
from medrobust.randomness import image_keys, key

SIDE, BATCH = 256, 64
AUGMENTATION = Augmentation(25, 0.2, 0.2, 0.3, 0.3, flip=True)
"""As strong as the published one."""


class Files(Dataset):
    """PNG files, decoded and, where asked, augmented one by one."""

    def __init__(self, files: list[Path], augmented: bool) -> None:
        self.files, self.augmented = files, augmented

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self.files[number]) as image:
            grey = image.convert("L")
        grey = published(grey) if self.augmented else grey
        return torch.from_numpy(np.array(grey, dtype=np.float32)[None] / 255)


def published(image: Image.Image) -> Image.Image:
    """The augmentation of the published code, with Pillow."""
    rng = np.random.default_rng()
    image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    padded = Image.new("L", (SIDE + 8, SIDE + 8))
    padded.paste(image, (4, 4))
    if rng.random() < 0.5:
        padded = padded.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    padded = ImageEnhance.Brightness(padded).enhance(rng.uniform(0.7, 1.3))
    padded = ImageEnhance.Contrast(padded).enhance(rng.uniform(0.7, 1.3))
    angle, shear = np.radians(rng.uniform(-25, 25)), np.radians(rng.uniform(-10, 10))
    scale, middle = rng.uniform(0.8, 1.2), padded.width / 2
    shift = rng.uniform(-0.2, 0.2, 2) * padded.width
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    matrix = np.array([[cosine, sine + math.tan(shear)], [-sine, cosine]])
    offset = np.array([middle, middle]) - matrix @ (np.array([middle, middle]) + shift)
    affine = (*matrix[0], offset[0], *matrix[1], offset[1])
    moved = padded.transform(padded.size, Image.Transform.AFFINE, affine, Image.Resampling.NEAREST)
    left, top = rng.integers(0, 9, 2)
    return moved.crop((left, top, left + SIDE, top + SIDE))


def through_store(batches: TrainingBatches, augmented: bool, epochs: int) -> int:
    """Read some epochs from the store; the number of images."""
    augment, seen = AUGMENTATION, 0
    for epoch in range(epochs):
        for batch in batches.epoch(epoch):
            images = batch.images
            if augmented:
                images = augment(images, image_keys(key(0, "augment", epoch), batch.rows))
            seen += len(images)
    return seen


def through_loader(loader: "DataLoader[torch.Tensor]") -> int:
    """Read an epoch of files; the number of images."""
    return sum(len(images) for images in loader)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), given.images, given.repeats)
    report(f"Batches of {BATCH} images of {SIDE} x {SIDE}, images a second", rows, given.json)


def measure(folder: Path, count: int, repeats: int) -> list[dict[str, object]]:
    """Make the data, read them in four ways, and compare."""
    pixels = pictures(count)
    (folder / "arrays").mkdir()
    split = np.repeat(["train", "val", "test"], [count, 32, 32])
    for name, array in {
        "images": np.concatenate([pixels, pixels[:64]]),
        "labels": np.arange(count + 64) % 2,
        "split": split,
    }.items():
        np.save(folder / "arrays" / f"{name}.npy", array)
    source = Arrays(folder / "arrays", split="split")
    store = prepare(source, folder / "store", size=None)
    files = [folder / f"{number}.png" for number in range(count)]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    ours = training_batches(
        store, batch_size=BATCH, seed=0, device=torch.device("cpu"), on_device=True
    )
    loaders = {
        augmented: DataLoader(Files(files, augmented), BATCH, shuffle=True, num_workers=2)
        for augmented in (False, True)
    }
    epochs = {False: 10, True: 1}
    rows = []
    for augmented in (False, True):
        seconds = interleaved(
            {
                "store": lambda a=augmented: through_store(ours, a, epochs[a]),
                "files": lambda a=augmented: through_loader(loaders[a]),
            },
            repeats,
        )
        read = epochs[augmented] * len(ours) * BATCH
        rows.append(
            {
                "what": "with augmentation" if augmented else "without augmentation",
                "store, one process": read / median(seconds["store"]),
                "PNG, two workers": count / median(seconds["files"]),
                "ratio": ratio(seconds, "files", "store") * read / count,
            }
        )
    return rows


def pictures(count: int) -> np.ndarray:
    """Generated radiographs of 8 bits with a little noise, so that PNG files have a true size."""
    source = Phantom(20, SIDE)
    table = source.index()
    drawn = [source.read(row).pixels[0] >> 4 for row in table.to_dict("records")]
    noise = np.random.default_rng(0).integers(-4, 5, (count, SIDE, SIDE))
    base = np.stack(drawn)[np.arange(count) % len(drawn)].astype(np.int16)
    return np.clip(base + noise, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
