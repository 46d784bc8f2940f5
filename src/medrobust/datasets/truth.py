"""Masks and boxes that lie beside images, as files of their own."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.decode import read_mask
from medrobust.data.source import Box, Mask
from medrobust.data.table import examples
from medrobust.data.vocabulary import same_finding
from medrobust.datasets.raw import RawTable, refuse_problems
from medrobust.errors import MedrobustError

Kind = Literal["finding", "anatomy", "marker"]
SUFFIXES = (".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Structure:
    """What a value in a mask stands for."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class MaskFolder:
    """Mask files with the paths of the images, or their names with another suffix.

    `bits`: bit value (1, 2, 4, ...) -> structure. Without bits every pixel above 0 is `only`.

    Raises `MedrobustError` when there is no such folder, or it has two masks for one image.
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
        stems = {_stem(name): name for name in names}
        if len(stems) < len(names):
            twice = examples(set(names) - set(stems.values()))
            raise MedrobustError(
                f"{self.folder}: expected one mask per image, found two of one name: {twice}"
            )
        object.__setattr__(self, "files", stems)

    def read(self, file: str, shape: tuple[int, ...]) -> tuple[tuple[Mask, ...], str]:
        """The masks of an image and a note; none where there is no mask file.

        Raises:
            MedrobustError: the mask is damaged or not of the image's shape.
        """
        name = self._of(file)
        if name is None:
            return (), "without a mask"
        try:
            values = read_mask(self.folder / name)
        except MedrobustError as error:
            raise MedrobustError(f"its mask: {error}") from error
        if values.shape != shape:
            raise MedrobustError(f"its mask is of {_by(values.shape)} pixels, not {_by(shape)}")
        return self._masks(values), self._note(values)

    def unused(self, files: Iterable[str]) -> int:
        """How many masks belong to none of these images.

        Raises:
            MedrobustError: a mask belongs to several of them, in different folders.
        """
        used = Counter(name for file in set(files) if (name := self._of(file)))
        _expect_once(used, f"{self.folder}: expected one image per mask")
        return len(self.files) - len(used)

    def _of(self, file: str) -> str | None:
        return self.files.get(_stem(file)) or self.files.get(PurePosixPath(file).stem)

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
    """Boxes of a CSV with columns `image, finding` (or `class`) and `x, y, w, h`, in image pixels.

    Raises `MedrobustError` when it cannot be read so.
    """

    boxes: Mapping[str, tuple[Box, ...]]
    """Image -> its boxes."""

    @classmethod
    def read(cls, path: Path, findings: Sequence[str]) -> "BoxTable":
        """Read the file; findings get the names they have as labels."""
        table = RawTable(path)
        images, names = table.text("image"), table.text("finding", "class")
        sides = {side: table.values((side,), float, "a number") for side in "xywh"}
        refuse_problems([table])
        frame = pd.DataFrame({"image": images, "finding": names, **sides})
        numbers = frame[list("xywh")].to_numpy(float)
        wrong = np.flatnonzero(
            ~np.isfinite(numbers).all(axis=1) | (numbers[:, 2:] <= 0).any(axis=1)
        )
        if len(wrong):
            raise MedrobustError(
                f"{path}, data row {wrong[0] + 1}: expected a box with w and h above 0, found "
                f"{numbers[wrong[0]].tolist()}"
            )
        boxes: dict[str, tuple[Box, ...]] = {}
        for image, finding, x, y, w, h in frame.itertuples(index=False, name=None):
            box = Box(_structure(finding, None, findings).name, (y, x), (h, w))
            boxes[image] = (*boxes.get(image, ()), box)
        return cls(boxes)

    def of(self, file: str, shape: tuple[int, ...]) -> tuple[tuple[Box, ...], str]:
        """The boxes of an image of shape (H, W), by its path or its name, and a note."""
        boxes = self.boxes.get(self._key(file), ())
        inside = all(_within(box, shape) for box in boxes)
        return boxes, "" if inside else "with a box that is not within the image"

    def unused(self, files: Iterable[str]) -> int:
        """How many of the images with boxes are none of these.

        Raises:
            MedrobustError: a name is that of several of them, in different folders.
        """
        used = Counter(key for file in set(files) if (key := self._key(file)) in self.boxes)
        _expect_once(used, "boxes: expected paths that tell images of one name apart")
        return len(self.boxes) - len(used)

    def _key(self, file: str) -> str:
        return file if file in self.boxes else PurePosixPath(file).name


def _expect_once(used: Counter[str], expected: str) -> None:
    several = sorted(name for name, count in used.items() if count > 1)
    if several:
        raise MedrobustError(f"{expected}, found several for {examples(several)}")


def _within(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether a box ends within a pixel of the image's edges."""
    sides = zip(box.origin, box.extent, shape, strict=True)
    return all(start >= -1 and start + length <= side + 1 for start, length, side in sides)


def _structure(name: str, kind: str | None, findings: Sequence[str]) -> Structure:
    known = [finding for finding in findings if same_finding(finding, name)]
    if kind in ("anatomy", "marker"):
        return Structure(name, "anatomy" if kind == "anatomy" else "marker")
    return Structure(known[0] if known else name, "finding" if known or kind else "anatomy")


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix("").as_posix()


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
