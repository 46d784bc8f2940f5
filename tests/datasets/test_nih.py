import gzip
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.nih import NIH
from medrobust.datasets.nih_table import FINDINGS
from medrobust.errors import MedrobustError

SHARED = Path(__file__).parents[3] / "shared/data"
SUBSET, TABLES = SHARED / "nih_chestxray14_subset", SHARED / "label_tables/nih"
subset = pytest.mark.skipif(not SUBSET.exists(), reason="needs ../shared/data/nih_chestxray14_sub")
tables = pytest.mark.skipif(not TABLES.exists(), reason="needs ../shared/data/label_tables/nih")

NEW = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
    "00000001_000.png,Cardiomegaly|Effusion,0,1,57,M,PA,2048,1024,0.2,0.1\n"
    "00000001_001.png,No Finding,1,1,58,M,AP,2500,2048,0.168,0.168\n"
    "00000002_000.png,Infiltration|Pleural_Thickening,0,2,80,F,PA,2500,2048,0.171,0.171\n"
    "00000003_000.png,Hernia,0,3,74,F,PA,2500,2048,0.168,0.168\n"
)
OLD = NEW.replace("Patient Sex", "Patient Gender").replace("\n", ",\n").replace(",57,", ",414,")
BOXES = (
    "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    "00000001_000.png,Cardiomegaly,256.0,512.0,256.0,128.0,,,\n"
    "00000001_000.png,Infiltrate,0,0,1024,1024,,,\n"
    "00000009_000.png,Mass,1,2,3,4,,,\n"
)
TRAIN_VAL, TEST = "00000001_000.png\n00000001_001.png\n00000002_000.png\n", "00000003_000.png"
NAMES = ["00000001_000", "00000001_001", "00000002_000", "00000003_000"]


def picture(path: Path, value: int = 90, size: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), value, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The download, the images in two of the folders that the archives make."""
    folder = tmp_path / "CXR8"
    for number, name in enumerate(NAMES):
        picture(folder / f"images_00{1 + number // 2}" / "images" / f"{name}.png", 50 + number)
    (folder / "Data_Entry_2017_v2020.csv").write_text(NEW)
    (folder / "BBox_List_2017.csv").write_text(BOXES)
    (folder / "train_val_list.txt").write_text(TRAIN_VAL)
    (folder / "test_list.txt").write_text(TEST)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def refusal(root: Path, **options) -> str:
    with pytest.raises(MedrobustError) as caught:
        NIH(root, **options).index()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_index(root: Path) -> None:
    for given in (root, root.parent):
        source = NIH(given)
        table = source.index()
        assert table["image_id"].tolist() == NAMES
        assert table["file"][2] == "images_002/images/00000002_000.png"
        assert table["patient_id"].tolist() == ["1", "1", "2", "3"]
        assert table["split"].tolist() == ["train", "train", "train", "test"]
        assert table["age"].tolist() == [57, 58, 80, 74]
        assert table["sex"].tolist() == ["M", "M", "F", "F"]
        assert table["view"].tolist() == ["PA", "AP", "PA", "PA"]
        assert (table["problem"] == "").all()
        assert source.notes == ["1 boxes belong to images that the table does not have"]
        pd.testing.assert_frame_equal(table, source.index())


def test_the_labels(root: Path) -> None:
    labels = NIH(root).index().filter(like="label:")
    assert tuple(labels) == tuple(f"label:{finding}" for finding in FINDINGS)
    named = [
        [name.removeprefix("label:") for name in labels if row[name]]
        for _, row in labels.iterrows()
    ]
    assert named == [
        ["Cardiomegaly", "Pleural Effusion"],
        ["No Finding"],
        ["Infiltration", "Pleural Thickening"],
        ["Hernia"],
    ]
    assert set(np.unique(labels)) == {0, 1}


def test_the_table_of_2017(root: Path) -> None:
    (root / "Data_Entry_2017_v2020.csv").unlink()
    (root / "Data_Entry_2017.csv").write_text(OLD)
    source = NIH(root)
    table = source.index()
    assert table["age"].isna().tolist() == [True, False, False, False]
    assert table["sex"].tolist() == ["M", "M", "F", "F"]
    assert source.notes[0] == "1 ages above 120 years count as unknown"


@pytest.mark.parametrize(
    ("word", "years"),
    [("058Y", 58), ("006M", 0.5), ("021D", 21 / 365.25), ("003W", 21 / 365.25), ("0", 0)],
)
def test_ages_with_units(root: Path, word: str, years: float) -> None:
    edit(root / "Data_Entry_2017_v2020.csv", ",57,", f",{word},")
    assert NIH(root).index()["age"][0] == pytest.approx(years)


@pytest.mark.parametrize("place", ["images/{}", "{}", "images/images_001/images/{}"])
def test_where_the_images_may_lie(root: Path, place: str) -> None:
    for path in sorted(root.glob("images_*/images/*.png")):
        target = root / place.format(path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    table = NIH(root).index()
    assert table["file"][0] == place.format("00000001_000.png")
    assert NIH(root).read(table.iloc[1]).pixels[0, 0, 0] == 51


def test_gzipped_tables_and_lists(root: Path) -> None:
    expected = NIH(root).index()
    for path in [*root.glob("*.csv"), *root.glob("*.txt")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    source = NIH(root)
    pd.testing.assert_frame_equal(source.index(), expected)
    assert len(source.read(expected.iloc[0]).boxes) == 2


def test_missing_files(root: Path) -> None:
    for path in (root / "images_001").rglob("*.png"):
        path.unlink()
    table = NIH(root).index()
    assert table["problem"].tolist() == [*["there is no such file"] * 2, "", ""]
    source = NIH(root, only_present=True)
    assert source.index()["image_id"].tolist() == NAMES[2:]
    assert source.notes[-1] == "2 of 4 images have no file and were left out"
    for path in root.rglob("*.png"):
        path.unlink()
    assert refusal(root, only_present=True) == (
        "none of the 4 images of Data_Entry_2017_v2020.csv is there"
    )


def test_splits_without_the_lists(root: Path) -> None:
    for path in root.glob("*_list.txt"):
        path.unlink()
    assert "split" not in NIH(root).index()
    lines = NEW.splitlines()
    words = ["official_split", "train_val", "val", "test", "Training"]
    text = "\n".join(f"{line},{word}" for line, word in zip(lines, words, strict=True))
    (root / "Data_Entry_2017_v2020.csv").write_text(text)
    assert NIH(root).index()["split"].tolist() == ["train", "val", "test", "train"]


def test_spacing_is_that_of_the_radiograph_on_the_pixels_of_the_file(root: Path) -> None:
    # 2048 pixels of 0.2 mm over 64 pixels, and 1024 of 0.1 mm: the file was stretched.
    source = NIH(root)
    row = source.index().iloc[0]
    assert source.read(row).spacing == pytest.approx((1024 * 0.1 / 64, 2048 * 0.2 / 64))
    edit(root / "Data_Entry_2017_v2020.csv", "2048,1024,0.2,0.1", ",1024,0.2,0.1")
    row = source.index().iloc[0]
    assert source.read(row).spacing is None


def test_boxes_are_rescaled_to_the_file(root: Path) -> None:
    source = NIH(root)
    rows = source.index()
    first, second = source.read(rows.iloc[0]).boxes
    assert (first.finding, first.origin, first.extent) == ("Cardiomegaly", (32, 16), (8, 16))
    assert (second.finding, second.extent) == ("Infiltration", (64, 64))
    assert source.read(rows.iloc[1]).boxes == ()


def test_it_can_be_sent_to_another_process(root: Path) -> None:
    row = NIH(root).index().iloc[0].to_dict()
    fresh = pickle.loads(pickle.dumps(NIH(root)))
    assert fresh.read(row).boxes == NIH(root).read(row).boxes != ()


def test_a_colour_file_with_transparency(root: Path) -> None:
    path = root / "images_001/images/00000001_000.png"
    Image.fromarray(np.full((8, 8, 4), (70, 70, 70, 255), np.uint8)).save(path)
    source = NIH(root)
    pixels = source.read(source.index().iloc[0]).pixels
    assert (pixels.shape, pixels.dtype, int(pixels.max())) == ((1, 8, 8), np.uint8, 70)


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_a_mark_stays_in_its_box_from_1024_pixels_to_the_store(
    root: Path, tmp_path: Path, keep_aspect: bool
) -> None:
    for number, name in enumerate(NAMES):
        picture(root / "images" / f"{name}.png", 30 + number, 512)
    for path in [*root.glob("images_00?/images/*.png"), root / "Data_Entry_2017_v2020.csv"]:
        path.unlink()
    pixels = np.zeros((512, 512), np.uint8)
    pixels[256:320, 128:256] = 200  # the first box, which is given in a frame of 1024
    Image.fromarray(pixels).save(root / "images/00000001_000.png")
    more = "".join(f"000001{n:02d}_000.png,Mass,0,1{n:02d},50,F,PA,,,,\n" for n in range(20))
    for n in range(20):
        picture(root / f"images/000001{n:02d}_000.png", n, 512)
    (root / "Data_Entry.csv").write_text(NEW + more)
    for path in root.glob("*_list.txt"):
        path.unlink()
    store = prepare(NIH(root), tmp_path / "store", size=128, keep_aspect=keep_aspect)
    # The radiograph was 410 mm wide and 102 mm high: its aspect is kept, not the file's.
    assert store.table["scale_y"][0] / store.table["scale_x"][0] == (4 if keep_aspect else 1)
    box = store.boxes[store.boxes["finding"] == "Cardiomegaly"].iloc[0]
    image = store.images[store.table["image_id"].tolist().index("00000001_000"), 0]
    rows, columns = np.nonzero(image > 100)
    marked = np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1])
    assert np.abs(marked - [box.y, box.y + box.h, box.x, box.x + box.w]).max() <= 1
    assert image[round(box.y + box.h / 2), round(box.x + box.w / 2)] == 200


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("Data", "Effusion", "Effussion", "column 'Finding Labels', data row 1: expected names"),
        ("Data", "No Finding", "No Finding|Mass", "'Finding Labels', data row 2: expected names"),
        ("Data", "No Finding", "", "data row 2: expected names of the 14 findings with | between"),
        ("Data", ",57,", ",old,", "'Patient Age', data row 1: expected an age such as 58 or 058Y"),
        ("Data", ",M,", ",X,", "column 'Patient Gender', data row 1: expected M or F, found 'X'"),
        ("Data", ",PA,", ",LL,", "column 'View Position', data row 1: expected PA or AP, found"),
        ("Data", ",0,1,", ",0,,", "column 'Patient ID', data row 1: expected a patient, found ''"),
        ("Data", "2048", "-3", "'OriginalImage[Width', data row 1: expected a positive number or"),
        ("Data", "00000001_001", "../x", "data row 2: expected a name such as 00000001_000.png, f"),
        ("Data", "00000001_001", "/etc/x", "data row 2: expected a name such as 00000001_000.png"),
        ("Data", "00000001_001", "00000001_000", "data row 2: expected each image once, found '0"),
        ("Data", "Finding Labels", "Findings", "Data_Entry.csv: there is no column 'Finding Lab"),
        ("BBox", "512.0", "much", "BBox.csv: column 'y', data row 1: expected a number, found 'm"),
        (
            "BBox",
            "512.0",
            "inf",
            "BBox.csv: column 'y', data row 1: expected a number, found 'inf'",
        ),
        ("BBox", "512.0", "1000", "data row 1: expected a box inside 1024x1024 pixels, found '256"),
        ("BBox", "Infiltrate", "Tumour", "data row 2: expected one of the 14 findings, found 'Tum"),
        ("train", "00000002", "00000003", "an image in one of the official lists, not both"),
        ("train", "00000002", "00000007", "an image in one of the official lists, not neither"),
    ],
)
def test_a_table_with_a_mistake(root: Path, file: str, old: str, new: str, text: str) -> None:
    (root / "Data_Entry_2017_v2020.csv").unlink()
    (root / "Data_Entry.csv").write_text(NEW.replace("Patient Sex", "Patient Gender"))
    (root / "BBox_List_2017.csv").rename(root / "BBox.csv")
    edit(next(root.glob(f"{file}*")), old, new)
    assert text in refusal(root)


def test_problems_of_both_tables_are_told_together(root: Path) -> None:
    edit(root / "Data_Entry_2017_v2020.csv", ",57,", ",old,")
    edit(root / "Data_Entry_2017_v2020.csv", ",58,", ",older,")
    edit(root / "BBox_List_2017.csv", "512.0", "much")
    assert refusal(root) == (
        "2 problems in the data set's tables: Data_Entry_2017_v2020.csv: column 'Patient Age', "
        "data row 1: expected an age such as 58 or 058Y, found 'old' (2 such rows); "
        "BBox_List_2017.csv: column 'y', data row 1: expected a number, found 'much'"
    )


def test_one_list_alone_is_a_mistake(root: Path) -> None:
    (root / "test_list.txt").unlink()
    assert "expected both official lists, found no test_list.txt" in refusal(root)


def test_the_same_image_in_two_folders(root: Path) -> None:
    picture(root / "images/00000003_000.png")
    assert refusal(root) == (
        "expected each image once, found images/00000003_000.png and "
        "images_002/images/00000003_000.png: move one away"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\x1f\x8bnonsense", "Data_Entry.csv.gz cannot be read as UTF-8: "),
        (gzip.compress(NEW.encode())[:90], "Data_Entry.csv.gz cannot be read as UTF-8: Compressed"),
        (gzip.compress("é".encode("latin-1")), "Data_Entry.csv.gz cannot be read as UTF-8: 'utf-8"),
        (gzip.compress(b""), "Data_Entry.csv.gz: expected a header and at least one row, found l"),
    ],
)
def test_a_table_that_cannot_be_read(root: Path, content: bytes, text: str) -> None:
    (root / "Data_Entry_2017_v2020.csv").unlink()
    (root / "Data_Entry.csv.gz").write_bytes(content)
    assert text in refusal(root)


def test_a_table_larger_than_any(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medrobust.datasets.raw.MAX_BYTES", 100)
    assert refusal(root).endswith("Data_Entry_2017_v2020.csv is larger than 0 MiB: not a table")


def test_which_table(root: Path, tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"^expected Data_Entry\*\.csv in .*, found none$"):
        NIH(root / "images_001")
    (root / "Data_Entry_2017.csv").write_text(OLD)
    with pytest.raises(
        MedrobustError, match=r"found Data_Entry_2017\.csv, Data_Entry_2017_v2020\.csv: name one$"
    ):
        NIH(root)
    assert NIH(root, table="Data_Entry_2017.csv").index()["age"].isna().sum() == 1
    (tmp_path / "mine.csv").write_text(NEW)
    assert len(NIH(root, table=tmp_path / "mine.csv").index()) == 4
    (root / "BBox_mine.csv").write_text(BOXES.replace(",,,", ""))
    with pytest.raises(
        MedrobustError, match=r"found BBox_List_2017\.csv, BBox_mine\.csv: name one"
    ):
        NIH(root, table="Data_Entry_2017.csv")
    source = NIH(root, table="Data_Entry_2017.csv", boxes="BBox_mine.csv")
    assert len(source.read(source.index().iloc[0]).boxes) == 2
    with pytest.raises(MedrobustError, match=r"expected a table at .*no\.csv, found no such file$"):
        NIH(root, table="no.csv", boxes="BBox_mine.csv").index()


@pytest.fixture(scope="module")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The real subset at 32 pixels."""
    return prepare(NIH(SUBSET), tmp_path_factory.mktemp("nih") / "store", size=32)


@subset
def test_the_real_subset_is_complete(real_store: Store) -> None:
    info, table = real_store.info, real_store.table
    assert (info.counts["images"], info.counts["patients"], info.counts["test"]) == (621, 621, 75)
    assert (info.counts["rejects"], info.patients) == (0, "known")
    counts = dict(zip(real_store.findings, np.nansum(real_store.labels, axis=0), strict=True))
    assert counts == {
        **{"Infiltration": 123, "No Finding": 100, "Atelectasis": 92, "Nodule": 89},
        **{"Pleural Effusion": 82, "Consolidation": 81, "Mass": 72, "Pleural Thickening": 68},
        **{"Cardiomegaly": 56, "Fibrosis": 56, "Pneumothorax": 44, "Emphysema": 41},
        **{"Pneumonia": 32, "Hernia": 20, "Edema": 18},
    }
    assert table["spacing_x"].between(5, 17).all()  # a chest of 200 to 500 mm on 32 pixels


@subset
def test_the_boxes_of_the_real_subset(real_store: Store) -> None:
    known = pd.read_csv(SUBSET / "BBox_subset_320.csv")
    boxes = real_store.boxes.set_index("image_id").loc[known["Image Index"].str[:-4]]
    assert boxes["finding"].value_counts().to_dict() == {
        **{"Cardiomegaly": 3, "Nodule": 3, "Pneumonia": 3},
        **{"Atelectasis": 1, "Infiltration": 1, "Mass": 1},
    }
    expected = known[["x_320", "y_320", "w_320", "h_320"]].to_numpy() / 10
    assert np.abs(boxes[["x", "y", "w", "h"]].to_numpy() - expected).max() < 0.01


@tables
def test_the_whole_real_table(tmp_path: Path) -> None:
    names = [
        *("Data_Entry_2017_v2020.csv.gz", "BBox_List_2017.csv.gz"),
        *("train_val_list.txt.gz", "test_list.txt.gz"),
    ]
    for name in names:
        (tmp_path / name).symlink_to((TABLES / name).resolve())
    source = NIH(tmp_path)
    table = source.index()
    assert (len(table), table["patient_id"].nunique()) == (112_120, 30_805)
    assert table["split"].value_counts().to_dict() == {"train": 86_524, "test": 25_596}
    assert table["label:No Finding"].sum() == 60_361
    assert (table["problem"] == "there is no such file").all()
    assert not set(table[table["split"] == "test"]["patient_id"]) & set(
        table[table["split"] == "train"]["patient_id"]
    )
    boxes = source._boxes or {}
    assert (sum(map(len, boxes.values())), len(boxes)) == (984, 880)
    assert {box.finding for found in boxes.values() for box in found} < set(FINDINGS)
    assert source.notes == []
