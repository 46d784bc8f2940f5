import io
from pathlib import Path

import numpy as np
import pytest

from medrobust.errors import MedrobustError
from medrobust.report.arrays import arrays_of


def saved(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def lone() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def pickled() -> bytes:
    return saved(map=np.array([{}], dtype=object))


WHOLE = saved(map=np.random.default_rng(0).random(1000))


def test_arrays_by_name(tmp_path: Path) -> None:
    file = tmp_path / "maps.npz"
    file.write_bytes(saved(map=np.arange(3)))
    with arrays_of(file, "maps") as arrays:
        assert "scale" not in arrays
        found = arrays["map"]
    assert found.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "content",
    [b"", b"words", WHOLE[:500], WHOLE[:-5], lone(), pickled(), saved(other=np.zeros(2))],
    ids=["empty", "text", "half", "without its end", "one array", "pickled", "another"],
)
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "maps.npz"
    file.write_bytes(content)
    with pytest.raises(MedrobustError) as caught, arrays_of(file, "maps") as arrays:
        _ = arrays["map"]
    assert str(caught.value) == (f"{file}: expected maps, found another file; run `explain` again")


def test_what_the_block_does_not_like_is_damaged_too(tmp_path: Path) -> None:
    file = tmp_path / "images.npz"
    file.write_bytes(saved(image_id=np.array(["a"]), image=np.zeros(2)))
    with (
        pytest.raises(MedrobustError, match=r"expected attacked images, .*run `evaluate` again$"),
        arrays_of(file, "attacked images", "evaluate") as arrays,
    ):
        list(zip(arrays["image_id"], arrays["image"], strict=True))
