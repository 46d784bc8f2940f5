"""Memory that does not suffice, in words that say what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medrobust.errors import MedrobustError

_SIGNS = ("out of memory", "can't allocate memory", "alloc_cpu")
"""What PyTorch's errors say that have no class of their own."""


@contextmanager
def telling_shortage(setting: str, value: int) -> Iterator[None]:
    """While the block runs, a lack of memory is an error that names the setting to lower.

    Raises:
        MedrobustError: memory, the machine's or a GPU's, does not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        short = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not short and not any(sign in text for sign in _SIGNS):
            raise
        raise MedrobustError(
            f"the memory does not suffice for {setting} = {value}: lower {setting}, or take a "
            "smaller network or smaller images"
        ) from error
