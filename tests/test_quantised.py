import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.quantised import Depth, Native, read_images, write_images
from medrobust.randomness import image_keys, key, uniform

Contents = Callable[[Path], dict[str, bytes]]


def random_images(*shape: int, seed: int = 0) -> Tensor:
    """In [0, 1], both ends included."""
    drawn = uniform(image_keys(key(seed, "test"), torch.arange(shape[0])), shape[1:])
    return (drawn * 1.2 - 0.1).clamp(0, 1)


def ids(count: int) -> list[str]:
    return [f"image {number}" for number in range(count)]


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.mark.parametrize("shape", [(3, 1, 5, 7), (2, 1, 4, 5, 6)])
@pytest.mark.parametrize(("depth", "full"), [("8", 255), ("16", 65535)])
def test_what_is_read_is_the_rounding(
    tmp_path: Path, shape: tuple[int, ...], depth: Depth, full: int
) -> None:
    images = random_images(*shape)
    write_images(tmp_path / "x", ids(shape[0]), images, depth)
    names, found = read_images(tmp_path / "x")
    assert names == ids(shape[0])
    assert found.dtype == torch.float32
    assert torch.equal(found, ((images.double() * full).round() / full).float())


def test_colour_keeps_its_channels(tmp_path: Path) -> None:
    images = random_images(2, 3, 4, 6)
    write_images(tmp_path / "x", ids(2), images, "8")
    assert torch.equal(read_images(tmp_path / "x")[1], (images * 255).round() / 255)
    expected = (images[1].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(pixels(tmp_path / "x/1-image 1.png"), expected)


def test_coloured_volumes(tmp_path: Path) -> None:
    images = random_images(2, 3, 2, 4, 6)
    write_images(tmp_path / "x", ids(2), images, "8")
    assert torch.equal(read_images(tmp_path / "x")[1], (images * 255).round() / 255)


def test_clean_images_of_a_store_lose_nothing(tmp_path: Path, tiny_store: Store) -> None:
    images = load_images(tiny_store, np.arange(6), "cpu")
    depth: Depth = "8" if tiny_store.info.bits == 8 else "16"
    write_images(tmp_path / "x", ids(6), images, depth)
    assert torch.equal(read_images(tmp_path / "x")[1], images)
    assert np.array_equal(pixels(tmp_path / "x/5-image 5.png"), tiny_store.pixels([5])[0, 0])


def test_hounsfield_units_below_zero(tmp_path: Path) -> None:
    native = np.array([-1000, -150, 0, 399, 400])
    images = torch.from_numpy((native + 1000) / 1400).float().reshape(1, 1, 1, 5)
    write_images(tmp_path / "x", ["ct"], images, "stored", Native([-1000], [400]))
    assert pixels(tmp_path / "x/0-ct.png").tolist() == [[0, 850, 1000, 1399, 1400]]
    assert json.loads((tmp_path / "x/levels.json").read_text()) == {
        "depth": "stored",
        "shape": [1, 1, 5],
        "images": {"0-ct.png": {"low": -1000.0, "high": 400.0, "offset": -1000}},
    }
    assert torch.equal(read_images(tmp_path / "x")[1], images)


@settings(max_examples=40, deadline=None)
@given(
    windows=st.lists(
        st.tuples(st.floats(-40000, 30000), st.floats(1.5, 65534)), min_size=1, max_size=3
    ),
    seed=st.integers(0, 10**6),
)
def test_stored_levels_are_at_most_half_a_level_away(
    tmp_path_factory: pytest.TempPathFactory, windows: list[tuple[float, float]], seed: int
) -> None:
    images = random_images(len(windows), 1, 4, 4, seed=seed)
    low, width = np.array(windows).T
    folder = tmp_path_factory.mktemp("stored")
    for name in ("once", "twice"):
        write_images(folder / name, ids(len(windows)), images, "stored", Native(low, low + width))
        _, found = read_images(folder / name)
        error = (found - images).abs().flatten(1).amax(1).double().numpy()
        assert (error <= 0.5 / width + 1e-7).all()
        assert ((found >= 0) & (found <= 1)).all()
        images = found
    assert error.max() == 0  # what was rounded once stays


@settings(max_examples=40, deadline=None)
@given(
    image_ids=st.lists(
        st.text(st.characters(exclude_categories=("Cs",), min_codepoint=32), min_size=1),
        max_size=4,
        unique=True,
    )
)
def test_any_id_comes_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, image_ids: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ids") / "x"
    images = random_images(len(image_ids), 1, 2, 2) if image_ids else torch.zeros(0, 1, 2, 2)
    write_images(folder, image_ids, images, "16")
    names, found = read_images(folder)
    assert names == image_ids
    assert found.shape == images.shape


@pytest.mark.parametrize("volumes", [False, True])
def test_files_have_safe_names(tmp_path: Path, volumes: bool) -> None:
    image_ids = ["a/b", "a?b", "A_B", "../up", ".", "con", "7" * 400, "𠀀" * 400, "007", "NA"]
    shape = (10, 1, 2, 3, 3) if volumes else (10, 1, 3, 3)
    write_images(tmp_path / "x", image_ids, random_images(*shape), "8")
    table = pd.read_csv(tmp_path / "x/images.csv", dtype=str, keep_default_na=False)
    assert table["image_id"].tolist() == image_ids
    suffix = "" if volumes else ".png"
    assert table["file"].tolist() == [
        f"00-a_b{suffix}",
        f"01-a_b{suffix}",
        f"02-A_B{suffix}",
        f"03-.._up{suffix}",
        f"04-_{suffix}",
        f"05-con{suffix}",
        f"06-{'7' * 50}{suffix}",
        f"07-{'𠀀' * 50}{suffix}",
        f"08-007{suffix}",
        f"09-NA{suffix}",
    ]
    there = {path.name for path in (tmp_path / "x").iterdir()}
    assert there == {*table["file"], "images.csv", "levels.json"}
    assert read_images(tmp_path / "x")[0] == image_ids
    if volumes:
        slices = sorted(path.name for path in (tmp_path / "x/08-007").iterdir())
        assert slices == ["0000.png", "0001.png"]


def test_half_precision_and_gradients_are_no_obstacle(tmp_path: Path) -> None:
    images = random_images(2, 1, 3, 3).bfloat16().requires_grad_()
    write_images(tmp_path / "x", ids(2), images, "8")
    expected = (images.detach().float() * 255).round() / 255
    assert torch.equal(read_images(tmp_path / "x")[1], expected)


def test_the_folder_appears_whole_or_not_at_all(
    tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "x", ids(2), random_images(2, 1, 3, 3), "8")
    before = contents(tmp_path)
    with pytest.raises(MedrobustError, match="exists already: choose another place"):
        write_images(tmp_path / "x", ids(2), random_images(2, 1, 3, 3, seed=1), "8")
    monkeypatch.setattr("medrobust.quantised.write_json", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_images(tmp_path / "x", ids(1), random_images(1, 1, 3, 3), "8", overwrite=True)
    monkeypatch.undo()
    assert contents(tmp_path) == before
    write_images(tmp_path / "x", ids(1), random_images(1, 1, 3, 3), "16", overwrite=True)
    assert read_images(tmp_path / "x")[0] == ids(1)


def _interrupt(path: Path, value: Any) -> None:
    raise KeyboardInterrupt


ONE = torch.zeros(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("images", "depth", "native", "text"),
    [
        (ONE, "12", None, "depth: expected one of ('8', '16', 'stored'), found '12'"),
        (
            torch.zeros(1, 2, 2),
            "8",
            None,
            "images: expected (n, C, H, W) or (n, C, D, H, W) with 1 or 3 channels, "
            "found (1, 2, 2)",
        ),
        (
            torch.zeros(1, 2, 4, 4),
            "8",
            None,
            "images: expected (n, C, H, W) or (n, C, D, H, W) with 1 or 3 channels, "
            "found (1, 2, 4, 4)",
        ),
        (
            torch.zeros(1, 3, 4, 4),
            "16",
            None,
            "depth: expected '8' for images in colour (PNG files have no more here), found '16'; "
            "write 8 bits or one channel",
        ),
        (
            ONE + 1.001,
            "8",
            None,
            "images: expected values in [0, 1], found 1.001 to 1.001; clip them first",
        ),
        (ONE - 0.5, "16", None, "images: expected values in [0, 1], found -0.5 to -0.5; clip them"),
        (ONE + torch.nan, "8", None, "images: expected values in [0, 1], found nan to nan; clip"),
        (
            ONE,
            "stored",
            None,
            "depth 'stored': expected the native values of x = 0 and x = 1, found none; give them "
            "or choose '8' or '16'",
        ),
        (
            ONE,
            "stored",
            Native([0, 0], [1, 1]),
            "native: expected two values per image, 1 each, found shapes (2,) and (2,)",
        ),
        (
            ONE,
            "stored",
            Native([0.1], [0.4]),
            "native: expected finite values that are 1 to 65535 apart, found 0.1 and 0.4 for image "
            "'image 0'; choose '8' or '16'",
        ),
        (ONE, "stored", Native([0], [65536]), "native: expected finite values that are 1 to 65535"),
        (ONE, "stored", Native([np.nan], [9]), "native: expected finite values that are 1 to"),
        (ONE, "stored", Native([-np.inf], [9]), "native: expected finite values that are 1 to"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, images: Tensor, depth: Depth, native: Native | None, text: str
) -> None:
    with pytest.raises(MedrobustError) as error:
        write_images(tmp_path / "x", ids(1), images, depth, native)
    assert str(error.value).startswith(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("image_ids", "text"),
    [
        (["a"], "image ids: expected one per image, 2, found 1"),
        (["a", "a"], "image ids: expected each once, found 'a' 2 times"),
        (["a", ""], "image ids: expected text without control characters, found ''"),
        (["a", "b\r"], "image ids: expected text without control characters, found 'b\\r'"),
        (["a", "\ud800"], "image ids: expected text without control characters, found '\\ud800'"),
    ],
)
def test_ids_that_cannot_be_written(tmp_path: Path, image_ids: list[str], text: str) -> None:
    with pytest.raises(MedrobustError) as error:
        write_images(tmp_path / "x", image_ids, torch.zeros(2, 1, 2, 2), "8")
    assert str(error.value) == text


class TestDamagedFolders:
    """What a folder may have suffered since it was written."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_images(tmp_path / "x", ids(2), random_images(2, 1, 40, 30), "16")
        return tmp_path / "x"

    @pytest.fixture
    def volumes(self, tmp_path: Path) -> Path:
        write_images(tmp_path / "v", ids(2), random_images(2, 1, 3, 4, 5), "8")
        return tmp_path / "v"

    def refused(self, folder: Path) -> str:
        with pytest.raises(MedrobustError) as error:
            read_images(folder)
        assert "\n" not in str(error.value)
        return str(error.value).replace(str(folder), "x")

    def test_a_missing_image(self, folder: Path) -> None:
        (folder / "1-image 1.png").unlink()
        assert self.refused(folder) == (
            f"{Path('x/1-image 1.png')}: expected a PNG file, I;16 of 30 × 40 pixels, found no "
            "such file; write the images again"
        )

    def test_a_missing_slice(self, volumes: Path) -> None:
        (volumes / "1-image 1/0001.png").unlink()
        assert self.refused(volumes) == (
            f"{Path('x/1-image 1/0001.png')}: expected a PNG file, L of 5 × 4 pixels, found no "
            "such file; write the images again"
        )

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF", "text"])
    def test_a_file_that_is_no_png(self, folder: Path, kind: str) -> None:
        path = folder / "0-image 0.png"
        if kind == "text":
            path.write_text("no picture")
        else:
            Image.new("L", (30, 40)).save(path, kind)
        assert "found a file that is no PNG; write" in self.refused(folder)

    def test_half_a_file(self, folder: Path) -> None:
        path = folder / "0-image 0.png"
        path.write_bytes(path.read_bytes()[:1000])
        assert "found a damaged file; write" in self.refused(folder)

    @pytest.mark.parametrize(
        ("mode", "size", "found"),
        [("L", (30, 40), "L of 30 × 40"), ("I;16", (40, 30), "I;16 of 40 × 30")],
    )
    def test_another_kind_of_png(
        self, folder: Path, mode: str, size: tuple[int, int], found: str
    ) -> None:
        Image.new(mode, size).save(folder / "0-image 0.png")
        assert f"I;16 of 30 × 40 pixels, found {found}; write" in self.refused(folder)

    @pytest.mark.parametrize("name", ["images.csv", "levels.json"])
    def test_a_missing_table(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        assert self.refused(folder).startswith(
            {
                "images.csv": f"{Path('x/images.csv')} cannot be read as a table",
                "levels.json": f"{Path('x/levels.json')}: expected what the images' integers "
                "mean, found no such file; write the images again",
            }[name]
        )

    @pytest.mark.parametrize(
        "table",
        [
            "image_id,file\na,0-image 0.png\n",
            "image_id,file\na,0-image 0.png\nb,../y.png\n",
            "image_id\na\nb\n",
            "",
        ],
    )
    def test_a_table_of_other_images(self, folder: Path, table: str) -> None:
        (folder / "images.csv").write_text(table)
        assert self.refused(folder).startswith(f"{Path('x/images.csv')}")

    def test_a_table_without_ids(self, folder: Path) -> None:
        (folder / "images.csv").write_text(
            "image_id,file\n,0-image 0.png\nb,1-image 1.png\n", encoding="utf-8"
        )
        assert self.refused(folder).startswith("image ids: expected text")

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"depth": "12"}, "depth: Input should be '8', '16' or 'stored'"),
            ({"shape": [4, 4]}, "shape: Tuple should have at least 3 items"),
            ({"shape": [1, 0, 4]}, "shape.1: Input should be greater than 0"),
            ({"images": {"../y.png": {}}}, "images.../y.png.[key]: String should match pattern"),
            (
                {"images": {"0-a.png": {"low": 1, "high": 1, "offset": 0}}},
                "images.0-a.png: Value error, expected low < high",
            ),
            ({"images": {"0-a.png": {"low": 1, "high": 2}}}, "images.0-a.png.offset: Field requ"),
        ],
    )
    def test_levels_that_make_no_sense(
        self, folder: Path, change: dict[str, Any], text: str
    ) -> None:
        path = folder / "levels.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert self.refused(folder).startswith(f"{Path('x/levels.json')}: {text}")

    def test_levels_that_are_no_json(self, folder: Path) -> None:
        (folder / "levels.json").write_text("{")
        assert self.refused(folder).startswith(f"{Path('x/levels.json')}: Invalid JSON")
