from pathlib import Path

import numpy as np
import pytest

from medrobust.data.writer import ArrayWriter


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
def test_an_array_of_any_length_is_an_npy_file(tmp_path: Path, count: int, dtype) -> None:
    whole = np.random.default_rng(0).integers(0, 2, (count, 2, 3)).astype(dtype)
    with ArrayWriter(tmp_path / "x.npy", (2, 3), dtype) as writer:
        for array in whole:
            writer.append(np.asfortranarray(array))
    read = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert read.dtype == dtype
    assert np.array_equal(read, whole)
    assert np.array_equal(np.load(tmp_path / "x.npy", mmap_mode="r"), whole) or count == 0


def test_the_header_has_room_for_any_length(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path / "x.npy", (1,), np.uint8) as writer:
        writer.append(np.ones(1, np.uint8))
        writer.length = 10**12
    assert (tmp_path / "x.npy").stat().st_size == 128 + 1


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint16)])
def test_another_shape_or_type_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with (
        pytest.raises(ValueError, match=r"expected uint8\(2, 3\), got "),
        ArrayWriter(tmp_path / "x.npy", (2, 3), np.uint8) as writer,
    ):
        writer.append(array)
