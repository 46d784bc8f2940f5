"""From the pictures of a data set to the images of a store."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.decode import stretch
from medrobust.data.geometry import Geometry, fit
from medrobust.data.source import Mask, Picture, Source
from medrobust.data.splits import Fractions, check_fractions
from medrobust.data.table import examples
from medrobust.data.writer import StoreWriter
from medrobust.errors import MedrobustError


class UnreadableError(MedrobustError):
    """The data set as a whole cannot be read, as opposed to one of its images."""


Row = Mapping[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """How a store is made."""

    size: int | None
    """Store pixels per side; None keeps the images' own size, which must then be equal."""
    bits: Literal[8, 16] = 8
    keep_aspect: bool = False
    """Add a border of x = 0 instead of stretching to a square."""
    splits: Fractions = (0.7, 0.1, 0.2)
    """Shares of patients in train, val and test, where the data set has no split."""
    seed: int = 0
    max_rejects: float = 0.01
    """Largest share of images that may turn out to be unusable."""
    duplicates: Literal["report", "refuse"] = "report"
    """`refuse`: identical images in different splits are an error, not a warning."""

    def __post_init__(self) -> None:
        check_fractions(self.splits)
        if self.size is not None and self.size < 1:
            raise MedrobustError(f"size must be at least 1 pixel, got {self.size}")
        if not 0 <= self.max_rejects <= 1:
            raise MedrobustError(f"max_rejects must be in [0, 1], got {self.max_rejects}")


@dataclass
class Converted:
    """What is learned of the images while they are read."""

    kept: list[int] = field(default_factory=list)
    """Numbers of the index's rows that became images of the store."""
    numbers: list[tuple[float, ...]] = field(default_factory=list)
    """native_low, native_high, then spacing, scale and offset per axis, for each kept row."""
    hashes: list[bytes] = field(default_factory=list)
    """Of the native pixels of each kept row."""
    rejects: list[tuple[str, str]] = field(default_factory=list)
    """File and reason."""
    notes: Counter[str] = field(default_factory=Counter)
    brightest: int = 0
    shape: tuple[int, ...] = ()
    """(C, H, W) or (C, D, H, W) of the store's images."""


def convert_images(
    source: Source,
    table: pd.DataFrame,
    folder: Path,
    settings: Settings,
    progress: Progress | None = None,
) -> Converted:
    """Read each row's picture and write it to `images.npy` (and masks, boxes) in `folder`.

    Raises `MedrobustError` as soon as too many pictures cannot be used, with the reasons, and
    when the data set as a whole cannot be read.
    """
    converted = Converted()
    with StoreWriter(folder) as writer:
        for number, row in enumerate(_rows(table)):
            try:
                picture = _read(source, row)
                geometry = fit(picture.pixels.shape[1:], settings.size, settings.keep_aspect)
                _expect_shape(geometry, picture, converted.shape)
            except UnreadableError:
                raise
            except MedrobustError as error:
                converted.rejects.append((str(row["file"]), str(error)))
                _refuse_many(converted.rejects, settings.max_rejects, number + 1, len(table))
            else:
                _write(writer, str(row["image_id"]), picture, geometry, settings, converted)
                converted.kept.append(number)
            if progress is not None:
                progress(number + 1, len(table))
    return converted


def _rows(table: pd.DataFrame) -> Iterator[Row]:
    columns = list(table.columns)
    for values in table.itertuples(index=False, name=None):
        yield dict(zip(columns, values, strict=True))


def _read(source: Source, row: Row) -> Picture:
    try:
        picture = source.read(row)
    except OSError as error:
        raise UnreadableError(f"{row['file']} cannot be read: {error}") from error
    if picture.pixels.ndim not in (3, 4) or 0 in picture.pixels.shape:
        raise MedrobustError(f"expected (C, H, W) or (C, D, H, W), got {picture.pixels.shape}")
    if picture.pixels.dtype.kind == "f" and not np.isfinite(picture.pixels).all():
        raise MedrobustError("some pixels are not finite")
    if not picture.low < picture.high:
        raise MedrobustError(f"the window [{picture.low}, {picture.high}] is empty")
    return picture


def _expect_shape(geometry: Geometry, picture: Picture, shape: tuple[int, ...]) -> None:
    got = (len(picture.pixels), *geometry.store)
    if not shape or got == shape:
        return
    if got[0] != shape[0] or len(got) != len(shape):
        raise MedrobustError(
            f"expected {shape[0]} channels of {len(shape) - 1} axes like the first image, "
            f"got {got[0]} of {len(got) - 1}"
        )
    raise MedrobustError(
        f"expected {_by(shape[1:])} pixels like the first image, got {_by(got[1:])}: "
        "give a size to which all are resized (--size)"
    )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)


def _write(
    writer: StoreWriter,
    image_id: str,
    picture: Picture,
    geometry: Geometry,
    settings: Settings,
    converted: Converted,
) -> None:
    pixels = geometry.pixels(picture.pixels, picture.low)
    image = stretch(pixels, picture.low, picture.high, settings.bits)
    masks = tuple(_moved(mask, geometry) for mask in picture.masks)
    writer.add(image_id, image, masks, tuple(geometry.box(box) for box in picture.boxes))
    converted.shape = image.shape
    converted.brightest = max(converted.brightest, int(image.max()))
    converted.hashes.append(_hash(picture.pixels))
    converted.numbers.append(_numbers(picture, geometry))
    if picture.note:
        converted.notes[picture.note] += 1


def _moved(mask: Mask, geometry: Geometry) -> Mask:
    if mask.pixels.shape != geometry.source:
        raise ValueError(f"mask {mask.name}: {mask.pixels.shape} is not {geometry.source}")
    return replace(mask, pixels=geometry.mask(mask.pixels))


def _hash(pixels: NDArray[Any]) -> bytes:
    hasher = blake2b(f"{pixels.dtype}{pixels.shape}".encode(), digest_size=16)
    hasher.update(np.ascontiguousarray(pixels).data)
    return hasher.digest()


def _numbers(picture: Picture, geometry: Geometry) -> tuple[float, ...]:
    native = picture.spacing or (np.nan,) * len(geometry.source)
    spacing = (mm * scale for mm, scale in zip(native, geometry.scale, strict=True))
    return (picture.low, picture.high, *spacing, *geometry.scale, *geometry.offset)


def _refuse_many(
    rejects: list[tuple[str, str]], max_rejects: float, number: int, total: int
) -> None:
    if len(rejects) > max_rejects * total:
        raise MedrobustError(
            f"{len(rejects)} of the first {number} images cannot be used, more than "
            f"{max_rejects:.2%} of {total}: {_commonest(rejects)}"
        )
    if len(rejects) == total:
        raise MedrobustError(f"none of the {total} images can be used: {_commonest(rejects)}")


def _commonest(rejects: list[tuple[str, str]]) -> str:
    files: dict[str, list[str]] = {}
    for file, reason in rejects:
        files.setdefault(reason, []).append(file)
    first = sorted(files.items(), key=lambda item: -len(item[1]))[:3]
    return "; ".join(f"{reason} ({examples(names)})" for reason, names in first)
