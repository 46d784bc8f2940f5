"""Writes a store image by image, so that memory does not grow with the number of images."""

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from medrobust.data.source import Box, Mask
from medrobust.files import sha256_of, write_csv


class ArrayWriter:
    """Appends arrays of one shape to an `.npy` file whose length is not known beforehand.

    The file is written, not memory-mapped: a full disk is then an error and not a crash (SIGBUS).
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.shape, self.dtype, self.length = shape, np.dtype(dtype), 0
        self._file = path.open("xb")
        self._write_header()

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

    def _write_header(self) -> None:
        # NumPy pads the header so that the first axis can grow to any length in place.
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


class StoreWriter:
    """Collects the images, masks and boxes of a store in `folder`, which exists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images: ArrayWriter | None = None
        self._masks: ArrayWriter | None = None
        self._mask_rows: list[tuple[int, str, str, str]] = []
        self._box_rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in (self._images, self._masks):
            if writer is not None:
                writer.__exit__(kind, error, trace)
        if error is None:
            self._write_tables()

    def add(
        self,
        image_id: str,
        image: NDArray[Any],
        masks: tuple[Mask, ...] = (),
        boxes: tuple[Box, ...] = (),
    ) -> None:
        """Append an image, (C, H, W) or (C, D, H, W), with its truth in store pixels.

        Masks of one name and kind are united.
        """
        if self._images is None:
            self._images = ArrayWriter(self.folder / "images.npy", image.shape, image.dtype)
        self._images.append(image)
        united: dict[tuple[str, str], NDArray[np.bool_]] = {}
        for mask in masks:
            key = (mask.name, mask.kind)
            united[key] = united[key] | mask.pixels if key in united else mask.pixels
        for (name, kind), pixels in united.items():
            self._add_mask(image_id, name, kind, pixels)
        self._box_rows += [
            (image_id, box.finding, *box.origin[::-1], *box.extent[::-1]) for box in boxes
        ]

    def _add_mask(self, image_id: str, name: str, kind: str, pixels: NDArray[np.bool_]) -> None:
        if self._masks is None:
            self._masks = ArrayWriter(self.folder / "masks.npy", pixels.shape, bool)
        self._mask_rows.append((self._masks.length, image_id, name, kind))
        self._masks.append(pixels)

    def _write_tables(self) -> None:
        if self._mask_rows:
            columns = ["mask", "image_id", "name", "kind"]
            write_csv(self.folder / "masks.csv", pd.DataFrame(self._mask_rows, columns=columns))
        if self._box_rows:
            axes = (len(self._box_rows[0]) - 2) // 2
            columns = ["image_id", "finding", *"xyz"[:axes], *"whd"[:axes]]
            write_csv(self.folder / "boxes.csv", pd.DataFrame(self._box_rows, columns=columns))


def checksums_of(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of the files in a folder, by name."""
    return {file.name: sha256_of(file) for file in sorted(folder.iterdir())}
