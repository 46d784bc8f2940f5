"""DICOM folders: real files, and made ones with what must not leave them."""

import logging
import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.data.prepare import prepare
from medrobust.data.window import parse_window
from medrobust.datasets.dicom import Dicom
from medrobust.errors import MedrobustError

pydicom = pytest.importorskip("pydicom")
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "dicom"
NAME, BIRTHDAY = "Mustermann^Erika", "19640812"


def write(path: Path, number: int, **fields) -> None:
    """A CR image of 8x6 pixels whose values depend on its number."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    found = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPInstanceUID = f"1.2.3.{number}"
    found.PatientID = f"P{number // 2}"
    found.AccessionNumber = f"A{number}"
    found.PatientName, found.PatientBirthDate = NAME, BIRTHDAY
    found.PatientAge, found.PatientSex, found.ViewPosition = "045Y", "F", "PA"
    found.Modality, found.ImageComments = "CR", f"spoke with {NAME}"
    found.Rows, found.Columns, found.SamplesPerPixel = 8, 6, 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
    found.PixelRepresentation = 0
    pixels = np.random.default_rng(number).integers(0, 4096, (8, 6), dtype=np.uint16)
    found.PixelData = pixels.tobytes()
    for keyword, value in fields.items():
        setattr(found, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 images of 10 patients in two folders, and a table beside them."""
    for number in range(20):
        write(tmp_path / "dicom" / f"ward{number % 2}" / f"IM{number:04d}", number)
    (tmp_path / "dicom" / "README.txt").write_text("about this export")
    (tmp_path / "dicom" / "DICOMDIR").write_text("")
    rows = ["file,SOPInstanceUID,AccessionNumber,PatientID,ill,part"]
    rows += [
        f"ward{n % 2}/IM{n:04d},1.2.3.{n},A{n},P{n // 2},{n // 2 % 2},{PARTS[n // 2 % 5]}"
        for n in range(20)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "dicom"


PARTS = ["train", "train", "val", "test", "train"]


def source(root: Path, **settings) -> Dicom:
    return Dicom(root, root.with_name("labels.csv"), {"illness": "ill"}, **settings)


def test_the_same_images_whatever_the_key(root: Path) -> None:
    by_file = source(root, split_column="part").index()
    assert by_file["file"].tolist()[:2] == ["ward0/IM0000", "ward0/IM0002"]
    assert by_file.loc[
        0, ["image_id", "patient_id", "age", "sex", "view", "modality"]
    ].tolist() == [*("ward0-IM0000", "P0", 45.0, "F", "PA", "CR")]
    for key in ("SOPInstanceUID", "AccessionNumber"):
        pd.testing.assert_frame_equal(source(root, key=key, split_column="part").index(), by_file)


def test_several_files_share_the_row_of_a_patient(root: Path) -> None:
    table = root.with_name("labels.csv")
    rows = pd.read_csv(table, dtype=str).drop_duplicates("PatientID")
    rows.rename(columns={"PatientID": "who"}).to_csv(table, index=False)
    index = source(root, key="PatientID", key_column="who").index()
    assert len(index) == 20
    assert (index.groupby("patient_id")["label:illness"].nunique() == 1).all()


def test_a_store_with_all_precision(root: Path, tmp_path: Path) -> None:
    store = prepare(source(root, split_column="part"), tmp_path / "store", size=None, bits=16)
    assert store.info.counts["images"] == 20
    assert store.info.window == (0, 4095)
    row = store.table.index[store.table["file"] == "ward1/IM0007"][0]
    native = np.random.default_rng(7).integers(0, 4096, (8, 6), dtype=np.uint16)
    assert np.array_equal(np.rint(store.images[row, 0] / 65535 * 4095), native)
    assert store.info.warnings[0] == "20 images: no window in the file"


def test_what_has_no_label_and_what_has_no_file_is_counted(root: Path) -> None:
    table = root.with_name("labels.csv")
    rows = pd.read_csv(table, dtype=str)
    rows.iloc[3:].replace({"A19": "A99"}).to_csv(table, index=False)
    data = source(root, key="AccessionNumber")
    assert len(data.index()) == 16
    assert data.notes == [
        "4 files have no row in the table of labels",
        "1 rows of the table of labels have no file",
    ]
    assert data.index().equals(data.index())
    assert len(data.notes) == 2


def test_a_missing_file_is_a_reject(root: Path, tmp_path: Path) -> None:
    (root / "ward0" / "IM0004").unlink()
    prepare(source(root), tmp_path / "store", size=4, max_rejects=0.1)
    assert (tmp_path / "store" / "rejects.csv").read_text() == (
        "file,reason\nward0/IM0004,there is no such file\n"
    )


@pytest.mark.parametrize("key", ["file", "AccessionNumber"])
def test_a_file_whose_header_cannot_be_read_is_a_reject(root: Path, tmp_path, key: str) -> None:
    (root / "ward0" / "IM0004").write_bytes(b"not DICOM, but " + NAME.encode())
    prepare(source(root, key=key), tmp_path / "store", size=4, max_rejects=0.1)
    assert (tmp_path / "store" / "rejects.csv").read_text() == (
        "file,reason\nward0/IM0004,not a DICOM file: it has no DICM prefix\n"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("file,", "path,"), "has no column 'file': it has path, SOPInstanceUID, Access"),
        (("ward0/IM0000", "/etc/passwd"), "expected paths below the folder of images, found /etc"),
        (("ward0/IM0000", "../x"), "expected paths below the folder of images, found ../x"),
        (("ward0/IM0002", "ward0/IM0000"), "column 'file' has 1 values more than once"),
    ],
)
def test_a_table_that_does_not_fit(root: Path, change: tuple[str, str], text: str) -> None:
    table = root.with_name("labels.csv")
    table.write_text(table.read_text().replace(*change))
    with pytest.raises(MedrobustError) as caught:
        source(root).index()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_matches(root: Path) -> None:
    text = r"^none of 20 files below .* has a row in .*: its column 'ill' must hold each file's Acc"
    with pytest.raises(MedrobustError, match=text):
        Dicom(
            root, _unique(root), {"illness": "ill"}, key="AccessionNumber", key_column="ill"
        ).index()


def _unique(root: Path) -> Path:
    table = root.with_name("unique.csv")
    table.write_text("ill\n0\n1\n")
    return table


def test_no_folder_and_no_such_key(root: Path) -> None:
    with pytest.raises(
        MedrobustError, match=r"^expected a folder of DICOM files at .*, found none"
    ):
        Dicom(root / "none", root.with_name("labels.csv"), {"illness": "ill"})
    with pytest.raises(MedrobustError, match=r"^key: expected file, SOPInstanceUID, .* 'Name'$"):
        source(root, key="Name")


def test_no_files(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.txt").touch()
    with pytest.raises(MedrobustError, match=r"^expected DICOM files below .*empty, found none$"):
        Dicom(tmp_path / "empty", root.with_name("labels.csv"), {"illness": "ill"}).index()


def test_names_that_are_not_utf_8(root: Path) -> None:
    (root / "ward0" / "IM0000").rename(root / "ward0" / os.fsdecode(b"M\xfcller"))
    text = r"expected printable file names in UTF-8, found 'ward0/M\\udcfcller' \(1 such files\)"
    with pytest.raises(MedrobustError, match=text):
        source(root).index()


def test_without_the_extra_it_is_said_at_once(root: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MedrobustError, match=r"^DICOM needs the extra dicom: pip install 'medro"):
        source(root)


def test_folders_may_be_links(root: Path) -> None:
    (root / "ward1").rename(root.with_name("elsewhere"))
    (root / "ward1").symlink_to(root.with_name("elsewhere"))
    assert source(root).index()["problem"].eq("").all()


def test_labels_from_rules_and_words_of_the_header(root: Path) -> None:
    write(root / "ward0" / "IM0000", 0, BodyPartExamined="CHEST", Manufacturer="FUJIFILM Corp.")
    labels = {"female": "PatientID:P1|P2", "illness": "ill"}
    table = Dicom(root, root.with_name("labels.csv"), labels).index()
    assert table["label:female"].sum() == 4
    assert table.loc[0, ["body_part", "manufacturer"]].tolist() == ["CHEST", "FUJI"]
    assert table[["body_part", "manufacturer"]].isna().sum().tolist() == [19, 19]


def test_nothing_of_a_patient_gets_out(root: Path, tmp_path: Path, caplog, capsys) -> None:
    for name, fields in {
        "IM0000": {"Rows": 9},
        "IM0002": {"PatientAge": NAME[:4], "ViewPosition": "MUSTERMANN", "PatientSex": "O"},
        "IM0006": dict.fromkeys(("Manufacturer", "BodyPartExamined", "Modality"), "MUSTERMANN"),
        "IM0004": {"PhotometricInterpretation": "MUSTERMANN"},
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of whoever writes such a file
            write(root / "ward0" / name, int(name[2:]), **fields)
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        store = prepare(
            source(root),
            tmp_path / "store",
            size=4,
            max_rejects=0.2,
            workers=1,
            splits=(0.5, 0.2, 0.3),
        )
    assert store.info.counts["rejects"] == 2
    out = capsys.readouterr()
    seen = caplog.text + out.out + out.err
    seen += "".join(path.read_text("latin1") for path in (tmp_path / "store").iterdir())
    for secret in ("Mustermann", "MUSTERMANN", "Must", BIRTHDAY, "spoke with"):
        assert secret not in seen
    row = store.table[store.table["file"] == "ward0/IM0002"].iloc[0]
    assert row[["age", "sex", "view"]].isna().all()


def test_it_can_be_sent_to_a_worker(root: Path) -> None:
    data = source(root, window=parse_window("100:200"), workers=1)
    again = pickle.loads(pickle.dumps(data))
    row = data.index().iloc[3].to_dict()
    assert np.array_equal(data.read(row).pixels, again.read(row).pixels)
    assert (again.read(row).low, again.read(row).high) == (100, 200)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real DICOM files are not here")
def test_exactly_the_unreadable_files_are_rejected_each_with_a_true_reason(tmp_path: Path) -> None:
    index = pd.read_csv(REAL / "index.csv")
    good = (index["read"] == "ok") & index["pixels"].str.startswith("ok", na=False)
    table = tmp_path / "labels.csv"
    index.assign(odd=np.arange(len(index)) % 2).to_csv(table, index=False)
    data = Dicom(REAL, table, {"odd": "odd"})
    prepare(data, tmp_path / "store", size=32, max_rejects=0.5, workers=1, splits=(0, 0, 1))
    assert sorted(pd.read_csv(tmp_path / "store" / "table.csv")["file"]) == sorted(
        index["file"][good]
    )
    rejects = pd.read_csv(tmp_path / "store" / "rejects.csv").set_index("file")["reason"]
    assert len(rejects) == 20
    told = index[~good].assign(why=index["read"].where(index["read"] != "ok", index["pixels"]))
    for file, why in zip(told["file"], told["why"], strict=True):
        assert any(why.startswith(start) and rejects[file] in ours for start, ours in TRUE), (
            file,
            why,
            rejects[file],
        )


PREFIX = ("not a DICOM file: it has no DICM prefix", "the file is empty")
TRUE = [
    ("InvalidDicomError: File is missing", PREFIX),
    ("AttributeError: The dataset has no 'Pixel Data", ("no pixel data",)),
    (
        "ValueError: The number of bytes of pixel",
        ("its pixel data is shorter than its header says",),
    ),
    ("ValueError: invalid literal for int()", ("its number of frames is not a number",)),
    ("AttributeError: Unable to decode", ("it does not say its transfer syntax",)),
    (
        "RuntimeError: Unable to decode",
        ("its pixels cannot be decoded (transfer syntax JPEG Extended (Process 2 and 4))",),
    ),
]
"""How pydicom puts it, and how we may."""
