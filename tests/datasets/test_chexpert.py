import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medrobust.data.prepare import prepare
from medrobust.data.vocabulary import canonical
from medrobust.datasets.chexpert import FINDINGS, CheXpert
from medrobust.errors import MedrobustError

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(FINDINGS)
TRAIN = """
P/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0
P/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,
P/train/patient00002/study1/view1_frontal.jpg,Male,83,Frontal,PA,,,,1.0,,,-1.0,,,,,,1.0,
P/train/patient00002/study1/view2_lateral.jpg,Male,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,
P/train/patient00003/study1/view1_frontal.jpg,Unknown,0,Frontal,LL,,,,,,1.0,,,,0.0,,,,
"""
VALID = """
P/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
P/valid/patient64542/study1/view1_frontal.jpg,Male,70,Frontal,PA,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0
"""
TEST = "P/test/patient64741/study1/view1_frontal.jpg" + ",1,0,0,0,0,0,0,0,0,0,0,0,0,0\n"
PREFIX = "CheXpert-v1.0-small"


def rows(text: str, prefix: str = PREFIX) -> str:
    return text.strip().replace("P/", f"{prefix}/" if prefix else "")


def write(folder: Path, prefix: str = PREFIX, train: str = TRAIN, valid: str = VALID) -> Path:
    """A folder such as CheXpert-v1.0-small, with an image for every row."""
    folder.mkdir(parents=True)
    for number, row in enumerate((train + valid).split()):
        path = folder / row.split(",")[0].removeprefix("P/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 39), (20 * number + 10) % 250, np.uint8)).save(path)
    (folder / "train.csv").write_text(f"{HEADER}\n{rows(train, prefix)}\n")
    (folder / "valid.csv").write_text(f"{HEADER}\n{rows(valid, prefix)}\n")
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "CheXpert-v1.0-small")


def test_the_index(small: Path) -> None:
    table = CheXpert(small).index()
    assert table["image_id"][3] == "train-patient00002-study1-view2_lateral"
    assert table["file"][3] == "train/patient00002/study1/view2_lateral.jpg"
    assert table["patient_id"].tolist()[:4] == [
        *("patient00001", "patient00002", "patient00002", "patient00002")
    ]
    assert table["study"].tolist()[:3] == ["study1", "study2", "study1"]
    assert table["split"].tolist() == ["train"] * 5 + ["test"] * 2
    assert table["view"].tolist() == ["AP", "AP", "PA", "lateral", "frontal", "AP", "PA"]
    assert table["sex"].fillna("").tolist() == ["F", "F", "M", "M", "", "M", "M"]
    assert table["age"].fillna(-1).tolist() == [68, 87, 83, 83, -1, 73, 70]
    assert (table["problem"] == "").all()
    pd.testing.assert_frame_equal(table, CheXpert(small).index())


def test_the_labels(small: Path) -> None:
    table = CheXpert(small).index()
    labels = table.filter(like="label:").rename(columns=lambda name: name.removeprefix("label:"))
    assert tuple(labels) == FINDINGS == tuple(canonical(finding) for finding in FINDINGS)
    assert labels["No Finding"].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert labels["Cardiomegaly"].tolist() == [0, -1, 0, 0, 0, 1, 0]
    assert labels["Support Devices"].tolist() == [1, 0, 0, 0, 0, 0, 1]
    assert labels["Fracture"].tolist() == [0, 1, 1, 1, 0, 0, 0]


def test_blanks_may_be_unknown_but_not_those_of_no_finding(small: Path) -> None:
    table = CheXpert(small, blank="ignore").index()
    assert table["label:No Finding"].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert table["label:Edema"].fillna(9).tolist() == [9, -1, 9, 9, 1, 0, 0]
    assert table["label:Pneumothorax"].fillna(9).tolist() == [0, 9, 9, 9, 0, 0, 0]


def test_from_raw_files_to_a_store(small: Path, tmp_path: Path) -> None:
    # Uncertain labels are a matter of selection; here there are none.
    certain = TRAIN.replace("-1.0", "0.0")
    source = CheXpert(write(tmp_path / "certain", train=certain))
    rows = [f"P/train/patient1{n:04d}/study1/view1_frontal.jpg" for n in range(20)]
    extra = "\n".join(f"{row},Male,50,Frontal,AP{',1.0' * 14}" for row in rows)
    source = CheXpert(write(tmp_path / "more" / "x", train=f"{certain}{extra}", valid=VALID))
    store = prepare(source, tmp_path / "store", size=16)
    assert (store.info.name, store.info.channels, store.info.size) == ("chexpert", 1, (16, 16))
    assert store.info.counts["images"] == 27
    assert store.info.counts["test"] == 2
    assert store.info.counts["val"] > 0
    assert store.table["spacing_x"].isna().all()
    first = store.table["image_id"].tolist().index("train-patient00002-study1-view1_frontal")
    assert np.abs(store.images[first].astype(int) - 50).max() <= 1


@pytest.mark.parametrize("prefix", ["CheXpert-v1.0", "CheXpert-v1.0-small", "other", ""])
def test_the_folder_may_be_called_anything(tmp_path: Path, prefix: str) -> None:
    folder = write(tmp_path / "archive (1)" / "data", prefix)
    for root in (folder, folder.parent):
        table = CheXpert(root).index()
        assert (table["problem"] == "").all()
        assert CheXpert(root).read(table.iloc[1]).pixels.shape == (1, 32, 39)


def test_batches_of_the_full_version(small: Path, tmp_path: Path) -> None:
    root = tmp_path / "chexpertchestxrays-u20210408"
    tables = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    first, second = (root / f"CheXpert-v1.0 batch {n} (train {n - 1})" for n in (2, 3))
    for folder in (tables, first, second):
        folder.mkdir(parents=True)
    for name in ("train.csv", "valid.csv", "valid"):
        (small / name).rename(tables / name)
    (small / "train/patient00001").rename(first / "patient00001")
    (small / "train/patient00002").rename(second / "patient00002")
    for given in (root, tables):
        source = CheXpert(given)
        table = source.index()
        assert table["problem"].tolist() == [*[""] * 4, "there is no such file", "", ""]
        assert table["file"][0] == f"{first.name}/patient00001/study1/view1_frontal.jpg"
        assert table["file"][5] == f"{tables.name}/valid/patient64541/study1/view1_frontal.jpg"
        for number, value in ((0, 10), (1, 30), (5, 110)):
            assert abs(int(source.read(table.iloc[number]).pixels[0, 0, 0]) - value) <= 1


def test_a_missing_file_is_told_before_it_is_read(small: Path) -> None:
    (small / "train/patient00002/study1/view2_lateral.jpg").unlink()
    source = CheXpert(small)
    table = source.index()
    assert table.index[table["problem"] == "there is no such file"].tolist() == [3]
    with pytest.raises(MedrobustError, match=r"^there is no such file$"):
        source.read(table.iloc[3])


def test_splits_when_there_is_a_test_table(small: Path) -> None:
    header = "Path," + ",".join(FINDINGS).replace("Lung Opacity", "Airspace Opacity")
    (small / "test.csv").write_text(f"{header}\n{rows(TEST)}\n")
    table = CheXpert(small).index()
    assert table["split"].tolist() == ["train"] * 5 + ["val"] * 2 + ["test"]
    last = table.iloc[-1]
    assert (last["view"], last["label:No Finding"], last["label:Lung Opacity"]) == ("frontal", 1, 0)
    assert last[["age", "sex"]].isna().all()


def test_splits_when_a_table_is_missing(small: Path) -> None:
    (small / "valid.csv").rename(small / "kept")
    assert "split" not in CheXpert(small).index()
    (small / "train.csv").unlink()
    (small / "kept").rename(small / "valid.csv")
    assert CheXpert(small).index()["split"].tolist() == ["test"] * 2


def test_it_can_be_sent_to_another_process(small: Path) -> None:
    source = CheXpert(small)
    row = source.index().iloc[1].to_dict()
    copy = pickle.loads(pickle.dumps(source))
    picture = copy.read(row)
    assert np.array_equal(picture.pixels, source.read(row).pixels)
    assert (picture.low, picture.high, picture.spacing) == (0, 255, None)


def test_all_problems_are_told_together(small: Path) -> None:
    edit(small / "train.csv", "-1.0", "maybe")
    edit(small / "train.csv", ",68,", ",680,")
    edit(small / "train.csv", "Sex", "Gender")
    edit(small / "train.csv", PREFIX, "..")
    edit(small / "valid.csv", "Frontal,AP", "Oblique,AP")
    edit(small / "valid.csv", ",1.0", ",2.0")
    with pytest.raises(MedrobustError) as caught:
        CheXpert(small).index()
    path = "a path such as CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg"
    assert str(caught.value) == (
        "6 problems in the data set's tables: train.csv: there is no column 'Sex'; "
        f"train.csv: column 'Path', data row 1: expected {path}, "
        "found '../train/patient00001/study1/view1_front...'; "
        "train.csv: column 'Age', data row 1: expected an age in years, found '680'; "
        "train.csv: column 'Cardiomegaly', data row 2: expected 1, 0, -1 or empty, found 'maybe'; "
        "valid.csv: column 'Frontal/Lateral', data row 1: expected Frontal or Lateral, "
        "found 'Oblique'; "
        "valid.csv: column 'Enlarged Cardiomediastinum', data row 1: expected 1, 0, -1 or empty, "
        "found '2.0'"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/data/train/patient00001/study1/view1_frontal.jpg",
        "C:/x/train/patient00001/study1/view1_frontal.jpg",
        "../train/patient00001/study1/view1_frontal.jpg",
        "P/train/../../patient00001/study1/view1_frontal.jpg",
        "P/train/patient00001/study1/..",
        "P/train/patient00001/study1/view1_frontal.jpg/../../x.jpg",
        "",
    ],
)
def test_paths_that_leave_the_folder(small: Path, path: str) -> None:
    edit(small / "train.csv", f"{PREFIX}/train/patient00001/study1/view1_frontal.jpg", path)
    with pytest.raises(
        MedrobustError, match=r"^1 problem in .*: train\.csv: column 'Path', data row 1: expected a"
    ):
        CheXpert(small).index()


def test_the_same_path_twice(small: Path) -> None:
    edit(small / "train.csv", "study1/view2_lateral", "study1/view1_frontal")
    with pytest.raises(MedrobustError, match=r"column 'Path', data row 4: expected each path once"):
        CheXpert(small).index()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", r"train\.csv: expected a header and at least one row, found less$"),
        (b"\xff\xfeP\x00a\x00", r"train\.csv cannot be read as UTF-8: 'utf-8' codec"),
        (b"Path,Sex\na.jpg\n", r"data row 1: expected 2 cells as in the header, found 1$"),
        (b"Path,Sex,Sex\na,b,c\n", r"train\.csv: column 'Sex' appears twice$"),
        (b"Path,Sex\nno,where\n", r"there is no column 'Age', 'Frontal/Lateral', 'AP/PA', 'No F"),
        (b'Path,"Sex\n' + b"x" * 200_000, r"train\.csv cannot be read as CSV: field larger than"),
    ],
)
def test_a_file_that_is_no_such_table(small: Path, content: bytes, text: str) -> None:
    (small / "train.csv").write_bytes(content)
    with pytest.raises(MedrobustError, match=text) as caught:
        CheXpert(small).index()
    assert "\n" not in str(caught.value)


def test_a_table_cut_off_in_the_middle_of_a_row(small: Path) -> None:
    text = (small / "train.csv").read_text().rstrip("\n,.0")
    (small / "train.csv").write_text(text)
    with pytest.raises(MedrobustError, match=r"data row 5: expected 19 cells as in the header"):
        CheXpert(small).index()


def test_no_folder_none_in_it_and_two(small: Path, tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"^expected a folder at .*nowhere, found none$"):
        CheXpert(tmp_path / "nowhere")
    with pytest.raises(MedrobustError, match=r"^expected train\.csv or .*, found none$"):
        CheXpert(small / "train")
    write(tmp_path / "CheXpert-v1.0")
    with pytest.raises(MedrobustError, match=r"found CheXpert-v1\.0, CheXpert-v1\.0-small$"):
        CheXpert(tmp_path)
    with pytest.raises(MedrobustError, match=r"^blank: expected zeros or ignore, found 'ones'$"):
        CheXpert(small, blank="ones")
