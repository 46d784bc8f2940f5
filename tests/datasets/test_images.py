import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from medrobust.data.convert import convert
from medrobust.data.prepare import prepare
from medrobust.data.settings import Settings
from medrobust.data.window import parse_window
from medrobust.datasets.images import Images
from medrobust.datasets.label_table import read_foreign_table
from medrobust.errors import MedrobustError

SHARED = Path(__file__).parents[3] / "shared/data"
KERMANY, COVID = SHARED / "kermany_pneumonia_224", SHARED / "covid_cxr_lesion_masks"
kermany = pytest.mark.skipif(not KERMANY.exists(), reason="needs ../shared/data/kermany_pneumonia")
covid = pytest.mark.skipif(not COVID.exists(), reason="needs ../shared/data/covid_cxr_lesion_masks")
ROWS = """image,who,set,ill,age,view
a/1.png,007,training,1,61,PA
a/2.png,008,Train,0,,AP
a/3.jpeg,009,valid,TRUE,30.5,PA
b/4.PNG,010,test,0.0,7,
b/5.png,010,test,,7,
"""
SETTINGS = {
    "image_column": "image",
    "labels": {"ill": "ill"},
    "patient_column": "who",
    "split_column": "set",
    "metadata": {"age": "age", "view": "view"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder `images`, a table `table.csv` beside it."""
    folder = tmp_path / "images"
    for number, name in enumerate(["a/1.png", "a/2.png", "a/3.jpeg", "b/4.PNG", "b/5.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8), 40 * number + 50, np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (tmp_path / "table.csv").write_text(ROWS)
    return folder


def source(root: Path, **changes) -> Images:
    return Images(root.parent / "table.csv", root, **(SETTINGS | changes))


def edit(root: Path, old: str, new: str) -> None:
    path = root.parent / "table.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refusal(root: Path, **changes) -> str:
    with pytest.raises(MedrobustError) as caught:
        source(root, **changes).index()
    return str(caught.value)


def test_the_table(root: Path) -> None:
    table = source(root).index()
    assert table["image_id"].tolist() == ["a-1", "a-2", "a-3", "b-4", "b-5"]
    assert table["file"][3] == "b/4.PNG"
    assert table["patient_id"].tolist() == ["007", "008", "009", "010", "010"]
    assert table["split"].tolist() == ["train", "train", "val", "test", "test"]
    assert table["label:ill"].tolist()[:4] == [1, 0, 1, 0]
    assert table["age"].tolist()[2:] == [30.5, 7, 7]
    assert table[["label:ill", "age", "view"]].isna().sum().tolist() == [1, 1, 2]


def test_from_a_table_to_a_store(root: Path, tmp_path: Path) -> None:
    store = prepare(source(root), tmp_path / "store", size=None)
    assert store.images[[0, 1, 2, 3, 4], 0, 0, 0].tolist() == [50, 90, 130, 170, 210]
    assert store.table["patient_id"][0] == "007"
    assert store.info.patients == "known"
    assert (store.info.name, store.info.title) == ("table", "table.csv")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_spaces_and_a_byte_order_mark(root: Path, separator: str) -> None:
    text = ROWS.replace(",", f" {separator} ")
    (root.parent / "table.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert source(root).index()["image_id"].tolist() == ["a-1", "a-2", "a-3", "b-4", "b-5"]


def test_backslashes_of_windows(root: Path) -> None:
    edit(root, "a/", "a\\")
    assert source(root).index()["file"][0] == "a/1.png"


def test_sixteen_bits_keep_their_precision(root: Path, tmp_path: Path) -> None:
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) + 1000
    edit(root, "a/3.jpeg", "a/3.png")
    for number, name in enumerate(["a/1.png", "a/2.png", "a/3.png", "b/4.PNG", "b/5.png"]):
        Image.fromarray(deep + np.uint16(number)).save(root / name)
    store = prepare(source(root), tmp_path / "store", size=None, bits=16)
    assert np.array_equal(store.images[0, 0], deep)
    assert store.info.window == (0, 65535)
    assert any(w.startswith("no pixel is brighter than x = 0.016") for w in store.info.warnings)
    narrow = prepare(
        source(root, window=parse_window("1000:1063")), tmp_path / "narrow", size=None, bits=16
    )
    assert np.array_equal(narrow.images[0, 0], np.rint(65535 / 63 * (deep - 1000.0)))


def test_a_missing_and_a_truncated_file_are_rejects(root: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 8), np.uint8)
    Image.fromarray(noise).save(root / "b/4.PNG")
    (root / "b/4.PNG").write_bytes((root / "b/4.PNG").read_bytes()[:-30])
    edit(root, "b/5.png,010,test,,7,", "b/5.png,010,test,,7,\nb/6.png,010,test,1,7,")
    prepare(source(root), tmp_path / "store", size=None, max_rejects=0.5)
    rejects = pd.read_csv(tmp_path / "store" / "rejects.csv")
    assert rejects["file"].tolist() == ["b/6.png", "b/4.PNG"]
    assert rejects["reason"][0] == "there is no such file"
    assert rejects["reason"][1].startswith("damaged image: ")


def test_a_wrong_folder_is_said_at_once(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wrong = Images(tmp_path / "table.csv", tmp_path / "empty", **SETTINGS)
    with pytest.raises(
        MedrobustError,
        match=r"^none of the 5 images can be used: there is no such file \(a/1\.png, a/2\.png, ",
    ):
        prepare(wrong, tmp_path / "store", size=None)


def test_images_of_several_sizes_need_a_size(root: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 8), 90, np.uint8)).save(root / "a/2.png")
    with pytest.raises(MedrobustError, match=r"expected 8x8 pixels .*, got 9x8: give a size"):
        prepare(source(root), tmp_path / "store", size=None)
    store = prepare(source(root), tmp_path / "store", size=4)
    assert store.table["scale_y"].tolist() == [2, 2.25, 2, 2, 2]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("007,training,1,", "007,training,2,", "column 'ill', data row 1: expected 1, 0, -1 (unc"),
        (
            "TRUE",
            "maybe",
            "column 'ill', data row 3: expected 1, 0, -1 (uncertain), true, false or empty, fo",
        ),
        ("Train", "dev", "column 'set', data row 2: expected one of train, training, val, valid,"),
        ("61", "061Y", "column 'age', data row 1: expected numbers or empty, found '061Y' (1 such"),
        ("a/1.png", "../1.png", "expected paths below the folder of images, found '../1.png'"),
        ("a/1.png", "/etc/1.png", "expected paths below the folder of images, found '/etc/1.png'"),
        ("a/1.png", "C:\\1.png", "expected paths below the folder of images, found 'C:\\\\1.png'"),
        ("a/1.png", "", "column 'image' has empty cells"),
        ("ill,", "sick,", "has no column 'ill': it has image, who, set, sick, age, view"),
        ("ill,", "il,", "has no column 'ill', did you mean 'il'? it has image, who, set, il, age"),
        ("ill,", "set,", "column 'set' appears twice"),
        ("61,PA", "61,PA,9", "table.csv, data row 1: expected 6 cells as in the header, found 7"),
    ],
)
def test_a_table_with_a_mistake(root: Path, old: str, new: str, text: str) -> None:
    edit(root, old, new)
    assert text in refusal(root)


@pytest.mark.parametrize("name", ["split", "scale_y", "label:x"])
def test_metadata_need_names_of_their_own(root: Path, name: str) -> None:
    assert refusal(root, metadata={name: "view"}) == (
        f"metadata {name!r} needs another name: the store uses this one"
    )


def test_the_same_image_twice(root: Path, tmp_path: Path) -> None:
    edit(root, "a/2.png", "a/1.png")
    with pytest.raises(MedrobustError, match="image_id is not unique: a-1"):
        prepare(source(root), tmp_path / "store", size=None)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected a header and at least one row, found 0"),
        (b"image,ill\n\n", "expected a header and at least one row, found 1"),
        ("image,ill\nü,1\n".encode("latin-1"), "cannot be read as UTF-8 CSV: 'utf-8' codec"),
        (b'image,ill\n"a,1\n', "data row 1: expected 2 cells as in the header, found 1"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(MedrobustError, match=f"table.csv.* {text}"):
        read_foreign_table(tmp_path / "table.csv")


def test_no_table_and_no_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"expected a table at .*x\.csv, found no such file"):
        Images(tmp_path / "x.csv", root, **SETTINGS).index()
    with pytest.raises(MedrobustError, match=r"expected a folder of images at .*x, found none"):
        source(tmp_path / "x")


def test_labels_from_any_column(root: Path) -> None:
    labels = {"ill": "ill", "pa": "view:PA", "old": "age>=30", "both": "ill & view:PA|AP"}
    table = source(root, labels=labels).index().filter(like="label:")
    expected = [[1, 1, 1, 1], [0, 0, np.nan, 0], [1, 1, 1, 1], [0, np.nan, 0, 0]]
    assert np.array_equal(table.to_numpy(float)[:4], expected, equal_nan=True)
    assert refusal(root, labels={"x": "view:LL"}).endswith(
        "column 'view' nowhere has 'LL': it has ap, pa"
    )


def test_minus_one_is_uncertain(root: Path) -> None:
    edit(root, "007,training,1", "007,training,-1")
    assert source(root).index()["label:ill"][0] == -1


def test_masks_and_boxes_from_files_to_the_store(root: Path, tmp_path: Path) -> None:
    truth = np.zeros((8, 8), np.uint8)
    truth[2:4, 4:8] = 1
    for name in ("a/1.png", "a/2.png", "c/9.png"):
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth).save(tmp_path / "masks" / name)
    (tmp_path / "boxes.csv").write_text("image,finding,x,y,w,h\na/1.png,ill,4,2,4,2\nq,ill,0,0,1,1")
    made = source(root, masks=tmp_path / "masks", boxes=tmp_path / "boxes.csv")
    store = prepare(made, tmp_path / "store", size=4)
    masks = store.truth("ill")
    assert sorted(masks) == [0, 1]
    assert np.argwhere(masks[0]).tolist() == [[1, 2], [1, 3]]
    boxes = pd.read_csv(tmp_path / "store" / "boxes.csv")
    assert boxes.drop(columns="image_id").to_numpy().tolist() == [["ill", 2, 1, 2, 1]]
    for warning in (
        "1 masks belong to no image of the table",
        "1 images with boxes are not in the table",
        "3 images: without a mask",
    ):
        assert warning in store.info.warnings


def test_a_mask_of_another_size_costs_its_image(root: Path, tmp_path: Path) -> None:
    edit(root, "a/2.png,008,Train,0,,AP", "a/2.png,008,Train,0,,AP\na/4.png,008,Train,0,,AP")
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(root / "a/4.png")
    (tmp_path / "masks/a").mkdir(parents=True)
    Image.fromarray(np.ones((4, 8), np.uint8)).save(tmp_path / "masks/a/4.png")
    prepare(source(root, masks=tmp_path / "masks"), tmp_path / "store", size=4, max_rejects=0.5)
    assert (tmp_path / "store" / "rejects.csv").read_text() == (
        'file,reason\na/4.png,"its mask is of 4x8 pixels, not 8x8"\n'
    )


def test_mask_bits_without_masks(root: Path) -> None:
    assert refusal(root, mask_bits="1=ill") == (
        "mask bits are of no use without masks: name their folder (--masks)"
    )


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mark_in_an_image_that_is_turned(root: Path, tmp_path, orientation, keep_aspect) -> None:
    """The mask lies beside the image with the same orientation; the box is in what one sees."""
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.zeros((40, 60), np.uint8)
    pixels[8:16, 30:50] = 255
    Image.fromarray(pixels).save(root / "a/1.png", exif=exif)
    (tmp_path / "masks/a").mkdir(parents=True)
    Image.fromarray(pixels // 255).save(tmp_path / "masks/a/1.png", exif=exif)
    with Image.open(root / "a/1.png") as image:
        rows, columns = np.nonzero(np.array(ImageOps.exif_transpose(image)))
    y, x = rows.min(), columns.min()
    sides = f"{x},{y},{columns.max() + 1 - x},{rows.max() + 1 - y}"
    (tmp_path / "boxes.csv").write_text(f"image,finding,x,y,w,h\na/1.png,ill,{sides}\n")
    made = source(root, masks=tmp_path / "masks", boxes=tmp_path / "boxes.csv")
    row = made.index().iloc[0].to_dict()
    image = convert(row, made, Settings(20, keep_aspect=keep_aspect))
    seen, mask, box = image.pixels[0] > 127, image.masks[0].pixels, image.boxes[0]
    assert mask.sum() >= 8
    for found in (seen, mask):
        corner = np.argwhere(found).min(0)
        assert np.abs(corner - box.origin).max() <= 0.6
        assert np.abs(np.argwhere(found).max(0) + 1 - corner - box.extent).max() <= 1.2


def kermany_source(table: Path) -> Images:
    return Images(
        table,
        KERMANY / "images",
        image_column="image",
        labels={"pneumonia": "label"},
        patient_column="patient_group",
        split_column="split",
    )


@kermany
def test_some_kermany_images(tmp_path: Path) -> None:
    table = pd.read_csv(KERMANY / "labels.csv", dtype=str).groupby(["split", "label"]).head(10)
    table.to_csv(tmp_path / "labels.csv", index=False)
    store = prepare(kermany_source(tmp_path / "labels.csv"), tmp_path / "store", size=64)
    assert store.images.shape == (60, 1, 64, 64)
    assert store.info.counts["train"] == 20
    assert store.labels.sum() == 30
    with Image.open(KERMANY / "images" / store.table["file"][7]) as image:
        mean = np.asarray(image.convert("L")).mean()
    assert store.images[7].mean() == pytest.approx(mean, abs=1)


@kermany
@pytest.mark.slow
def test_all_kermany_images_in_under_a_minute(tmp_path: Path) -> None:
    start = time.perf_counter()
    store = prepare(kermany_source(KERMANY / "labels.csv"), tmp_path / "store", size=64)
    assert time.perf_counter() - start < 60
    counts = {
        split: [int((store.labels[store.rows(split)] == value).sum()) for value in (0, 1)]
        for split in ("train", "val", "test")
    }
    assert {split: sum(pair) for split, pair in counts.items()} == {
        **{"train": 4030, "val": 620, "test": 1206}
    }
    assert np.sum(list(counts.values()), axis=0).tolist() == [1583, 4273]
    assert store.info.counts["patients"] == 3118
    assert store.info.warnings == []


@covid
def test_real_images_of_many_sizes(tmp_path: Path) -> None:
    table = pd.read_csv(COVID / "images.csv", dtype=str)
    table["covid"] = (table["finding"] == "COVID-19").astype(int)
    table = table.groupby("covid").head(6)
    table.to_csv(tmp_path / "images.csv", index=False)
    made = Images(
        tmp_path / "images.csv",
        COVID / "images",
        image_column="image",
        labels={"COVID-19": "covid"},
        patient_column="patientid",
        metadata={"sex": "sex", "view": "view", "age": "age"},
    )
    external = {"splits": (0, 0, 1), "max_rejects": 0}
    with pytest.raises(
        MedrobustError, match=r"expected \d+x\d+ pixels .* give a size to which all"
    ):
        prepare(made, tmp_path / "store", size=None, **external)
    store = prepare(made, tmp_path / "store", size=64, keep_aspect=True, **external)
    assert store.images.shape == (12, 1, 64, 64)
    height, width = (table[name].astype(float).to_numpy() for name in ("height", "width"))
    assert np.allclose(store.table["scale_y"], np.maximum(height, width) / 64, rtol=0.02)
    middle = 32 * store.table["scale_x"] + store.table["offset_x"]
    assert np.allclose(middle, width / 2, atol=store.table["scale_x"].max())


@covid
def test_all_real_masks_have_the_pixels_that_are_known_of_them(tmp_path: Path) -> None:
    table = pd.read_csv(COVID / "images.csv", dtype=str)
    table.assign(ill=(table["finding"] != "No Finding").astype(int)).to_csv(
        tmp_path / "images.csv", index=False
    )
    names = {1: "ggo", 2: "consolidation", 4: "effusion", 8: "pneumothorax"}
    names |= {16: "left_lung", 32: "right_lung", 64: "cardiomediastinum"}
    made = Images(
        tmp_path / "images.csv",
        COVID / "images",
        image_column="image",
        labels={"ill": "ill", "ggo": "px_ggo>0"},
        patient_column="patientid",
        masks=COVID / "masks",
        mask_bits=",".join(f"{bit}={name}" for bit, name in names.items()),
        boxes=COVID / "boxes.csv",
    )
    rows = made.index().to_dict("records")
    told = " ".join(made.notes)  # of names only: every mask and box belongs to an image
    assert "belong to no image" not in told
    assert "are not in the table" not in told
    assert "left_lung, right_lung, cardiomediastinum count as anatomy" in told
    masks = [{mask.name: mask for mask in made.read(row).masks} for row in rows]
    pixels = np.array(
        [
            [image[name].pixels.sum() if name in image else 0 for name in names.values()]
            for image in masks
        ]
    )
    known = table[[f"px_{name}" for name in names.values()]].to_numpy(int)
    # the table counts twice where the two right lungs of one image overlap
    assert np.argwhere(pixels != known).tolist() == [[39, 5]]
    found = {name: sum(name in image for image in masks) for name in names.values()}
    assert list(found.values()) == [93, 32, 2, 1, 99, 99, 100]
    assert {image[name].kind for image in masks for name in image if name != "ggo"} == {"anatomy"}
    assert masks[0]["ggo"].kind == "finding"
    for row, image in zip(rows, masks, strict=True):
        for box in made.read(row).boxes:
            inside = np.argwhere(image[box.finding].pixels)
            assert np.abs(inside.min(0) - box.origin).max() <= (
                2 if row["image_id"] == "cov039" else 0
            )


def test_names_that_are_no_finding_are_told(root: Path) -> None:
    (root.parent / "masks").mkdir()
    boxes = root.parent / "boxes.csv"
    boxes.write_text("image,finding,x,y,w,h\na/1.png,fracture,1,1,2,2\na/2.png,ill,1,1,2,2\n")
    bits = {"masks": root.parent / "masks", "mask_bits": "1=il,2=ill,4=tube:marker"}
    data = source(root, **bits, boxes=boxes)
    data.index()
    assert data.notes == [
        "masks of il count as anatomy: no finding has such a name",
        "boxes of fracture: no finding has such a name",
    ]
