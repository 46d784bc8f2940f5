from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medrobust.data.prepare import prepare
from medrobust.data.source import Picture
from medrobust.data.store import Store
from medrobust.data.window import parse_window
from medrobust.datasets.dicom import Dicom
from medrobust.errors import MedrobustError
from medrobust.loose_files import LooseFiles, decoding_for
from medrobust.rundir import RunDir
from medrobust.thresholds import Home

ARRAY = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10) * 30
KNOWN = {"findings": ["ill"], "task": "multilabel", "channels": 1, "size": [16, 16]}


def dicom(path: Path, array: Any = ARRAY, kind: str = "MONOCHROME2", frames: int = 1) -> Path:
    """A file with a window of its own, 100 to 2100."""
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found = pydicom.Dataset()
    found.file_meta, found.SOPClassUID = meta, pydicom.uid.DigitalXRayImageStorageForPresentation
    found.SOPInstanceUID, found.PatientID = pydicom.uid.generate_uid(), path.stem
    found.PhotometricInterpretation, found.SamplesPerPixel = kind, 1
    found.Rows, found.Columns = array.shape
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
    found.PixelRepresentation, found.PixelData = 0, array.tobytes() * frames
    found.WindowCenter, found.WindowWidth = 1100.5, 2001
    if frames > 1:
        found.NumberOfFrames = frames
    path.parent.mkdir(exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def read(path: Path, **made: Any) -> Picture:
    return LooseFiles([path], **made).read({"file": str(path)})


@pytest.mark.parametrize("name", ["image.dcm", "image.DCM", "IM0001"])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_is_known_by_its_suffix_or_its_prefix(tmp_path: Path, name: str, kind: str) -> None:
    found = read(dicom(tmp_path / name, kind=kind))
    assert np.array_equal(found.pixels[0], ARRAY)
    ends = (100.0, 2100.0)
    assert (found.low, found.high) == (ends if kind == "MONOCHROME2" else ends[::-1])


def test_dicom_frames(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", frames=3)
    with pytest.raises(MedrobustError, match=r"^it has several pages or frames, and the model "):
        read(path)
    assert read(path, frame=2).note == "frame 2 of several"
    usual = ["7 images: the middle one of several frames"]
    assert read(path, usual=usual).note == "the middle one of several frames"


def test_what_is_no_dicom(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    path = tmp_path / "a.dcm"
    path.write_text("no image" * 20)
    with pytest.raises(MedrobustError, match=r"^not a DICOM file: it has no DICM prefix$"):
        read(path)
    with pytest.raises(MedrobustError, match=r"^not a PNG, JPEG or TIFF image$"):
        read(path.rename(tmp_path / "a.xyz"))


@pytest.mark.parametrize("name", ["gone.dcm", "gone.png", "gone"])
def test_no_file(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pydicom")
    with pytest.raises(MedrobustError, match=r"^there is no such file$"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("window", "ends"), [(None, (0, 255)), ("10:90", (10, 90)), ("percentile:0:100", (7, 126))]
)
def test_windows(tmp_path: Path, window: str | None, ends: tuple[float, float]) -> None:
    Image.fromarray(np.arange(7, 127, dtype=np.uint8).reshape(12, 10)).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png", window=parse_window(window) if window else None)
    assert (found.low, found.high) == ends


def test_grey_in_three_channels_is_grey(tmp_path: Path) -> None:
    grey = np.arange(120, dtype=np.uint8).reshape(12, 10)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png").pixels[0], grey)


def test_a_store_of_dicom_files_says_how_to_read_them(tmp_path: Path) -> None:
    for number in range(12):
        dicom(tmp_path / "files" / f"{number:02d}", ARRAY + 10 * number)
    rows = [f"{n:02d},{n // 3 % 2},{('train', 'val', 'test')[n % 3]}" for n in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,ill,split", *rows]))
    store = _stored(tmp_path)
    decoding = decoding_for(RunDir(tmp_path), [], KNOWN, Home(store))
    assert decoding.settings.size == 16
    assert decoding.settings.keep_aspect
    assert decoding.window == (0.0, 3000.0)
    assert decoding.source.read({"file": str(tmp_path / "files" / "01")}).high == 3000


def _stored(root: Path) -> Store:
    source = Dicom(
        root / "files",
        root / "labels.csv",
        {"ill": "ill"},
        split_column="split",
        window=parse_window("0:3000"),
    )
    options = {"window": "0:3000", "frame": None, "key": "file"}
    return prepare(source, root / "store", size=16, keep_aspect=True, options=options)


def test_without_a_store_it_is_as_prepare_does_by_default(tmp_path: Path) -> None:
    decoding = decoding_for(RunDir(tmp_path), [], KNOWN, Home(None))
    assert (decoding.settings.size, decoding.settings.bits) == ((16, 16), 8)
    assert not decoding.settings.keep_aspect
    assert decoding.window is None


def test_index_is_the_files_in_the_order_given() -> None:
    table = LooseFiles([Path("b/2.png"), Path("a/1.png")]).index()
    assert table["file"].tolist() == table["image_id"].tolist() == ["b/2.png", "a/1.png"]
