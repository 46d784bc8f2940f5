"""Arrays in an `.npz` file or a folder of `.npy` files, read image by image.

An array inside a zip file cannot be memory-mapped; read in order, it still needs only one image
of memory at a time.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medrobust.errors import MedrobustError

DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


class Rows(Protocol):
    """What images are read from: an array, a memory map or a zip file's member."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole array's."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The whole array's."""

    def __getitem__(self, row: int, /) -> NDArray[Any]: ...


class ZippedRows:
    """An array of an `.npz` file in C order; quick when rows are asked for in ascending order."""

    def __init__(self, path: Path, name: str) -> None:
        self._made_of = path, name
        self._name = f"{path}: array {name!r}"
        self._file = zipfile.ZipFile(path).open(f"{name}.npy")  # noqa: SIM115 - rows follow
        version = np.lib.format.read_magic(self._file)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        self.shape, self.fortran_order, self.dtype = header(self._file)
        self._start = self._file.tell()

    def __reduce__(self) -> tuple[Any, ...]:
        return ZippedRows, self._made_of  # an open file does not travel

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Read one row; OSError when the file is damaged."""
        shape = self.shape[1:]
        size = int(np.prod(shape)) * self.dtype.itemsize
        try:
            self._file.seek(self._start + row * size)
            return np.frombuffer(self._file.read(size), self.dtype).reshape(shape)
        except DAMAGE as error:
            raise OSError(f"{self._name} is damaged: {error}") from error


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays of an `.npz` file or a folder of `.npy` files, sorted."""
    if path.is_dir():
        return sorted(file.stem for file in path.glob("*.npy"))
    if not path.is_file():
        raise MedrobustError(f"expected an .npz file or a folder of .npy files at {path}")
    with _readable(path), zipfile.ZipFile(path) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())


def open_rows(path: Path, name: str) -> Rows:
    """Open an array to read its rows one by one; `MedrobustError` if there is none to read."""
    _expect_name(path, name)
    with _readable(path):
        if path.is_dir():
            return np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        rows = ZippedRows(path, name)
        if rows.dtype.hasobject:
            raise ValueError(f"array {name!r} holds Python objects")
    return load_array(path, name) if rows.fortran_order else rows


def load_array(path: Path, name: str) -> NDArray[Any]:
    """Load a whole array; `MedrobustError` if there is none to read."""
    _expect_name(path, name)
    with _readable(path):
        if path.is_dir():
            return np.load(path / f"{name}.npy", allow_pickle=False)  # type: ignore[no-any-return]
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]  # type: ignore[no-any-return]


def _expect_name(path: Path, name: str) -> None:
    there = array_names(path)
    if name not in there:
        raise MedrobustError(f"{path} has no array {name!r}: it has {', '.join(there) or 'none'}")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise MedrobustError(f"{path} cannot be read: {error}") from error
