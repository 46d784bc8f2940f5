"""From one picture of a data set to one image of a store; this is what runs in the workers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.data.decode import stretch
from medrobust.data.geometry import Geometry, fit
from medrobust.data.settings import Settings
from medrobust.data.similar import perceptual_hash
from medrobust.data.source import Box, Mask, Picture, Source
from medrobust.errors import MedrobustError

Row = Mapping[str, Any]


class UnreadableError(MedrobustError):
    """The data set as a whole cannot be read, as opposed to one of its images."""


@dataclass(frozen=True)
class Image:
    """An image as the store holds it, and what is known of it."""

    pixels: NDArray[np.unsignedinteger]
    """(C, H, W) or (C, D, H, W), uint8 or uint16."""
    numbers: tuple[float, ...]
    """native_low, native_high, then spacing, scale and offset per axis."""
    digest: str
    """Of the native pixels: equal for identical images."""
    look: int
    """Of the stored pixels: nearly equal for similar images."""
    note: str
    masks: tuple[Mask, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Reject:
    """An image that cannot be used."""

    reason: str


def convert(row: Row, source: Source, settings: Settings) -> Image | Reject:
    """Read the picture of a row and bring it to the store's size and depth.

    Raises `UnreadableError` when the data set as a whole cannot be read.
    """
    try:
        picture = _read(source, row)
        geometry = fit(
            picture.pixels.shape[1:], settings.size, settings.keep_aspect, picture.spacing
        )
    except UnreadableError:
        raise
    except MedrobustError as error:
        return Reject(str(error))
    pixels = geometry.pixels(picture.pixels, picture.low)
    stored = stretch(pixels, picture.low, picture.high, settings.bits)
    return Image(
        pixels=stored,
        numbers=_numbers(picture, geometry),
        digest=_digest(picture.pixels),
        look=perceptual_hash(stored),
        note=picture.note,
        masks=_united([_moved(mask, geometry) for mask in picture.masks]),
        boxes=tuple(geometry.box(box) for box in picture.boxes),
    )


def _read(source: Source, row: Row) -> Picture:
    try:
        picture = source.read(row)
    except OSError as error:
        raise UnreadableError(f"{row['file']} cannot be read: {error}") from error
    if picture.pixels.ndim not in (3, 4) or 0 in picture.pixels.shape:
        raise MedrobustError(f"expected (C, H, W) or (C, D, H, W), got {picture.pixels.shape}")
    if picture.pixels.dtype.kind == "f" and not np.isfinite(picture.pixels).all():
        raise MedrobustError("some pixels are not finite")
    if not abs(picture.high - picture.low) > 0:
        raise MedrobustError(f"the window [{picture.low}, {picture.high}] is empty")
    return picture


def _moved(mask: Mask, geometry: Geometry) -> Mask:
    if mask.pixels.shape != geometry.source:
        raise ValueError(f"mask {mask.name}: {mask.pixels.shape} is not {geometry.source}")
    return replace(mask, pixels=geometry.mask(mask.pixels))


def _united(masks: list[Mask]) -> tuple[Mask, ...]:
    """Unite the masks of one name and kind."""
    united: dict[tuple[str, str], Mask] = {}
    for mask in masks:
        key = (mask.name, mask.kind)
        other = united.get(key)
        united[key] = replace(mask, pixels=other.pixels | mask.pixels) if other else mask
    return tuple(united.values())


def _digest(pixels: NDArray[Any]) -> str:
    hasher = blake2b(f"{pixels.dtype}{pixels.shape}".encode(), digest_size=16)
    hasher.update(np.ascontiguousarray(pixels).data)
    return hasher.hexdigest()


def _numbers(picture: Picture, geometry: Geometry) -> tuple[float, ...]:
    native = picture.spacing or (np.nan,) * len(geometry.source)
    spacing = (mm * scale for mm, scale in zip(native, geometry.scale, strict=True))
    numbers = (picture.low, picture.high, *spacing, *geometry.scale, *geometry.offset)
    return tuple(float(number) for number in numbers)
