import zipfile
from pathlib import Path

import numpy as np
import pytest

from medrobust.data.prepare import prepare
from medrobust.data.window import parse_window
from medrobust.datasets.arrays import Arrays
from medrobust.errors import MedrobustError

REAL = Path(__file__).parents[3] / "shared/data/luna16_candidate_patches_50/luna16_patches_50.npz"
real = pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/luna16_candidate_patches")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
LABELS = np.array([0, 1, 0, 1, 1, 0])


def saved(folder: Path, **arrays) -> Path:
    np.savez(folder / "own data.npz", **({"images": IMAGES, "labels": LABELS} | arrays))
    return folder / "own data.npz"


@real
def test_luna16_patches(tmp_path: Path) -> None:
    source = Arrays(REAL, split="split", findings=["nodule"], window=parse_window("0:255"))
    store = prepare(source, tmp_path / "store", size=None)
    assert store.images.shape == (8105, 1, 50, 50)
    assert store.findings == ["nodule"]
    assert [int((store.labels == value).sum()) for value in (0, 1)] == [6754, 1351]
    with np.load(REAL) as archive:
        assert np.array_equal(store.images[::97, 0], archive["images"][::97])
        for code, split in enumerate(("train", "val", "test")):
            assert np.array_equal(store.rows(split), np.flatnonzero(archive["split"] == code))


def test_the_table(tmp_path: Path) -> None:
    path = saved(tmp_path, fold=np.array(["Train", "valid", "test"] * 2), who=np.arange(6) // 2)
    source = Arrays(path, split="fold", patients="who")
    table = source.index()
    assert table["image_id"].tolist() == [f"00000{number}" for number in range(6)]
    assert table["file"][5] == "own data.npz[5]"
    assert table["patient_id"].tolist() == ["0", "0", "1", "1", "2", "2"]
    assert table["split"].tolist() == ["train", "val", "test"] * 2
    assert table["label:class_1"].tolist() == LABELS.tolist()
    assert (source.task, source.card.name) == ("multilabel", "own-data")


@pytest.mark.parametrize("images", [IMAGES, np.asfortranarray(IMAGES), IMAGES.astype(np.uint16)])
def test_images_of_a_file_and_of_a_folder(tmp_path: Path, images: np.ndarray) -> None:
    path = saved(tmp_path, images=images)
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", LABELS)
    for source in (Arrays(path), Arrays(folder)):
        assert len(source.index()) == 6
        picture = source.read({"image_id": "000003"})
        assert np.array_equal(picture.pixels, images[3][None])
        assert picture.high == np.iinfo(images.dtype).max


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4), (1, 5, 4)),
        ((5, 4, 1), (1, 5, 4)),
        ((5, 4, 3), (3, 5, 4)),
        ((3, 5, 4), (3, 5, 4)),
        ((1, 5, 4), (1, 5, 4)),
        ((7, 5, 4), (1, 7, 5, 4)),
        ((1, 7, 5, 4), (1, 7, 5, 4)),
        ((7, 5, 4, 1), (1, 7, 5, 4)),
    ],
)
def test_channels_come_first(tmp_path: Path, shape, expected) -> None:
    source = Arrays(saved(tmp_path, images=np.zeros((6, *shape), np.uint8)))
    assert source.read({"image_id": "000000"}).pixels.shape == expected


def test_a_window_for_other_numbers(tmp_path: Path) -> None:
    path = saved(tmp_path, images=IMAGES.astype(np.float32))
    assert Arrays(path, window=parse_window("-1000:400")).read({"image_id": "000000"}).low == -1000
    with pytest.raises(MedrobustError, match="give the window of float32 images: the values of x"):
        Arrays(path).read({"image_id": "000000"})
    masks = Arrays(saved(tmp_path, images=IMAGES > 100)).read({"image_id": "000000"})
    assert (masks.low, masks.high) == (0, 1)


@pytest.mark.parametrize(
    ("labels", "settings", "columns", "task"),
    [
        ([0, 1, np.nan], {}, {"class_1": [0, 1, None]}, "multilabel"),
        ([True, False], {"findings": ["a"]}, {"a": [1, 0]}, "multilabel"),
        ([[0], [1]], {"findings": ["no", "yes"]}, {"yes": [0, 1]}, "multilabel"),
        ([2, 0], {}, {"class_0": [0, 1], "class_1": [0, 0], "class_2": [1, 0]}, "exclusive"),
        ([0, 1], {"findings": list("abc")}, {"a": [1, 0], "b": [0, 1], "c": [0, 0]}, "exclusive"),
        ([2, np.nan], {"findings": list("abc")}, {c: [c == "c", None] for c in "abc"}, "exclusive"),
        ([[1, 1], [0, 1]], {"findings": list("ab")}, {"a": [1, 0], "b": [1, 1]}, "multilabel"),
        ([[1, 0]], {"task": "exclusive"}, {"class_0": [1], "class_1": [0]}, "exclusive"),
    ],
)
def test_labels(tmp_path: Path, labels, settings, columns, task) -> None:
    images = IMAGES[: len(labels)]
    source = Arrays(saved(tmp_path, images=images, labels=np.array(labels)), **settings)
    made = source.index().filter(like="label:")
    expected = {f"label:{name}": np.array(values, float) for name, values in columns.items()}
    assert list(made.columns) == list(expected)
    for name, values in expected.items():
        assert np.array_equal(made[name], values, equal_nan=True)
    assert source.task == task


@pytest.mark.parametrize(
    ("arrays", "settings", "text"),
    [
        ({}, {"images": "pixels"}, "has no array 'pixels': it has images, labels"),
        ({}, {"split": "split"}, "has no array 'split': it has images, labels"),
        ({"labels": LABELS[1:]}, {}, "expected 5 entries in array 'images', as there are labels"),
        ({"who": LABELS[1:]}, {"patients": "who"}, "expected 6 entries in array 'who', as there"),
        (
            {"split": LABELS + 2},
            {"split": "split"},
            "array 'split': expected 0 = train, 1 = val, 2 = test, found 3",
        ),
        ({}, {"findings": list("abc"), "labels": "images"}, r"expected numbers of shape \(N,\)"),
        ({"labels": np.eye(6)}, {"findings": ["a"]}, r"'labels': expected 1 \(a\), got 6"),
        ({"labels": LABELS * 1e9}, {}, "expected class numbers from 0, found 1000000000.0"),
        ({"labels": np.array([{}])}, {}, "cannot be read: Object arrays cannot be loaded"),
        ({"images": np.array([{}] * 6)}, {}, "array 'images' holds Python objects"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays, settings, text) -> None:
    with pytest.raises(MedrobustError, match=text):
        Arrays(saved(tmp_path, **arrays), **settings).index()


def test_minus_one_is_uncertain(tmp_path: Path) -> None:
    path = saved(tmp_path, labels=LABELS - (np.arange(6) == 0), split=np.array([0, 0, 0, 1, 2, 2]))
    store = prepare(Arrays(path, split="split"), tmp_path / "store", size=None)
    assert np.isnan(store.labels[0, 0])
    assert "1 uncertain labels count as unknown" in store.info.warnings


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and nothing else"])
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(MedrobustError, match=r"x\.npz cannot be read: File is not a zip file"):
        Arrays(tmp_path / "x.npz")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        MedrobustError, match=r"expected an \.npz file or a folder of \.npy files at"
    ):
        Arrays(tmp_path / "x.npz")
    with pytest.raises(MedrobustError, match="has no array 'labels': it has none"):
        Arrays(tmp_path)


def test_damage_in_the_images_ends_it(tmp_path: Path) -> None:
    path = saved(tmp_path, images=np.zeros((6, 100, 100), np.uint8))
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("images.npy").header_offset + 40_000
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    source = Arrays(path)
    with pytest.raises(MedrobustError, match=r"array 'images' is damaged: Bad CRC-32"):
        prepare(source, tmp_path / "store", size=None, splits=(0, 0, 1), max_rejects=1)
    assert not (tmp_path / "store").exists()


def test_a_folder_with_one_archive_is_that_archive(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert Arrays(tmp_path).index().equals(Arrays(path).index())
