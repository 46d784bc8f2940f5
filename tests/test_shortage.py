"""A lack of memory is told in one line that names a setting; other errors pass."""

import pytest
import torch

from medrobust.errors import MedrobustError
from medrobust.shortage import telling_shortage

TOLD = (
    "the memory does not suffice for train.batch_size = 64: lower train.batch_size, or take a "
    "smaller network or smaller images"
)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_what_lacks_and_what_to_lower(error: Exception) -> None:
    with pytest.raises(MedrobustError) as told, telling_shortage("train.batch_size", 64):
        raise error
    assert str(told.value) == TOLD


def test_memory_that_a_processor_does_not_have() -> None:
    with pytest.raises(MedrobustError) as told, telling_shortage("train.batch_size", 64):
        torch.empty(2**46, dtype=torch.float64)  # half a petabyte
    assert str(told.value) == TOLD


def test_other_errors_pass() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes do not fit"),
        telling_shortage("train.batch_size", 64),
    ):
        raise RuntimeError("shapes do not fit")
