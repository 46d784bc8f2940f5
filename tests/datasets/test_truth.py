from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medrobust.data.source import Box
from medrobust.datasets.truth import BoxTable, MaskFolder, Structure, parse_mask_bits
from medrobust.errors import MedrobustError

FINDINGS = ["Pleural Effusion", "tube"]
BITS = {1: Structure("nodule", "finding"), 4: Structure("left lung", "anatomy")}


def test_bits_have_names_and_kinds() -> None:
    text = "1=ggo:finding, 2 = effusion ,16=left lung,32=tube:marker,64=heart:anatomy"
    assert parse_mask_bits(text, FINDINGS) == {
        1: Structure("ggo", "finding"),
        2: Structure("Pleural Effusion", "finding"),  # as the label is called
        16: Structure("left lung", "anatomy"),
        32: Structure("tube", "marker"),  # whatever the labels are
        64: Structure("heart", "anatomy"),
    }


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", "expected 1=NAME or 1=NAME:KIND (finding, anatomy, marker), found ''"),
        ("1=a,", "expected 1=NAME or 1=NAME:KIND (finding, anatomy, marker), found ''"),
        ("a=1", "expected 1=NAME or 1=NAME:KIND (finding, anatomy, marker), found 'a=1'"),
        ("1=a:organ", "expected 1=NAME or 1=NAME:KIND (finding, anatomy, marker), found '1=a:or"),
        ("3=a", "expected each of 1, 2, 4, 8, ... once, found 3"),
        ("0=a", "expected each of 1, 2, 4, 8, ... once, found 0"),
        ("2=a,2=b", "expected each of 1, 2, 4, 8, ... once, found 2"),
    ],
)
def test_bits_that_are_none(text: str, refusal: str) -> None:
    with pytest.raises(MedrobustError) as caught:
        parse_mask_bits(text, FINDINGS)
    assert str(caught.value).startswith(f"mask bits: {refusal}")


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def test_masks_of_bits(tmp_path: Path) -> None:
    save(tmp_path / "ward/1.png", np.array([[0, 1, 4, 5]]))
    save(tmp_path / "ward/2.tif", np.array([[0, 1, 2, 1]]))
    folder = MaskFolder(tmp_path, BITS)
    masks, note = folder.read("ward/1.jpeg", (1, 4))
    assert [(mask.name, mask.kind, mask.pixels.tolist()) for mask in masks] == [
        ("nodule", "finding", [[False, True, False, True]]),
        ("left lung", "anatomy", [[False, False, True, True]]),
    ]
    assert note == ""
    masks, note = folder.read("ward/2.png", (1, 4))
    assert [mask.name for mask in masks] == ["nodule"]
    assert note == "with bits in the mask that have no name"
    assert folder.read("ward/3.png", (1, 4)) == ((), "without a mask")
    assert folder.unused(["ward/2.png", "ward/3.png"]) == 1


def test_a_single_finding_needs_no_bits(tmp_path: Path) -> None:
    save(tmp_path / "1.png", np.array([[0, 7, 255]]))
    (mask,), note = MaskFolder(tmp_path, {}, Structure("ill", "finding")).read("1.png", (1, 3))
    assert (mask.name, mask.pixels.tolist(), note) == ("ill", [[False, True, True]], "")
    with pytest.raises(MedrobustError, match=r"^masks: say what their bits mean \(--mask-bits"):
        MaskFolder(tmp_path, {})


def test_a_flat_folder_of_masks_for_images_in_folders(tmp_path: Path) -> None:
    save(tmp_path / "1.png", np.array([[1]]))
    folder = MaskFolder(tmp_path, BITS)
    assert len(folder.read("a/1.png", (1, 1))[0]) == 1
    with pytest.raises(MedrobustError, match=r"one image per mask, found several for 1\.png$"):
        folder.unused(["a/1.png", "b/1.png"])


def test_masks_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"^expected a folder of masks at .*x, found none$"):
        MaskFolder(tmp_path / "x", BITS)
    save(tmp_path / "1.png", np.zeros((3, 4)))
    (tmp_path / "2.png").write_text("no mask")
    folder = MaskFolder(tmp_path, BITS)
    with pytest.raises(MedrobustError, match=r"^its mask is of 3x4 pixels, not 6x8$"):
        folder.read("1.png", (6, 8))
    with pytest.raises(MedrobustError, match=r"^its mask: not a PNG, JPEG or TIFF image$"):
        folder.read("2.png", (6, 8))
    save(tmp_path / "1.tif", np.zeros((3, 4)))
    with pytest.raises(MedrobustError, match=r"expected one mask per image, found two of one name"):
        MaskFolder(tmp_path, BITS)


def boxes(folder: Path, text: str) -> BoxTable:
    (folder / "boxes.csv").write_text(text)
    return BoxTable.read(folder / "boxes.csv", FINDINGS)


def test_boxes(tmp_path: Path) -> None:
    table = boxes(tmp_path, "image,finding,x,y,w,h\na/1.png,effusion,1,2,3,4\na/1.png,cyst,0,0,9,9")
    found, note = table.of("a/1.png", (10, 10))
    assert found == (Box("Pleural Effusion", (2, 1), (4, 3)), Box("cyst", (0, 0), (9, 9)))
    assert note == ""
    assert table.of("a/2.png", (10, 10)) == ((), "")
    assert table.of("a/1.png", (7, 10))[1] == "with a box that is not within the image"
    assert (table.unused(["a/1.png"]), table.unused(["1.png"])) == (0, 1)


def test_boxes_by_name(tmp_path: Path) -> None:
    table = boxes(tmp_path, "image,class,x,y,w,h\n1.png,cyst,1,2,3,4\n")
    assert table.of("a/1.png", (9, 9))[0] == (Box("cyst", (2, 1), (4, 3)),)
    with pytest.raises(MedrobustError, match=r"tell images of one name apart, found several for 1"):
        table.unused(["a/1.png", "b/1.png"])


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("image,finding,x,y,w\n1,a,1,1,1", "boxes.csv: there is no column 'h'"),
        ("image,finding,x,y,w,h\n1,a,1,1,1,b", "'h', data row 1: expected a number, found 'b'"),
        ("image,finding,x,y,w,h\n1,a,1,1,0,1", "row 1: expected a box with w and h above 0, found"),
        ("image,finding,x,y,w,h\n1,a,nan,1,1,1", "row 1: expected a box with w and h above 0"),
        ("image,finding,x,y,w,h\n1,a,1,1,1,inf", "row 1: expected a box with w and h above 0"),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, text: str, refusal: str) -> None:
    with pytest.raises(MedrobustError) as caught:
        boxes(tmp_path, text)
    assert refusal in str(caught.value)
