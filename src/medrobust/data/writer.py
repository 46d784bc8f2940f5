"""Writes the images of a store one by one, so that memory does not grow with their number."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medrobust.data.convert import Image, Reject
from medrobust.data.journal import Journal, Record
from medrobust.files import flush, sha256_of


class ArrayWriter:
    """Appends arrays of one shape to an `.npy` file whose length is not known beforehand.

    The file is written, not memory-mapped: a full disk is then an error and not a crash (SIGBUS).
    With `length` an existing file is cut to that many arrays and goes on from there.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: DTypeLike, length: int | None = None
    ) -> None:
        self.shape, self.dtype, self.length = shape, np.dtype(dtype), length or 0
        self._file = path.open("xb" if length is None else "rb+")
        self._write_header()
        if length is not None:
            self._cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            with suppress(OSError):
                self._file.close()
            return
        with self._file:
            self._file.seek(0)
            self._write_header()

    def append(self, array: NDArray[Any]) -> None:
        """Write one more element; ValueError if its shape or type differs."""
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(f"expected {self.dtype}{self.shape}, got {array.dtype}{array.shape}")
        self._file.write(np.ascontiguousarray(array).data)
        self.length += 1

    def commit(self) -> None:
        """Make the disk hold what was written."""
        flush(self._file)

    def _cut(self) -> None:
        end = self._file.tell() + self.length * self.dtype.itemsize * int(np.prod(self.shape))
        if os.fstat(self._file.fileno()).st_size < end:
            self._file.close()
            raise ValueError(f"{self._file.name} is shorter than {self.length} arrays")
        self._file.truncate(end)
        self._file.seek(end)

    def _write_header(self) -> None:
        # NumPy pads the header so that the first axis can grow to any length in place.
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


class StoreWriter:
    """Writes images and masks of a store to `folder`, which exists; goes on with what is there.

    The journal beside the arrays has a line for each row of the data set that is done. A line is
    written only after the pixels it speaks of are on the disk. So whatever the moment of an
    interruption, the arrays can be cut back to what the journal says.
    """

    def __init__(self, folder: Path, bits: int, journal: Journal) -> None:
        self._folder, self._dtype, self._journal = folder, np.dtype(f"uint{bits}"), journal
        kept = [record for record in journal.records if not record.reason]
        self._shape = kept[0].shape if kept else ()
        masks = sum(len(record.masks) for record in kept)
        self._images = self._resumed("images.npy", self._shape, self._dtype, len(kept))
        self._masks = self._resumed("masks.npy", self._shape[1:], np.dtype(bool), masks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):  # a full disk would only say so again
            self.commit()
        for writer in (self._images, self._masks):
            if writer is not None:
                writer.__exit__(kind, error, trace)

    def add(self, found: Image | Reject) -> Record:
        """Append what became of the next row; an image that does not fit is a reject."""
        reason = found.reason if isinstance(found, Reject) else self._misfit(found)
        if isinstance(found, Reject) or reason:
            record = Record(reason=reason)
        else:
            self._append(found)
            record = Record.of(found)
        if self._journal.add(record):
            self.commit()
        return record

    def commit(self) -> None:
        """Make the disk hold what was written, pixels first."""
        for writer in (self._images, self._masks):
            if writer is not None:
                writer.commit()
        self._journal.commit()

    def _append(self, image: Image) -> None:
        self._shape = image.pixels.shape
        if self._images is None:
            self._images = self._new("images.npy", self._shape, self._dtype)
        self._images.append(image.pixels)
        for mask in image.masks:
            if self._masks is None:
                self._masks = self._new("masks.npy", self._shape[1:], np.dtype(bool))
            self._masks.append(mask.pixels)

    def _misfit(self, image: Image) -> str:
        """Why an image cannot stand beside the first one, or nothing."""
        got, shape = image.pixels.shape, self._shape
        if not shape or got == shape:
            return ""
        if got[0] != shape[0] or len(got) != len(shape):
            return (
                f"expected {shape[0]} channels of {len(shape) - 1} axes like the first image, "
                f"got {got[0]} of {len(got) - 1}"
            )
        return (
            f"expected {_by(shape[1:])} pixels like the first image, got {_by(got[1:])}: "
            "give a size to which all are resized (--size)"
        )

    def _resumed(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], length: int
    ) -> ArrayWriter | None:
        if length:
            return ArrayWriter(self._folder / name, shape, dtype, length)
        (self._folder / name).unlink(missing_ok=True)
        return None

    def _new(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ArrayWriter:
        return ArrayWriter(self._folder / name, shape, dtype)


def without(path: Path, dropped: NDArray[np.bool_]) -> None:
    """Write an `.npy` file of several arrays anew, without some of them."""
    whole = np.load(path, mmap_mode="r", allow_pickle=False)
    rest = path.with_suffix(".rest.npy")
    rest.unlink(missing_ok=True)
    with ArrayWriter(rest, whole.shape[1:], whole.dtype) as writer:
        for row in np.flatnonzero(~dropped):
            writer.append(whole[row])
    rest.replace(path)


def checksums_of(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of the files in a folder, by name."""
    return {file.name: sha256_of(file) for file in sorted(folder.iterdir())}


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
