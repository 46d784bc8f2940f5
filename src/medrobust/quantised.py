"""Attacked images as PNG files, and back: what is left of an attack once it is stored.

A folder holds a PNG per image (for volumes a folder of PNGs, one per slice), `images.csv` with
`image_id, file`, and `levels.json`, which says what the integers mean: the native value is pixel +
offset, and x = (native − low) / (high − low).
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError, model_validator
from torch import Tensor

from medrobust.data.table import read_table
from medrobust.errors import MedrobustError
from medrobust.files import file_name, new_folder, write_csv, write_json

Depth = Literal["8", "16", "stored"]
MOST = 2**16 - 1
"""The largest integer in a PNG."""
LONGEST = 50
"""Letters of an image's id in its file's name: up to 4 bytes each, and 255 bytes are allowed."""
REMEDY = "write the images again"


class Native(NamedTuple):
    """Native values of x = 0 and x = 1, (n,) each, as a store's `native_low` and `native_high`."""

    low: ArrayLike
    high: ArrayLike


class Level(BaseModel, frozen=True, extra="forbid"):
    """What an image's integers mean."""

    low: FiniteFloat
    """Native value of x = 0."""
    high: FiniteFloat
    offset: int
    """Native value of pixel 0."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("expected low < high")
        return self


class Levels(BaseModel, frozen=True, extra="forbid"):
    """What `levels.json` holds."""

    depth: Depth
    shape: tuple[PositiveInt, ...] = Field(min_length=3, max_length=4)
    """(C, H, W) or (C, D, H, W), of every image."""
    images: dict[Annotated[str, Field(pattern=r"^\d+-[^/\\]+$")], Level]
    """By file."""


def write_images(
    folder: Path,
    image_ids: Sequence[str],
    images: Tensor,
    depth: Depth,
    native: Native | None = None,
    overwrite: bool = False,
) -> None:
    """Write images to a new folder, rounded to whole levels; it appears whole or not at all.

    Args:
        folder: where to; missing parents are made.
        image_ids: n different ids. Files are numbered and bear what of the id a file name may.
        images: (n, C, H, W) or (n, C, D, H, W) in [0, 1], on any device; C is 1, or 3 (colour).
        depth: `8` and `16` spread [0, 1] over all integers of so many bits; `stored` keeps the
            levels of the source, round(low + x · (high − low)), which may be negative as in CT.
        native: what x = 0 and x = 1 are in the source; for `stored` alone.
        overwrite: replace an old folder.

    Raises:
        MedrobustError: unknown depth; ids that are repeated, empty or not writable, or not one per
            image; values outside [0, 1]; channels that are neither grey nor 8-bit colour; no native
            values, or none that are apart by 1 to 65535; an old folder; a full disk.
    """
    check_images(images, depth)
    _check_ids(image_ids, len(images))
    files = _files(image_ids, ".png" if images.ndim == 4 else "")
    levels = dict(zip(files, levels_of(depth, native, image_ids), strict=True))
    meaning = Levels(depth=depth, shape=tuple(images.shape[1:]), images=levels)
    with new_folder(folder, overwrite) as new:
        for file, image in zip(files, images.detach(), strict=True):
            _save(new / file, _integers(image, levels[file], depth))
        write_csv(new / "images.csv", pd.DataFrame({"image_id": list(image_ids), "file": files}))
        write_json(new / "levels.json", meaning.model_dump())


def read_images(folder: Path) -> tuple[list[str], Tensor]:
    """The ids of written images, in the order in which they were given, and the images.

    (n, C, H, W) or (n, C, D, H, W), float32 in [0, 1]: what the files hold, at most half a level
    from what was written.

    Raises:
        MedrobustError: a file that is missing, damaged, no PNG or of another size or kind than
            `levels.json` says; a table or levels that cannot be read or contradict each other.
    """
    levels = _read_levels(folder / "levels.json")
    image_ids = _read_ids(folder / "images.csv", list(levels.images))
    images = np.empty((len(image_ids), *levels.shape), dtype=np.float32)
    for image, (file, level) in zip(images, levels.images.items(), strict=True):
        native = _load(folder / file, levels) + (level.offset - level.low)
        # a window may begin or end between two levels, and the nearest be just outside
        image[...] = np.clip(native / (level.high - level.low), 0, 1)
    return image_ids, torch.from_numpy(images)


def check_images(images: Tensor, depth: Depth) -> None:
    """Raise MedrobustError for images that can't be written with this depth."""
    if depth not in get_args(Depth):
        raise MedrobustError(f"depth: expected one of {get_args(Depth)}, found {depth!r}")
    shape = tuple(images.shape)
    if images.ndim not in (4, 5) or shape[1] not in (1, 3) or 0 in shape[1:]:
        raise MedrobustError(
            f"images: expected (n, C, H, W) or (n, C, D, H, W) with 1 or 3 channels, found {shape}"
        )
    if shape[1] == 3 and depth != "8":
        raise MedrobustError(
            f"depth: expected '8' for images in colour (PNG files have no more here), found "
            f"{depth!r}; write 8 bits or one channel"
        )
    if not ((images >= 0) & (images <= 1)).all():
        low, high = float(images.min()), float(images.max())
        raise MedrobustError(
            f"images: expected values in [0, 1], found {low:.4g} to {high:.4g}; clip them first"
        )


def _check_ids(image_ids: Sequence[str], images: int) -> None:
    if len(image_ids) != images:
        raise MedrobustError(f"image ids: expected one per image, {images}, found {len(image_ids)}")
    for image_id in image_ids:
        if not image_id or re.search("[\x00-\x1f\ud800-\udfff]", image_id):
            raise MedrobustError(
                f"image ids: expected text without control characters, found {image_id!r}"
            )
    for image_id, times in Counter(image_ids).most_common(1):
        if times > 1:
            raise MedrobustError(f"image ids: expected each once, found {image_id!r} {times} times")


def _files(image_ids: Sequence[str], suffix: str) -> list[str]:
    """A number makes every name unlike the others, in capitals too, and unlike a device's."""
    digits = len(str(len(image_ids)))
    names = [file_name(image_id)[:LONGEST].rstrip(" .") or "_" for image_id in image_ids]
    return [f"{number:0{digits}d}-{name}{suffix}" for number, name in enumerate(names)]


def levels_of(depth: Depth, native: Native | None, image_ids: Sequence[str]) -> list[Level]:
    """What the integers of each image mean.

    Raises:
        MedrobustError: `stored` without native values, or with ends that are not 1 to 65535 apart.
    """
    if depth != "stored":
        return [Level(low=0, high=2 ** int(depth) - 1, offset=0) for _ in image_ids]
    if native is None:
        raise MedrobustError(
            "depth 'stored': expected the native values of x = 0 and x = 1, found none; "
            "give them or choose '8' or '16'"
        )
    low, high = (np.asarray(end, dtype=np.float64) for end in native)
    if low.shape != (len(image_ids),) or high.shape != low.shape:
        raise MedrobustError(
            f"native: expected two values per image, {len(image_ids)} each, found shapes "
            f"{low.shape} and {high.shape}"
        )
    for image_id, first, last in zip(image_ids, low, high, strict=True):
        if not 1 <= np.rint(last) - np.rint(first) <= MOST:
            raise MedrobustError(
                f"native: expected finite values that are 1 to {MOST} apart, found {first:g} and "
                f"{last:g} for image {image_id!r}; choose '8' or '16'"
            )
    return [
        Level(low=first, high=last, offset=round(first))
        for first, last in zip(low.tolist(), high.tolist(), strict=True)
    ]


def _integers(image: Tensor, level: Level, depth: Depth) -> NDArray[np.unsignedinteger]:
    values = image.cpu().double().numpy()
    native = np.rint(level.low + values * (level.high - level.low))
    return (native - level.offset).astype(np.uint8 if depth == "8" else np.uint16)


def _save(path: Path, pixels: NDArray[np.unsignedinteger]) -> None:
    """An image (C, H, W) as a file, or a volume (C, D, H, W) as a folder."""
    if pixels.ndim == 4:
        path.mkdir()
        for number in range(pixels.shape[1]):
            _save(path / _slice_name(number), pixels[:, number])
        return
    picture = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    Image.fromarray(np.ascontiguousarray(picture)).save(path, "PNG")


def _slice_name(number: int) -> str:
    return f"{number:04d}.png"


def _read_levels(path: Path) -> Levels:
    try:
        return Levels.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        where = f"{path}: {field}" if field else path
        raise MedrobustError(f"{where}: {first['msg']}; {REMEDY}") from error
    except OSError as error:
        raise MedrobustError(
            f"{path}: expected what the images' integers mean, found no such file; {REMEDY}"
        ) from error


def _read_ids(path: Path, files: list[str]) -> list[str]:
    table = read_table(path, numbers=())
    if list(table.columns) != ["image_id", "file"] or table["file"].tolist() != files:
        raise MedrobustError(
            f"{path}: expected image_id and file, the files those of levels.json, found others; "
            f"{REMEDY}"
        )
    image_ids = table["image_id"].fillna("").tolist()
    _check_ids(image_ids, len(files))
    return image_ids


def _load(path: Path, levels: Levels) -> NDArray[np.float64]:
    """(C, H, W) or (C, D, H, W) integers of an image."""
    channels, *depth, height, width = levels.shape
    mode = "RGB" if channels == 3 else "L" if levels.depth == "8" else "I;16"
    paths = [path / _slice_name(number) for number in range(depth[0])] if depth else [path]
    slices = [_decoded(one, mode, (width, height)) for one in paths]
    pixels = np.stack(slices).reshape(-1, height, width, channels)
    return np.moveaxis(pixels, -1, 0).reshape(levels.shape).astype(np.float64)


def _decoded(path: Path, mode: str, size: tuple[int, int]) -> NDArray[Any]:
    pixels = None
    try:
        with Image.open(path, formats=("PNG",)) as image:
            found = f"{image.mode} of {image.width} × {image.height}"
            if (image.mode, image.size) == (mode, size):
                pixels = np.array(image)
    except FileNotFoundError:
        found = "no such file"
    except UnidentifiedImageError:
        found = "a file that is no PNG"
    except Exception:  # Pillow raises nearly anything for what it cannot make sense of
        found = "a damaged file"
    if pixels is None:
        width, height = size
        raise MedrobustError(
            f"{path}: expected a PNG file, {mode} of {width} × {height} pixels, found {found}; "
            f"{REMEDY}"
        )
    return pixels
