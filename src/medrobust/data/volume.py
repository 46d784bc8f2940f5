"""Patches of volumes in MetaImage files (.mhd with .raw), by place and size in millimetres.

Needs the extra `ct` (SimpleITK), which knows offset, spacing and direction of a volume; only the
part of it that a patch needs is read.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.errors import MedrobustError

BYTES = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2}
BYTES |= {"MET_INT": 4, "MET_UINT": 4, "MET_FLOAT": 4, "MET_DOUBLE": 8}
MAX_VOXELS = 2**31
LONGEST_HEADER = 2**16
UNREADABLE = "its volume cannot be read"
NO_PLACE = "its header does not say where in the world the volume lies"
WORLD: tuple[tuple[tuple[str, ...], int, list[str]], ...] = (
    (("Offset", "Position", "Origin"), 3, []),
    (("ElementSpacing",), 3, []),
    (("TransformMatrix", "Rotation", "Orientation"), 9, ["1 0 0 0 1 0 0 0 1"]),
)
"""Fields of a header that say the same, how many numbers they have, and what is meant by none."""
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"


@dataclass(frozen=True)
class Grid:
    """An upright box of voxels in world coordinates (LPS: x to the left, y to the back, z up)."""

    centre: tuple[float, float, float]
    """Millimetres, (x, y, z)."""
    extent: tuple[float, float, float]
    """Millimetres, (z, y, x)."""
    shape: tuple[int, int, int]
    """Voxels, (z, y, x)."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres per voxel, (z, y, x)."""
        return tuple(e / n for e, n in zip(self.extent, self.shape, strict=True))

    def voxel(self, point: tuple[float, float, float]) -> NDArray[np.float64]:
        """Where a world point (x, y, z) lies, (z, y, x); voxel k covers [k, k + 1)."""
        offset = np.subtract(point, self.centre)[::-1]
        place: NDArray[np.float64] = offset / self.spacing + np.divide(self.shape, 2)
        return place


def read_patch(path: Path, grid: Grid, outside: float, flat: bool = False) -> NDArray[np.float32]:
    """Sample a volume on a grid: (D, H, W), linear, averaged where the grid is coarser.

    Whatever the volume's direction is, the patch is upright; what lies outside the volume has
    the value `outside`. With `flat` the slices are planes, not averaged over their distance.

    Raises `MedrobustError` when the header is not that of a volume beside it, the volume is
    damaged, or the extra `ct` is not installed.
    """
    reader = _open(path)
    finer = _oversampling(reader, grid)
    finer[0] = 1 if flat else finer[0]
    region = _region(reader, grid)
    shape = tuple(np.multiply(grid.shape, finer).tolist())
    if region is None:
        return np.full(grid.shape, outside, dtype=np.float32)
    reader.SetExtractIndex(region[0])
    reader.SetExtractSize(region[1])
    try:
        sampled = _sampled(_simpleitk(), reader.Execute(), grid, shape, outside)
    except RuntimeError as error:
        raise MedrobustError(UNREADABLE) from error
    depth, height, width = grid.shape
    blocks = sampled.reshape(depth, finer[0], height, finer[1], width, finer[2])
    averaged: NDArray[np.float32] = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return averaged


def check_header(path: Path) -> None:
    """Raise `MedrobustError` unless a header names a volume of its size in the same folder."""
    fields = read_header(path)
    name = fields.get("ElementDataFile", "")
    if not re.fullmatch(r"[\w.-]+\.z?raw", name):
        raise MedrobustError("its header does not name a .raw or .zraw file in the same folder")
    if (fields.get("NDims"), fields.get("ElementNumberOfChannels", "1")) != ("3", "1") or (
        fields.get("ElementType") not in BYTES
    ):
        raise MedrobustError("its header is not that of a volume of numbers")
    if fields.get("HeaderSize", "0") not in ("0", "-1"):
        raise MedrobustError("its header says that more than voxels is in the volume's file")
    _check_place(fields)
    sides = fields.get("DimSize", "").split()
    if len(sides) != 3 or not all(re.fullmatch(r"[1-9]\d{0,5}", side) for side in sides):
        raise MedrobustError("its header has no size of a volume")
    voxels = int(np.prod([int(side) for side in sides], dtype=object))
    if voxels > MAX_VOXELS:
        raise MedrobustError(f"more than {MAX_VOXELS} voxels")
    raw = path.with_name(name)
    if not raw.is_file():
        raise MedrobustError("the volume that its header names is not there")
    size = BYTES[fields["ElementType"]] * voxels
    if fields.get("CompressedData", "False") != "True" and raw.stat().st_size != size:
        raise MedrobustError("its volume is not of the size that its header says")


def read_header(path: Path) -> dict[str, str]:
    """The fields of a MetaImage header.

    Raises `MedrobustError` when there is no such file, or it is not such a header.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_HEADER + 1).decode("ascii")
    except FileNotFoundError as error:
        raise MedrobustError("there is no such file") from error
    except UnicodeDecodeError as error:
        raise MedrobustError("not a MetaImage header") from error
    lines = [line for line in text.split("\n") if line.strip()]
    # ITK reads "name : value" too, and nothing after the file's name: what we check it must read
    pairs = [re.fullmatch(r"(\w+) *= *([^\r]*?)\s*", line) for line in lines]
    fields = {pair[1]: pair[2] for pair in pairs if pair}
    if len(text) > LONGEST_HEADER or len(fields) != len(lines) or "ObjectType" not in fields:
        raise MedrobustError("not a MetaImage header")
    if list(fields)[-1] != "ElementDataFile":
        raise MedrobustError("its header does not end with the name of the volume's file")
    return fields


def world_to_voxel(path: Path, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continuous voxel numbers (N, 3) in x, y, z of world points (N, 3); whole at the centres."""
    return _indices(_open(path), points)


def _open(path: Path) -> Any:
    """Return a reader that knows the volume's place in the world, and has not read it yet."""
    check_header(path)
    reader = _simpleitk().ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise MedrobustError(UNREADABLE) from error
    place = np.array([*reader.GetOrigin(), *reader.GetSpacing(), *reader.GetDirection()])
    turned = abs(np.linalg.det(place[6:].reshape(3, 3)))
    if not (np.isfinite(place).all() and (place[3:6] > 0).all() and np.isclose(turned, 1, 0.05)):
        raise MedrobustError(NO_PLACE)
    return reader


def _check_place(fields: dict[str, str]) -> None:
    """What is no number ITK would take for 0, without a word."""
    for names, count, default in WORLD:
        given = [fields[name] for name in names if name in fields] or default
        words = " ".join(given).split()
        if len(words) != count or not all(re.fullmatch(NUMBER, word) for word in words):
            raise MedrobustError(NO_PLACE)


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise MedrobustError("CT volumes need the extra ct: pip install 'medrobust[ct]'") from error
    return SimpleITK


def _indices(reader: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    direction = np.reshape(reader.GetDirection(), (3, 3))
    steps = direction * reader.GetSpacing()
    indices: NDArray[np.float64] = np.linalg.solve(
        steps, (np.asarray(points) - reader.GetOrigin()).T
    ).T
    return indices


def _region(reader: Any, grid: Grid) -> tuple[list[int], list[int]] | None:
    """First voxel and number of voxels of the part that a grid needs; None: it lies outside."""
    half = np.divide(grid.extent[::-1], 2)
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = _indices(reader, np.asarray(grid.centre) + signs * half)
    last = np.array(reader.GetSize()) - 1
    start = np.clip(np.floor(corners.min(axis=0)) - 1, 0, last + 1).astype(int)
    end = np.clip(np.ceil(corners.max(axis=0)) + 1, -1, last).astype(int)
    if (end < start).any():
        return None
    return start.tolist(), (end - start + 1).tolist()


def _oversampling(reader: Any, grid: Grid) -> list[int]:
    """How many samples per voxel of the grid and axis are averaged, (z, y, x)."""
    direction = np.abs(np.reshape(reader.GetDirection(), (3, 3)))
    native = (direction @ np.array(reader.GetSpacing()))[::-1]
    counts = np.round(np.divide(grid.spacing, native)).astype(int)
    return np.clip(counts, 1, 16).tolist()  # type: ignore[no-any-return]


def _sampled(
    sitk: Any, image: Any, grid: Grid, shape: tuple[int, ...], outside: float
) -> NDArray[np.float32]:
    spacing = np.divide(grid.extent, shape)[::-1]
    first = np.subtract(grid.centre, np.divide(grid.extent[::-1], 2)) + spacing / 2
    sampled = sitk.Resample(
        image,
        [int(side) for side in shape[::-1]],
        sitk.Transform(),
        sitk.sitkLinear,
        first.tolist(),
        spacing.tolist(),
        np.eye(3).ravel().tolist(),
        outside,
        sitk.sitkFloat32,
    )
    return np.asarray(sitk.GetArrayFromImage(sampled), dtype=np.float32)
