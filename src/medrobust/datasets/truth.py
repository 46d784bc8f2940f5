"""Masks and boxes that lie beside images, as files of their own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.decode import read_mask
from medrobust.data.source import Box, Mask
from medrobust.data.vocabulary import same_finding
from medrobust.datasets.raw import RawTable, refuse_problems
from medrobust.errors import MedrobustError

Kind = Literal["finding", "anatomy", "marker"]
SUFFIXES = (".png", ".tif", ".tiff")
BOX_COLUMNS = ("image", "finding", "x", "y", "w", "h")


@dataclass(frozen=True)
class Structure:
    """What a value in a mask stands for."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class MaskFolder:
    """Mask files with the paths of the images, or their names with another suffix.

    `bits`: bit value (1, 2, 4, ...) -> structure. Without bits every pixel above 0 is `only`.

    Raises `MedrobustError` when there is no such folder.
    """

    folder: Path
    bits: Mapping[int, Structure]
    only: Structure | None = None
    files: Mapping[str, str] = field(init=False)
    """Path of an image without suffix -> path of its mask."""

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise MedrobustError(f"expected a folder of masks at {self.folder}, found none")
        if not self.bits and self.only is None:
            raise MedrobustError(
                "masks: say what their bits mean (--mask-bits 1=nodule,2=left lung:anatomy); "
                "only a single finding needs no names"
            )
        there = [path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES]
        names = [path.relative_to(self.folder).as_posix() for path in sorted(there)]
        object.__setattr__(self, "files", {_stem(name): name for name in names})

    def read(self, file: str, shape: tuple[int, ...]) -> tuple[tuple[Mask, ...], str]:
        """The masks of an image and a note; none where there is no mask file.

        Raises:
            MedrobustError: the mask is damaged or not of the image's shape.
        """
        name = self.files.get(_stem(file)) or self.files.get(PurePosixPath(file).stem)
        if name is None:
            return (), "without a mask"
        try:
            values = read_mask(self.folder / name)
        except MedrobustError as error:
            raise MedrobustError(f"its mask: {error}") from error
        if values.shape != shape:
            raise MedrobustError(f"its mask is of {_by(values.shape)} pixels, not {_by(shape)}")
        return self._masks(values), self._note(values)

    def _masks(self, values: NDArray[np.int64]) -> tuple[Mask, ...]:
        if not self.bits and self.only is not None:
            planes = [(self.only, values != 0)]
        else:
            planes = [(structure, (values & bit) != 0) for bit, structure in self.bits.items()]
        return tuple(Mask(s.name, s.kind, pixels) for s, pixels in planes if pixels.any())

    def _note(self, values: NDArray[np.int64]) -> str:
        if not self.bits:
            return ""
        unnamed = int(np.bitwise_or.reduce(values, axis=None)) & ~sum(self.bits)
        return "with bits in the mask that have no name" if unnamed else ""


def parse_mask_bits(text: str, findings: Sequence[str]) -> dict[int, Structure]:
    """Read `1=nodule,2=left lung:anatomy,4=tube:marker`.

    A structure without a kind is a finding where there is one of its name, else an anatomy.

    Raises:
        MedrobustError: something else, or a number that is no single bit.
    """
    bits: dict[int, Structure] = {}
    for part in text.split(","):
        found = re.fullmatch(
            r"\s*(\d{1,9})\s*=\s*([^:=]+?)\s*(?::\s*(finding|anatomy|marker)\s*)?", part
        )
        if not found:
            raise MedrobustError(
                f"mask bits: expected 1=NAME or 1=NAME:KIND (finding, anatomy, marker), "
                f"found {part!r}"
            )
        bit = int(found[1])
        if bit.bit_count() != 1 or bit in bits:
            raise MedrobustError(f"mask bits: expected each of 1, 2, 4, 8, ... once, found {bit}")
        bits[bit] = _structure(found[2], found[3], findings)
    return bits


@dataclass(frozen=True)
class BoxTable:
    """Boxes of a CSV with columns `image, finding, x, y, w, h`, in pixels of the images.

    Raises `MedrobustError` when it cannot be read so.
    """

    boxes: Mapping[str, tuple[Box, ...]]
    """Image -> its boxes."""

    @classmethod
    def read(cls, path: Path, findings: Sequence[str]) -> "BoxTable":
        """Read the file; findings get the names they have as labels."""
        table = RawTable(path)
        images, names = table.text("image"), table.text("finding")
        sides = {side: table.values((side,), float, "a number") for side in "xywh"}
        refuse_problems([table])
        frame = pd.DataFrame({"image": images, "finding": names, **sides})
        small = frame[(frame["w"] <= 0) | (frame["h"] <= 0)]
        if len(small):
            raise MedrobustError(f"{path}, data row {small.index[0] + 1}: the box has no extent")
        boxes: dict[str, tuple[Box, ...]] = {}
        for image, finding, x, y, w, h in frame.itertuples(index=False, name=None):
            box = Box(_structure(finding, None, findings).name, (y, x), (h, w))
            boxes[image] = (*boxes.get(image, ()), box)
        return cls(boxes)

    def of(self, file: str) -> tuple[Box, ...]:
        """The boxes of an image, by its path or its name."""
        return self.boxes.get(file) or self.boxes.get(PurePosixPath(file).name, ())


def _structure(name: str, kind: str | None, findings: Sequence[str]) -> Structure:
    known = [finding for finding in findings if same_finding(finding, name)]
    if kind in ("anatomy", "marker"):
        return Structure(name, "anatomy" if kind == "anatomy" else "marker")
    return Structure(known[0] if known else name, "finding" if known or kind else "anatomy")


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix("").as_posix()


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
