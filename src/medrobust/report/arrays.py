"""Reading the files of arrays that stages leave in a run's folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.adversarial import UNREADABLE
from medrobust.errors import MedrobustError


@contextmanager
def arrays_of(
    file: Path, what: str, stage: str = "explain"
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays of a file by name, each read when it is asked for.

    `what` should be in the file, which `stage` writes: both are for the message.

    Raises `MedrobustError` if the file is missing or damaged, or lets the block fail: an array
    that is not there, or of another shape.
    """
    try:
        # opened here, since NumPy leaves a damaged file open
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            yield arrays
    except (*UNREADABLE, TypeError) as error:  # a lone array is no context
        raise MedrobustError(
            f"{file}: expected {what}, found another file; run `{stage}` again"
        ) from error
