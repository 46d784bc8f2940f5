"""A store: one data set, decoded, ready to be read by row (the format is in the design page)."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, Field, ValidationError

from medrobust.data.source import Task
from medrobust.data.splits import SPLITS
from medrobust.data.table import findings_of, label_columns, read_table
from medrobust.data.vocabulary import same_finding
from medrobust.errors import MedrobustError
from medrobust.files import sha256_of

VERSION = 1
REMEDY = "run `medrobust prepare` again"


class StoreInfo(BaseModel, frozen=True, extra="forbid"):
    """What `store.json` holds."""

    version: int
    """Of the store's format."""
    medrobust: str
    """Version of the package that wrote the store."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Part of file names."""
    title: str
    source: str
    licence: str
    citation: str
    caveats: str = ""
    task: Task
    patients: Literal["known", "unknown"]
    """`unknown`: every image counts as its own patient, and intervals are per image."""
    channels: int
    size: tuple[int, ...]
    """(H, W) or (D, H, W)."""
    bits: Literal[8, 16]
    window: tuple[float, float] | None
    """Native values of x = 0 and x = 1; None where they differ between images (see the table)."""
    counts: dict[str, int]
    """images, patients, train, val, test, rejects, duplicate_groups, near_duplicate_pairs."""
    left_out: dict[str, int] = {}
    """Reason -> rows of the data set that were not selected."""
    settings: dict[str, Any]
    """The options `prepare` ran with."""
    warnings: list[str]
    checksums: dict[str, str]
    """SHA-256 of every other file of the store."""
    checksum: str
    """One hash over all of them: what runs and predictions remember."""


@dataclass(frozen=True, eq=False)
class Store:
    """A data set on disk: images stay there (memory-mapped) until they are asked for."""

    path: Path
    images: NDArray[Any]
    """uint8 or uint16, (N, C, H, W) or (N, C, D, H, W); a network sees x = v/255 or v/65535."""
    table: pd.DataFrame
    """One row per image, index 0..N-1; `label:<finding>` is 1, 0 or NaN (unknown)."""
    info: StoreInfo
    aligned: bool = False
    """Whether the label columns are those of a model and not the file's; see `aligned`."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled memory map is a copy of the whole array; another process opens the files.
        return _opened_with, (self.path, self.table if self.aligned else None)

    @property
    def findings(self) -> list[str]:
        """The findings' names, in the order of the label columns."""
        return findings_of(self.table)

    @property
    def checksum(self) -> str:
        """One hash over the store's files."""
        return self.info.checksum

    @cached_property
    def labels(self) -> NDArray[np.float32]:
        """(N, K) of 1, 0 and NaN = unknown."""
        return self.table[label_columns(self.table)].to_numpy(np.float32)

    @cached_property
    def boxes(self) -> pd.DataFrame | None:
        """Boxes in store pixels: `image_id, finding, x, y, w, h` (`z, d` in volumes), or None."""
        path = self.path / "boxes.csv"
        return read_table(path, numbers="xyzwhd") if path.exists() else None

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of a split, ascending; `MedrobustError` if it has no images."""
        rows = np.flatnonzero(self.table["split"].to_numpy() == split).astype(np.int64)
        if not len(rows):
            there = ", ".join(name for name in SPLITS if (self.table["split"] == name).any())
            raise MedrobustError(
                f"store {self.info.name} has no images in split {split!r}: it has {there}"
            )
        return rows

    def pixels(self, rows: ArrayLike) -> NDArray[Any]:
        """Return a copy of the stored integers of these rows."""
        return np.asarray(self.images[np.asarray(rows, dtype=np.int64)])

    def truth(
        self, finding: str, kind: Literal["finding", "anatomy", "marker"] = "finding"
    ) -> dict[int, NDArray[np.bool_]]:
        """Row -> mask, (H, W) or (D, H, W), of this structure; empty without masks."""
        if self._masks is None:
            return {}
        table, pixels = self._masks
        same = table["name"].map(partial(same_finding, finding)).astype(bool)
        chosen = table[same & (table["kind"] == kind)]
        rows = pd.Index(self.table["image_id"]).get_indexer(pd.Index(chosen["image_id"]))
        masks = chosen["mask"].astype(int)
        return {int(row): pixels[mask] for row, mask in zip(rows, masks, strict=True)}

    @cached_property
    def _masks(self) -> tuple[pd.DataFrame, NDArray[np.bool_]] | None:
        if not (self.path / "masks.npy").exists():
            return None
        return read_table(self.path / "masks.csv", {"mask"}), _mapped(self.path / "masks.npy")


def open_store(path: Path) -> Store:
    """Open a store without reading its images.

    Raises `MedrobustError` when there is no store at `path`, when files are missing, when the
    format is another version's, or when files disagree. Text files are checked against their
    hashes, images and masks by type, shape and size only: see `verify_checksum`.
    """
    path = Path(path)
    info = _read_info(path)
    _check_files(path, info)
    images = _mapped(path / "images.npy")
    table = read_table(path / "table.csv")
    store = Store(path, images, table, info)
    _check_shapes(store)
    return store


def _opened_with(path: Path, table: pd.DataFrame | None) -> Store:
    store = open_store(path)
    return store if table is None else replace(store, table=table, aligned=True)


def verify_checksum(
    store: Store, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Read every file of the store; `MedrobustError` names the first that was changed.

    `progress` is called with (bytes read, bytes in all).
    """
    total = sum((store.path / name).stat().st_size for name in store.info.checksums)
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    for name, expected in store.info.checksums.items():
        _check_hash(store.path / name, expected, read)
    if combined_checksum(store.info.checksums) != store.checksum:
        raise MedrobustError(f"{store.path / 'store.json'} was changed by hand: {REMEDY}")


def combined_checksum(checksums: dict[str, str]) -> str:
    """Return one SHA-256 over the files' names and hashes; the order does not matter."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(checksums.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _read_info(path: Path) -> StoreInfo:
    file = path / "store.json"
    if not file.is_file():
        what = "a folder without store.json" if path.is_dir() else "no such folder"
        raise MedrobustError(
            f"expected a store at {path}, found {what}: give the folder `medrobust prepare` wrote"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.get("version")
    except (ValueError, AttributeError) as error:
        raise MedrobustError(f"{file} is not a JSON object ({error}): {REMEDY}") from error
    if version != VERSION:
        raise MedrobustError(
            f"{file} is of format version {version}, expected version {VERSION}: {REMEDY}"
        )
    try:
        return StoreInfo.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise MedrobustError(f"{file}: {field}: {first['msg']}: {REMEDY}") from error


def _check_files(path: Path, info: StoreInfo) -> None:
    for name in ["images.npy", "table.csv", *info.checksums]:
        if not (path / name).is_file():
            raise MedrobustError(f"store {path} is incomplete, {name} is missing: {REMEDY}")
    for name, expected in info.checksums.items():
        if name.endswith(".csv"):
            _check_hash(path / name, expected)


def _check_hash(
    file: Path, expected: str, read: Callable[[int], None] = lambda count: None
) -> None:
    if sha256_of(file, read) != expected:
        raise MedrobustError(
            f"{file} was changed after the store was made (its SHA-256 differs): {REMEDY}"
        )


def _mapped(file: Path) -> NDArray[Any]:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (ValueError, EOFError, OSError) as error:
        raise MedrobustError(f"{file} cannot be read ({error}): {REMEDY}") from error


def _check_shapes(store: Store) -> None:
    info, table = store.info, store.table
    shape = (len(table), info.channels, *info.size)
    _expect(store.path / "images.npy", store.images, shape, f"uint{info.bits}")
    if store._masks is not None:
        masks, pixels = store._masks
        _expect(store.path / "masks.npy", pixels, (len(masks), *info.size), "bool")


def _expect(file: Path, array: NDArray[Any], shape: tuple[int, ...], dtype: str) -> None:
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise MedrobustError(
            f"{file}: expected {dtype} of shape {shape}, got {array.dtype} of shape "
            f"{array.shape}: {REMEDY}"
        )
