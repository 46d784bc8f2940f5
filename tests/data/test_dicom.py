"""Pixels of DICOM files against pydicom's own transformations, and files made to be odd."""

import os
import warnings
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from medrobust.data.convert import convert
from medrobust.data.decode import stretch
from medrobust.data.dicom import read_dicom
from medrobust.data.dicom_header import Header, read_header
from medrobust.data.isolation import Failure, Limits, isolated_map
from medrobust.data.window import parse_window
from medrobust.errors import MedrobustError

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.pixels import apply_modality_lut, apply_voi_lut  # noqa: E402
from pydicom.uid import (  # noqa: E402
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "dicom"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real DICOM files are not here")
RAMP = np.arange(48, dtype=np.uint16).reshape(8, 6) * 80


def made(path: Path, pixels: np.ndarray = RAMP, **fields) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    found = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    found.Rows, found.Columns = pixels.shape[-2:]
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated = 8 * pixels.dtype.itemsize
    found.BitsStored = 12 if pixels.dtype == np.uint16 else found.BitsAllocated
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    found.PixelData = pixels.tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in fields.items():
            setattr(found, keyword, value)
        found.save_as(path, enforce_file_format=True)
    return path


def reason(path: Path, **options) -> str:
    with pytest.raises(MedrobustError) as caught:
        read_dicom(path, **options)
    return str(caught.value)


def test_hounsfield_units_and_the_first_window_as_the_standard_defines_it(tmp_path: Path) -> None:
    fields = {"RescaleSlope": 2, "RescaleIntercept": -1024}
    fields |= {"WindowCenter": [40, 500], "WindowWidth": [400, 2000]}
    picture = read_dicom(made(tmp_path / "x", **fields))
    assert np.array_equal(picture.pixels[0], RAMP * 2.0 - 1024)
    # PS3.3 C.11.2.1.2.1 gives 0 at c - 0.5 - (w - 1) / 2 and all at c - 0.5 + (w - 1) / 2
    assert (picture.low, picture.high) == (-160, 239)
    assert picture.note == ""


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_windows_against_pydicom(tmp_path: Path, function: str, kind: str) -> None:
    fields = {"WindowCenter": 1500.0, "WindowWidth": 900.0, "VOILUTFunction": function}
    path = made(tmp_path / "x", **fields, PhotometricInterpretation=kind)
    picture = read_dicom(path)
    shown = stretch(picture.pixels, picture.low, picture.high, 16)[0] / 65535
    found = pydicom.dcmread(path)
    expected = apply_voi_lut(found.pixel_array, found) / 4095
    expected = 1 - expected if kind == "MONOCHROME1" else expected
    # pydicom's sigmoid is the standard's formula, its linear ones end at the stored range
    assert np.allclose(shown, expected, atol=2e-5)


def test_signed_pixels_without_a_window_end_at_their_own(tmp_path: Path) -> None:
    picture = read_dicom(made(tmp_path / "x", (RAMP.astype(np.int16) - 700)))
    assert (picture.pixels.min(), picture.low, picture.high) == (-700, -700, 47 * 80 - 700)
    assert picture.note == "no window in the file: smallest to largest pixel"
    padded = np.where(RAMP > 3000, -(2**15), RAMP.astype(np.int16)).astype(np.int16)
    picture = read_dicom(made(tmp_path / "x", padded, PixelPaddingValue=-(2**15)))
    assert (picture.low, picture.high) == (0, 2960)
    assert reason(made(tmp_path / "y", np.zeros((2, 2), np.int16))) == (
        "all its pixels have one value, and it has no window"
    )


def test_windows_asked_for(tmp_path: Path) -> None:
    path = made(tmp_path / "x", WindowCenter=40, WindowWidth=400, RescaleIntercept=-1000)
    limits = [
        (picture.low, picture.high)
        for picture in (read_dicom(path, parse_window(text)) for text in ("range", "-5:95"))
    ]
    assert limits == [(-1000, 3095), (-5, 95)]
    low, high = np.percentile(RAMP - 1000.0, [1, 99])
    picture = read_dicom(path, parse_window("percentile:1:99"))
    assert (picture.low, picture.high) == (pytest.approx(low), pytest.approx(high))


def test_the_range_of_the_stored_bits(tmp_path: Path) -> None:
    window = parse_window("range")
    signed = made(tmp_path / "x", RAMP.astype(np.int16), BitsStored=12, HighBit=11, RescaleSlope=2)
    assert (read_dicom(signed, window).low, read_dicom(signed, window).high) == (-4096, 4094)
    falling = made(tmp_path / "y", RescaleSlope=-1, RescaleIntercept=100)
    assert (read_dicom(falling, window).low, read_dicom(falling, window).high) == (-3995, 100)
    assert read_dicom(falling).note == "no window in the file"
    if REAL.is_dir():
        assert reason(REAL / "misc/parametric_map_float.dcm", window=window) == (
            "floating pixels have no range: give a window (--window -1000:400)"
        )


def table(entries, first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    packed = isinstance(entries, bytes)
    item.add_new("LUTData", "OW" if packed else "US", entries if packed else list(entries))
    return [item]


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_of_8_bits_for_an_image_of_12(tmp_path: Path, packed: bool) -> None:
    """pydicom 3.0 looks up in 8-bit integers here, so that values from 256 wrap around."""
    entries = (np.arange(4000) // 16).astype(np.uint8)
    given = entries.tobytes() if packed else entries.tolist()
    picture = read_dicom(made(tmp_path / "x", VOILUTSequence=table(given, 40, 8)))
    assert np.array_equal(picture.pixels[0], entries[np.clip(RAMP.astype(int) - 40, 0, 3999)])
    assert (picture.low, picture.high) == (0, 255)


def test_a_table_of_units_that_begins_below_zero(tmp_path: Path) -> None:
    entries = np.arange(2000) * 3
    fields = {"ModalityLUTSequence": table(entries.tolist(), -1000, 16)}
    picture = read_dicom(made(tmp_path / "x", (RAMP % 256).astype(np.uint8), **fields))
    assert np.array_equal(picture.pixels[0], (RAMP % 256 + 1000) * 3)
    assert (picture.low, picture.high, picture.note) == (0, 65535, "no window in the file")


def test_tables_without_entries_are_none(tmp_path: Path) -> None:
    fields = {"VOILUTSequence": [], "ModalityLUTSequence": [], "WindowCenter": 9, "WindowWidth": 4}
    assert read_dicom(made(tmp_path / "x", **fields)).low == 7


@pytest.mark.parametrize(
    "fields",
    [
        {"WindowCenter": 40, "WindowWidth": 0},
        {"WindowCenter": 40, "WindowWidth": -9},
        {"WindowCenter": 40, "WindowWidth": 1},
        {"WindowCenter": 40},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
)
def test_windows_that_cannot_be_one(tmp_path: Path, fields: dict[str, object]) -> None:
    picture = read_dicom(made(tmp_path / "x", **fields))
    assert (picture.low, picture.high, picture.note) == (0, 4095, "no window in the file")


def test_what_stands_in_unused_bits_is_removed(tmp_path: Path) -> None:
    picture = read_dicom(made(tmp_path / "x", RAMP | np.uint16(0xA000)))
    assert np.array_equal(picture.pixels[0], RAMP)
    twelve = (RAMP.astype(np.int16) - 2000) & 0x0FFF | 0x5000
    signed = made(tmp_path / "y", twelve.astype(np.int16), BitsStored=12, HighBit=11)
    assert np.array_equal(read_dicom(signed).pixels[0], RAMP.astype(int) - 2000)


@pytest.mark.parametrize(
    ("fields", "spacing", "note"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, (0.5, 0.25), ""),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "spacing of the detector"),
        ({"PixelSpacing": [0, 1]}, None, "the spacing in the file cannot be one"),
        ({"PixelSpacing": [-1, 1]}, None, "the spacing in the file cannot be one"),
        ({"PixelSpacing": [1e-9, 1]}, None, "the spacing in the file cannot be one"),
        ({"PixelSpacing": [1, 1e9]}, None, "the spacing in the file cannot be one"),
        ({"PixelSpacing": 1}, None, "the spacing in the file cannot be one"),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [2, 1]}, (2, 1), "spacing of the detector"),
        ({}, None, ""),
    ],
)
def test_spacing(tmp_path: Path, fields, spacing, note: str) -> None:
    picture = read_dicom(made(tmp_path / "x", WindowCenter=9, WindowWidth=9, **fields))
    assert (picture.spacing, picture.note) == (spacing, note)


def test_frames(tmp_path: Path) -> None:
    frames = np.stack([RAMP + number for number in range(5)]).astype(np.uint16)
    path = made(tmp_path / "x", frames, NumberOfFrames=5, WindowCenter=9, WindowWidth=9)
    middle, third = read_dicom(path), read_dicom(path, frame=3)
    assert np.array_equal(middle.pixels[0], RAMP + 2)
    assert np.array_equal(third.pixels[0], RAMP + 2)
    assert np.array_equal(read_dicom(path, frame=5).pixels[0], RAMP + 4)
    assert middle.note == "the middle one of several frames"
    assert third.note == "frame 3 of several"
    assert reason(path, frame=6) == "it has no frame 6"


def test_codes_that_go_beyond_the_stored_bits_do_not_wrap_around(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    stream = pydicom.dcmread(REAL / "misc/MR_small_jp2klossless.dcm") if REAL.is_dir() else None
    if stream is None:
        pytest.skip("the real DICOM files are not here")
    expected = np.abs(stream.pixel_array).max()
    stream.BitsStored, stream.HighBit = 9, 8
    assert expected > 2**8
    stream.PixelData = encapsulate([next(pydicom.encaps.generate_frames(stream.PixelData))])
    stream.file_meta.TransferSyntaxUID = JPEG2000Lossless
    stream.save_as(tmp_path / "x")
    assert np.abs(read_dicom(tmp_path / "x").pixels).max() == expected


def test_windows_and_spacing_of_enhanced_objects_lie_in_their_frames(tmp_path: Path) -> None:
    def group(name: str, **fields) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for keyword, value in fields.items():
            setattr(inner, keyword, value)
        setattr(outer, name, [inner])
        return outer

    frames = np.stack([RAMP, RAMP])
    windows = [group("FrameVOILUTSequence", WindowCenter=c, WindowWidth=11) for c in (50, 90)]
    path = made(
        tmp_path / "x",
        frames,
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=windows,
        SharedFunctionalGroupsSequence=[group("PixelMeasuresSequence", PixelSpacing=[2, 3])],
    )
    assert [read_dicom(path, frame=n).low for n in (1, 2)] == [44.5, 84.5]
    assert read_dicom(path).spacing == (2, 3)


def test_colour_and_equal_channels(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    fields = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    fields |= {"Rows": 8, "Columns": 6}
    picture = read_dicom(made(tmp_path / "x", colour, **fields))
    expected = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(picture.pixels[0] - expected).max() <= 0.51
    assert (picture.low, picture.high) == (0, 255)
    assert picture.note == "colour was turned into luminance (ITU-R BT.601)"
    planes = made(
        tmp_path / "p", np.moveaxis(colour, -1, 0), **(fields | {"PlanarConfiguration": 1})
    )
    assert np.array_equal(read_dicom(planes).pixels, picture.pixels)
    equal = np.repeat(colour[..., :1], 3, axis=-1)
    windowed = made(tmp_path / "y", equal, **fields, WindowCenter=9, WindowWidth=9)
    picture = read_dicom(windowed)
    assert np.array_equal(picture.pixels[0], colour[..., 0])
    assert (picture.low, picture.high, picture.note) == (0, 255, "")  # windows are for grey
    picture = read_dicom(windowed, parse_window("20:90"))
    assert (picture.low, picture.high) == (20, 90)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Rows": 9}, "its pixel data is shorter than its header says"),
        ({"Rows": 0}, "its header says that it has no pixels"),
        ({"Rows": 60_000, "Columns": 60_000}, "more than 100000000 pixels"),
        ({"PhotometricInterpretation": "YBR_SECRET"}, "its pixels cannot be decoded (transfer"),
        ({"SamplesPerPixel": None}, "its pixels cannot be decoded (transfer syntax Explicit VR"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, fields, text: str) -> None:
    assert reason(made(tmp_path / "x", **fields)).startswith(text)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    text = "DICOM needs the extra dicom: pip install 'medrobust[dicom]'"
    assert reason(Path(__file__)) == text


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "pipe") == "not a file"
    assert read_header(tmp_path / "pipe").problem == "not a file"
    assert reason(tmp_path / "x") == "there is no such file"
    (tmp_path / "x").touch()
    assert reason(tmp_path / "x") == "the file is empty"
    os.truncate(tmp_path / "x", 2**31 + 1)
    assert reason(tmp_path / "x") == "the file is larger than 2 GiB"


def test_a_changed_byte_is_an_image_or_a_reason_of_ours(tmp_path: Path) -> None:
    path = made(tmp_path / "x", WindowCenter=9, WindowWidth=9, PixelSpacing=[1, 1], RescaleSlope=2)
    whole = path.read_bytes()
    seen = set()
    for place in range(128, len(whole) - RAMP.nbytes):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0xFF >> place % 8
        path.write_bytes(spoilt)
        read_header(path)
        try:
            seen.add(read_dicom(path).pixels.ndim)
        except MedrobustError as error:
            seen.add(str(error))
    assert seen <= REASONS | {3}
    assert len(seen) > 5


REASONS = {
    *("not a DICOM file: it has no DICM prefix", "its DICOM header cannot be read"),
    *("it does not say its transfer syntax", "no pixel data", "neither grey, palette nor RGB"),
    *("its number of frames is not a number", "its header says that it has no pixels"),
    *(
        "its pixel data is shorter than its header says",
        "its header and pixels do not fit together",
    ),
    *("more than 100000000 pixels", "all its pixels have one value, and it has no window"),
    "its pixels cannot be decoded (transfer syntax Explicit VR Little Endian)",
    "its pixels cannot be decoded (transfer syntax unknown)",
}


def test_words_of_the_header(tmp_path: Path) -> None:
    fields = {"Modality": "DX", "PatientSex": "F", "Laterality": "L", "BodyPartExamined": "CHEST"}
    header = read_header(made(tmp_path / "x", **fields, ViewPosition="LL", Manufacturer="G.E. Med"))
    assert (header.modality, header.sex, header.laterality) == ("DX", "F", "L")
    assert (header.body_part, header.manufacturer, header.view) == ("CHEST", "GE", "lateral")
    fields = dict.fromkeys([*fields, "ViewPosition", "Manufacturer"], "MUELLER")
    header = read_header(made(tmp_path / "x", **fields, AccessionNumber=" A1 "))
    assert header.keys == {"SOPInstanceUID": "", "AccessionNumber": "A1", "PatientID": ""}
    assert replace(header, age=0) == Header(header.keys, age=0)


@pytest.mark.parametrize("age", ["045Y", "006M", "010W", "015D", "000Y", "45", "XXX", ""])
def test_ages(tmp_path: Path, age: str) -> None:
    years = {"045Y": 45, "006M": 0.5, "010W": 0.19, "015D": 0.04}
    header = read_header(made(tmp_path / "x", PatientAge=age))
    assert header.age == years[age] if age in years else np.isnan(header.age)


def test_a_deflate_bomb_costs_one_reject(tmp_path: Path) -> None:
    path = made(tmp_path / "x")
    content = path.read_bytes()
    head = content.index(b"\x28\x00\x02\x00")  # the group of the image starts the data set
    meta = content[:head].replace(
        _padded(ExplicitVRLittleEndian), _padded(DeflatedExplicitVRLittleEndian)
    )
    bomb = zlib.compressobj(9, wbits=-15)
    squeezed = b"".join([*(bomb.compress(bytes(2**20)) for _ in range(300)), bomb.flush()])
    assert len(squeezed) < 2**20
    path.write_bytes(_longer_meta(meta) + squeezed)
    limits = Limits(seconds=20, memory=2**28)
    found = list(isolated_map(read_header, [path], workers=1, limits=limits))
    why = found[0].reason if isinstance(found[0], Failure) else found[0].problem
    assert why == "it needs more than 0.25 GiB of memory to read"


def _padded(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _longer_meta(meta: bytes) -> bytes:
    """Mend the lengths of the syntax and of its group after the syntax was replaced."""
    grown = len(_padded(DeflatedExplicitVRLittleEndian)) - len(_padded(ExplicitVRLittleEndian))
    place = meta.index(_padded(DeflatedExplicitVRLittleEndian)) - 2
    length = len(_padded(DeflatedExplicitVRLittleEndian)).to_bytes(2, "little")
    meta = meta[:place] + length + meta[place + 2 :]
    group = 128 + 4 + 8
    total = int.from_bytes(meta[group : group + 4], "little") + grown
    return meta[:group] + total.to_bytes(4, "little") + meta[group + 4 :]


@real
@pytest.mark.parametrize(
    "name",
    [
        *("misc/693_J2KR.dcm", "misc/693_UNCI.dcm", "misc/CT_small.dcm", "misc/MR_small_RLE.dcm"),
        *("misc/MR_small_bigendian.dcm", "misc/JPGExtended.dcm", "misc/mlut_18.dcm"),
        *("series_ct/slice_048.dcm", "cr_dx/RG3_J2KI.dcm"),
    ],
)
def test_native_units_against_pydicom(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(REAL / name)
        expected = apply_modality_lut(found.pixel_array, found)
    assert np.array_equal(read_dicom(REAL / name).pixels[0], expected)


@real
@pytest.mark.parametrize(
    "name", ["series_ct/slice_048.dcm", "cr_dx/RG3_J2KI.dcm", "misc/MR_small.dcm"]
)
def test_the_window_against_pydicom(name: str) -> None:
    found = pydicom.dcmread(REAL / name)
    native = apply_modality_lut(found.pixel_array, found)
    shown = apply_voi_lut(native, found, prefer_lut=False).astype(float)
    ends = np.array([0, 2**found.BitsStored - 1]) - found.PixelRepresentation * 2**15
    low, high = ends * float(found.get("RescaleSlope", 1)) + float(found.get("RescaleIntercept", 0))
    expected = (shown - low) / (high - low)  # pydicom shows in all that the pixels can be
    if found.PhotometricInterpretation == "MONOCHROME1":
        expected = 1 - expected
    picture = read_dicom(REAL / name)
    seen = stretch(picture.pixels, picture.low, picture.high, 16)[0] / 65535
    assert np.allclose(seen, expected, atol=2e-5)
    assert seen.std() > 0.1


@real
def test_a_voi_table_against_pydicom() -> None:
    found = pydicom.dcmread(REAL / "misc/vlut_04.dcm")
    picture = read_dicom(REAL / "misc/vlut_04.dcm")
    assert np.array_equal(picture.pixels[0], apply_voi_lut(found.pixel_array, found))
    assert picture.note == "native values are those behind the file's VOI LUT"


@real
def test_the_same_film_said_to_be_of_the_other_polarity() -> None:
    from medrobust.data.settings import Settings

    class Films:
        def read(self, row):
            return read_dicom(REAL / "cr_dx" / row["file"])

    read = partial(convert, source=Films(), settings=Settings(64))
    plain, inverted = (
        read({"file": name}) for name in ("siim_mono2_jpegbaseline.dcm", "siim_fake_mono1.dcm")
    )
    # the second file has the first one's pixels and says that they are to be shown upside down
    assert np.array_equal(inverted.pixels, 255 - plain.pixels)
    assert inverted.numbers[:2] == (255, 0)


@real
def test_palette_and_map_of_floats() -> None:
    palette = read_dicom(REAL / "misc/examples_palette.dcm")
    assert (palette.low, palette.high) == (0, 65535)
    assert 0.05 < palette.pixels.mean() / 65535 < 0.6
    parametric = read_dicom(REAL / "misc/parametric_map_float.dcm")
    assert parametric.pixels.dtype == np.float32
    assert parametric.spacing == (0.661468, 0.661468)
