"""Data sets that are not what they should be: one line, and no store."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEADER = "file,patient,split,label"
SPLITS = ["train", "train", "val", "test"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 images of 20 patients and their table."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    write(images, rows())
    return images


Change = Callable[[Path], None]


def cells(row: int, column: int, value: str) -> Change:
    """Writes a value into a cell of the table."""

    def change(images: Path) -> None:
        table = rows()
        table[row][column] = value
        write(images, table)

    return change


def column(number: int, value: str) -> Change:
    """Writes a value into a whole column."""
    return lambda images: write(
        images, [[*row[:number], value, *row[number + 1 :]] for row in rows()]
    )


def truncate(images: Path) -> None:
    content = (images / "3.png").read_bytes()
    (images / "3.png").write_bytes(content[: len(content) // 2])


def enlarge(images: Path) -> None:
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(images / "3.png")


TABLE = "{images}/table.csv"
PROBLEM = "1 problem in the table of images: "
CASES: dict[str, tuple[Change, str]] = {
    "no table": (
        lambda images: (images / "table.csv").unlink(),
        f"expected a table at {TABLE}, found no such file",
    ),
    "no such column": (
        lambda images: write(images, rows(), HEADER.replace("label", "lable")),
        f"{TABLE} has no column 'label', did you mean 'lable'? it has file, patient, split, lable",
    ),
    "missing image": (
        lambda images: (images / "3.png").unlink(),
        "1 of 20 images cannot be used, more than 1.00%: there is no such file (3.png); "
        "--max-rejects allows more",
    ),
    "truncated image": (
        truncate,
        "1 of 20 images cannot be used, more than 1.00%: damaged image: * (3.png); "
        "--max-rejects allows more",
    ),
    "image of another size": (
        enlarge,
        "1 of 20 images cannot be used, more than 1.00%: expected 8x8 pixels like the first "
        "image, got 9x8: give a size to which all are resized (--size) (3.png)",
    ),
    "label 2": (
        cells(4, 3, "2"),
        f"{TABLE}: column 'label', data row 5: expected 1, 0, -1 (uncertain), true, false "
        "or empty, found '2' (1 such rows)",
    ),
    "patient in two splits": (
        cells(4, 1, "p0"),
        f"{PROBLEM}1 patients are in more than one split, such as that of rows 1, 5 "
        "(--own-split divides patients here)",
    ),
    "image twice": (cells(4, 0, "5.png"), f"{PROBLEM}image_id is not unique: 5"),
    "unknown split": (
        cells(4, 2, "holdout"),
        "column 'split', data row 5: expected one of train, training, val, valid, validation, "
        "test, testing or empty, found 'holdout'",
    ),
    "no scorable finding": (
        column(3, "0"),
        f"{PROBLEM}no finding has both a positive and a negative image in train",
    ),
    "path out of the folder": (
        cells(4, 0, "../secret.png"),
        f"{TABLE}: expected paths below the folder of images, found '../secret.png'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_images(
    refusal: Callable[..., str],
    folder: Path,
    contents: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
    case: str,
) -> None:
    change, expected = CASES[case]
    change(folder)
    before = contents(tmp_path)
    found = refusal(*command(folder, tmp_path / "store"))
    pattern = re.escape(expected.replace("{images}", str(folder))).replace(r"\*", ".+")
    assert re.fullmatch(pattern, found)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("medmnist", "expected a MedMNIST .npz file or its folder, found no {}"),
        ("arrays", "expected an .npz file or a folder of .npy files at {}"),
    ],
)
def test_no_data(refusal: Callable[..., str], tmp_path: Path, source: str, expected: str) -> None:
    path = tmp_path / "gone.npz"
    found = refusal("prepare", source, "--root", path, "--out", tmp_path / "store")
    assert found == expected.format(path)
    assert not list(tmp_path.iterdir())


def test_pickled_arrays_are_never_loaded(refusal: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    objects = np.array([{"a": 1}, None], dtype=object)
    np.savez(path, images=np.zeros((2, 8, 8), np.uint8), labels=objects)
    assert refusal("prepare", "arrays", "--root", path, "--out", tmp_path / "store") == (
        f"{path} cannot be read: Object arrays cannot be loaded when allow_pickle=False"
    )
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--images", "5"), "phantom: expected images from 20 to 1000000, found 5"),
        (("--finding", "nodle"), "phantom: unknown finding 'nodle': did you mean 'nodule'? *"),
        (("--shortcut", "oedema"), "phantom: unknown shortcut 'oedema': expected one of nodule, *"),
    ],
)
def test_phantom(
    refusal: Callable[..., str], tmp_path: Path, options: tuple[str, str], expected: str
) -> None:
    found = refusal("prepare", "phantom", "--out", tmp_path / "store", *options)
    assert re.fullmatch(re.escape(expected).replace(r"\*", ".*"), found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("sick", "--label: expected NAME=COLUMN, found 'sick'"),
        ("=label", "--label: expected NAME=COLUMN, found '=label'"),
    ],
)
def test_label_without_a_column(
    refusal: Callable[..., str], folder: Path, tmp_path: Path, label: str, expected: str
) -> None:
    words = command(folder, tmp_path / "store")[:-1]
    assert refusal(*words, label) == expected


def test_label_given_twice(refusal: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    words = command(folder, tmp_path / "store")
    assert refusal(*words, "--label", "sick=split") == "--label: sick is given twice"


def test_bits(medrobust: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, err = medrobust("prepare", "phantom", "--out", tmp_path / "store", "--bits", "12")
    assert code == 1
    assert err == "error: --bits: expected 8 or 16, found 12\n"
    assert not list(tmp_path.iterdir())


def rows() -> list[list[str]]:
    return [[f"{n}.png", f"p{n}", SPLITS[n // 2 % 4], str(n % 2)] for n in range(20)]


def write(images: Path, table: list[list[str]], header: str = HEADER) -> None:
    lines = [header, *(",".join(row) for row in table)]
    (images / "table.csv").write_text("\n".join(lines) + "\n")


def command(images: Path, out: Path) -> list[object]:
    return [
        *("prepare", "images", "--root", images, "--table", images / "table.csv", "--out", out),
        *("--image-column", "file", "--patient-column", "patient", "--split-column", "split"),
        *("--label", "sick=label"),
    ]
