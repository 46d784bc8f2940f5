"""Maps on disk: one file for each store, branch, method and finding."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from medrobust.errors import MedrobustError
from medrobust.explain.subject import Subject
from medrobust.files import file_name, write_atomically

Maps = NDArray[np.float32]


def maps_path(subject: Subject, branch: str, method: str, finding: str) -> Path:
    """`explain/maps/<store>/<split>/<branch>/<method>/<finding>.npz`."""
    folder = subject.folder / "maps" / subject.name / subject.split / branch / method
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


def read_maps(path: Path) -> dict[str, Maps]:
    """Image id -> map.

    Raises:
        MedrobustError: there is no such file, or it is not one of maps.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values = arrays["map"].astype(np.float32)
            scale = arrays["scale"].reshape(-1, *[1] * (values.ndim - 1))
            ids = [str(name) for name in arrays["image_id"]]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise MedrobustError(
            f"{path}: expected maps that `medrobust explain` wrote, found none ({error})"
        ) from error
    return dict(zip(ids, values * scale, strict=True))
