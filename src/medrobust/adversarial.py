"""Files of attacked images: `adversarial/<stem>.npz`."""

import zlib
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from medrobust.errors import MedrobustError
from medrobust.files import write_atomically

UNREADABLE = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error)
"""What NumPy raises for a file of arrays that is missing or damaged."""


class Adversarial(NamedTuple):
    """Attacked images of n cases."""

    image_id: list[str]
    images: NDArray[np.float32]
    """(n, S, C, ...): the image behind each finding's score; of exclusive classes one more, behind
    the margin of the class."""


def write_adversarial(path: Path, found: Adversarial, shown: NDArray[np.int64]) -> None:
    """Write `image_id`, `image` (of the finding `shown` (n,), to look at) and `by_finding`.

    `by_finding` is left out where there is one finding, since it is the image.
    """
    ids, slots = np.array(found.image_id, dtype=str), found.images
    arrays = {"image_id": ids, "image": slots[np.arange(len(slots)), shown]}
    if slots.shape[1] > 1:
        arrays["by_finding"] = slots
    with write_atomically(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def count_adversarial(path: Path) -> int:
    """Of how many cases a file holds images; 0 if it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return len(saved["image_id"])
    except UNREADABLE:
        return 0


def read_adversarial(path: Path) -> Adversarial:
    """Read such a file.

    Raises:
        MedrobustError: it is missing or damaged.
    """
    try:
        # opened here, since NumPy leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            images = saved["by_finding"] if "by_finding" in saved else saved["image"][:, None]
            return Adversarial([str(name) for name in saved["image_id"]], images)
    except UNREADABLE as error:
        raise MedrobustError(
            f"{path}: expected attacked images, found a file that can't be read; "
            "run `evaluate` again"
        ) from error
