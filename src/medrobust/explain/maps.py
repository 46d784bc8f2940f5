"""Maps on disk: one file for each store, split, branch, method and finding; without PyTorch."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.adversarial import UNREADABLE
from medrobust.errors import MedrobustError
from medrobust.files import file_name, write_atomically

Maps = NDArray[np.float32]


def maps_folder(explain: Path, store: str, split: str, branch: str, method: str) -> Path:
    """`maps/<store>/<split>/<branch>/<method>` below a run's `explain` folder."""
    return explain / "maps" / store / split / branch / method


def maps_path(folder: Path, finding: str) -> Path:
    """The file of a finding in a `maps_folder`."""
    return folder / f"{file_name(finding)}.npz"


def write_maps(path: Path, ids: Sequence[str], maps: Maps) -> None:
    """Each map as float16 after division by its own largest |value|, which is `scale`.

    A map with a value that is not finite is NaN everywhere: it is none.
    """
    axes = tuple(range(1, maps.ndim))
    finite = np.isfinite(maps).all(axis=axes, keepdims=True)
    maps = np.where(finite, maps, np.float32("nan"))
    scale = np.abs(maps).max(axis=axes).astype(np.float32)
    divisor = np.where(scale > 0, scale, 1).reshape(-1, *[1] * len(axes))
    with write_atomically(path) as temporary:
        np.savez_compressed(
            temporary,
            image_id=np.array(ids, dtype=str),
            map=(maps / divisor).astype(np.float16),
            scale=scale,
        )


def mapped_ids(path: Path) -> set[str]:
    """The images that have a map in a file.

    Raises:
        MedrobustError: there is no such file, or it is not one of maps.
    """
    return {str(name) for name in _read(path, "image_id")[0]}


def read_maps(path: Path, wanted: Collection[str] | None = None) -> dict[str, Maps]:
    """Image id -> map, of these images or of all.

    Raises:
        MedrobustError: there is no such file, or it is not one of maps.
    """
    names, values, scales = _read(path, "image_id", "map", "scale")
    places = {str(name): place for place, name in enumerate(names)}
    return {
        name: values[places[name]].astype(np.float32) * scales[places[name]]
        for name in (places if wanted is None else wanted)
    }


def _read(path: Path, *names: str) -> list[NDArray[Any]]:
    """Arrays of a file; nothing in it is run."""
    try:
        # opened here, since NumPy leaves a damaged file open
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            return [arrays[name] for name in names]
    except UNREADABLE as error:
        raise MedrobustError(
            f"{path}: expected maps that `medrobust explain` wrote, found none ({error})"
        ) from error
