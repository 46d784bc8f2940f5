from pathlib import Path

import numpy as np
import pytest

from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.medmnist import MedMNIST
from medrobust.datasets.medmnist_labels import LABELS
from medrobust.errors import MedrobustError

REAL = Path(__file__).parents[3] / "shared/data/pneumoniamnist_28/pneumoniamnist.npz"
real = pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/pneumoniamnist_28")


def write(path: Path, labels: list, shape: tuple[int, ...] = (6, 6), **changes) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        values = np.array(labels)
        arrays[f"{split}_labels"] = values if values.ndim > 1 else values[:, None]
        arrays[f"{split}_images"] = rng.integers(0, 256, (len(values), *shape), np.uint8)
    arrays = {name: array for name, array in (arrays | changes).items() if array is not None}
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    out = tmp_path_factory.mktemp("pneumoniamnist") / "store"
    return prepare(MedMNIST(REAL.parent), out, size=None)


@real
def test_pneumoniamnist_is_complete(store: Store) -> None:
    counts = {
        split: [int((store.labels[store.rows(split)] == value).sum()) for value in (0, 1)]
        for split in ("train", "val", "test")
    }
    assert counts == {"train": [1214, 3494], "val": [135, 389], "test": [234, 390]}
    assert store.findings == ["pneumonia"]
    assert (store.info.name, store.info.task) == ("pneumoniamnist", "multilabel")
    assert store.info.patients == "unknown"
    with np.load(REAL) as archive:
        for split in ("train", "val", "test"):
            assert np.array_equal(store.pixels(store.rows(split))[:, 0], archive[f"{split}_images"])


@real
def test_the_copies_across_its_official_splits_are_told(store: Store) -> None:
    assert store.info.counts["duplicate_groups"] == 27
    assert store.info.warnings == [
        "patients are unknown: every image counts as its own patient",
        "8 groups of identical images lie in more than one split (duplicates.csv)",
    ]


def test_two_classes_become_one_finding(tmp_path: Path) -> None:
    source = MedMNIST(write(tmp_path / "pneumoniamnist_64.npz", [0, 1, 1]))
    table = source.index()
    assert (source.task, source.card.name) == ("multilabel", "pneumoniamnist_64")
    assert table["label:pneumonia"].tolist() == [0, 1, 1] * 3
    assert table["image_id"][4] == "val-00001"
    assert table["split"][4] == "val"
    assert table["file"][4] == "pneumoniamnist_64.npz:val_images[1]"


def test_several_classes_become_exclusive_findings(tmp_path: Path) -> None:
    source = MedMNIST(write(tmp_path / "octmnist.npz", [3, 0, 1, 0], (6, 6)))
    table = source.index()
    assert source.task == "exclusive"
    assert table.filter(like="label:").columns.tolist() == [
        "label:choroidal neovascularization",
        "label:diabetic macular edema",
        "label:drusen",
        "label:normal",
    ]
    assert table.filter(like="label:").to_numpy()[:3].tolist() == [
        *([0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0])
    ]
    assert prepare(source, tmp_path / "store", size=None).info.task == "exclusive"


def test_several_findings_stay_several(tmp_path: Path) -> None:
    labels = np.eye(14, dtype=int)[:3] + np.eye(14, dtype=int)[1:4]
    source = MedMNIST(write(tmp_path / "chestmnist.npz", labels.tolist()))
    table = source.index()
    assert source.task == "multilabel"
    assert table.loc[1, ["label:atelectasis", "label:cardiomegaly", "label:effusion"]].tolist() == [
        *(0, 1, 1)
    ]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((6, 6), (1, 6, 6)), ((6, 6, 3), (3, 6, 6)), ((6, 6, 6), (1, 6, 6, 6))],
)
def test_grey_colour_and_volumes(tmp_path: Path, shape, expected) -> None:
    path = write(tmp_path / "own.npz", [0, 1], shape)
    source = MedMNIST(path)
    store = prepare(source, tmp_path / "store", size=None)
    assert store.images.shape[1:] == expected
    assert store.findings == ["class_1"]
    with np.load(path) as archive:
        image = archive["test_images"][1]
    expected_pixels = np.moveaxis(image, -1, 0) if shape[-1] == 3 else image[None]
    assert np.array_equal(store.images[-1], expected_pixels)


def test_images_can_be_read_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path / "own.npz", [0, 1, 0, 1])
    source = MedMNIST(path)
    with np.load(path) as archive:
        for number in (2, 0, 3, 3, 1):
            picture = source.read({"image_id": f"val-{number:05d}"})
            assert np.array_equal(picture.pixels[0], archive["val_images"][number])
            assert (picture.low, picture.high) == (0, 255)


def test_every_official_name_has_labels() -> None:
    assert len(LABELS) == 18
    assert {name: len(set(labels)) for name, labels in LABELS.items() if len(labels) > 8} == {
        **{"chestmnist": 14, "pathmnist": 9},
        **dict.fromkeys(["organamnist", "organcmnist", "organsmnist", "organmnist3d"], 11),
    }


@pytest.mark.parametrize(
    ("name", "labels", "changes", "text"),
    [
        ("own", [0, 1], {"val_labels": None}, "is not a MedMNIST file: it has no val_labels"),
        ("pneumoniamnist", [0, 2], {}, r"labels: expected 2 \(normal, pneumonia\), got 3"),
        ("own", [0, -3, 5], {}, "labels: expected class numbers from 0, found -3.0"),
        ("own", [0, 2, 1.5], {}, "labels: expected class numbers from 0, found 1.5"),
        ("own", ["a", "b"], {}, r"expected numbers of shape \(N,\) or \(N, K\), got <U1"),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, name, labels, changes, text) -> None:
    path = write(tmp_path / f"{name}.npz", labels, **changes)
    with pytest.raises(MedrobustError, match=text):
        MedMNIST(path)


def test_too_few_images(tmp_path: Path) -> None:
    path = write(tmp_path / "own.npz", [0, 1], val_images=np.zeros((1, 6, 6), np.uint8))
    with pytest.raises(MedrobustError, match=r"expected 2 images in val, as there are labels, got"):
        MedMNIST(path).index()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        MedrobustError, match=r"expected a MedMNIST \.npz file or its folder, found"
    ):
        MedMNIST(tmp_path / "x.npz")


def test_no_file_or_several_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(
        MedrobustError, match=r"expected one \.npz file in .*, found none: name the"
    ):
        MedMNIST(tmp_path)
    for name in "ab":
        write(tmp_path / f"{name}.npz", [0, 1])
    with pytest.raises(MedrobustError, match=r", found a\.npz, b\.npz: name the file"):
        MedMNIST(tmp_path)
