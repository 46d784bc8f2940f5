import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from medrobust.data import decode
from medrobust.data.decode import read_grey, read_mask, stretch
from medrobust.errors import MedrobustError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def saved(folder: Path, array: np.ndarray, mode: str | None = None, name: str = "x.png") -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(folder / name)
    return folder / name


def test_grey_comes_back_exactly(tmp_path: Path) -> None:
    pixels, note = read_grey(saved(tmp_path, RAMP))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, RAMP[None])
    assert note == ""


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path) -> None:
    deep = RAMP.astype(np.uint16) * 256 + 7
    pixels, note = read_grey(saved(tmp_path, deep))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, deep[None])
    assert note == ""


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_equal_channels_are_grey_exactly(tmp_path: Path, mode: str) -> None:
    pixels, note = read_grey(saved(tmp_path, RAMP, mode))
    assert np.array_equal(pixels, RAMP[None])
    assert note == ""


def test_one_bit(tmp_path: Path) -> None:
    pixels, _ = read_grey(saved(tmp_path, RAMP > 100))
    assert np.array_equal(pixels[0], 255 * (RAMP > 100))


def test_colour_becomes_luminance_with_a_note(tmp_path: Path) -> None:
    red_green_blue = np.eye(3, dtype=np.uint8)[None] * 255
    pixels, note = read_grey(saved(tmp_path, red_green_blue))
    assert pixels[0, 0].tolist() == [round(255 * weight) for weight in (0.299, 0.587, 0.114)]
    assert note == "colour was turned into luminance (ITU-R BT.601)"


def test_transparency_becomes_black_with_a_note(tmp_path: Path) -> None:
    clear = np.full((1, 2, 4), 200, np.uint8)
    clear[0, :, 3] = [0, 255]
    pixels, note = read_grey(saved(tmp_path, clear))
    assert pixels[0, 0].tolist() == [0, 200]
    assert note == "transparent pixels became black"


def test_jpeg_of_grey_in_colour_has_no_note(tmp_path: Path) -> None:
    pixels, note = read_grey(saved(tmp_path, RAMP, "RGB", "x.jpeg"))
    assert pixels.shape == (1, 16, 16)
    assert np.abs(pixels[0].astype(int) - RAMP).max() < 40
    assert note == ""


TIFF = [
    {},
    {"compression": "tiff_lzw"},
    {"compression": "tiff_adobe_deflate"},
    {"compression": "packbits"},
]


@pytest.mark.parametrize("settings", TIFF)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_tiff_keeps_its_numbers(tmp_path: Path, kind: type, settings: dict[str, str]) -> None:
    values = (RAMP * np.float64(0.5 if kind == np.float32 else 1)).astype(kind)
    Image.fromarray(values).save(tmp_path / "x.tif", **settings)
    pixels, note = read_grey(tmp_path / "x.tif")
    assert (pixels.dtype, note) == (kind, "")
    assert np.array_equal(pixels[0], values)


def tiff(path: Path, values: np.ndarray, order: str = "<", white: int = 1, tags=()) -> Path:
    """A grey TIFF of one strip, written entry by entry: Pillow writes neither of these kinds."""
    height, width = values.shape
    entries = [(256, 3, width), (257, 3, height), (258, 3, 8 * values.itemsize), (259, 3, 1)]
    entries += [
        (262, 3, white),
        (273, 4, 8),
        (277, 3, 1),
        (278, 3, height),
        (279, 4, values.nbytes),
    ]
    entries = sorted([*entries, *tags])
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, number in entries:
        word = struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *[number, 0][: 2 - kind // 4])
        directory += struct.pack(f"{order}HHI", tag, kind, 1) + word
    start = struct.pack(f"{order}HI", 42, 8 + values.nbytes)
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    path.write_bytes((b"II" if order == "<" else b"MM") + start + data + directory + bytes(4))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_orders_of_bytes(tmp_path: Path, order: str) -> None:
    deep = RAMP.astype(np.uint16) * 257 - np.uint16(3)
    pixels, note = read_grey(tiff(tmp_path / "x.tif", deep, order))
    assert np.array_equal(pixels[0], deep)
    assert (pixels.dtype, pixels.dtype.isnative, note) == (np.uint16, True, "")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_where_zero_is_white_it_becomes_black(tmp_path: Path, kind: type) -> None:
    values = RAMP.astype(kind)
    pixels, _ = read_grey(tiff(tmp_path / "x.tif", values, white=0))
    assert np.array_equal(pixels[0], np.iinfo(kind).max - values)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg"])
@pytest.mark.parametrize("orientation", range(9))
def test_it_is_turned_as_its_orientation_says(tmp_path: Path, name: str, orientation: int) -> None:
    turned = {
        **{2: RAMP[:, ::-1], 3: RAMP[::-1, ::-1], 4: RAMP[::-1], 5: RAMP.T},
        **{6: np.rot90(RAMP, -1), 7: RAMP[::-1, ::-1].T, 8: np.rot90(RAMP)},
    }
    settings = {"exif": exif(orientation)}
    if name == "x.tif":
        tiff(tmp_path / name, RAMP, tags=[(274, 3, orientation)])
    else:
        Image.fromarray(RAMP).save(tmp_path / name, **settings)
    pixels, note = read_grey(tmp_path / name)
    slack = 12 if name == "x.jpg" else 0
    assert np.abs(pixels[0].astype(int) - turned.get(orientation, RAMP)).max() <= slack
    assert note == ("turned as the EXIF orientation says" if orientation in turned else "")


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[274] = orientation
    return tags


def test_the_middle_page_of_a_tiff_and_the_first_picture_of_others(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(RAMP + np.uint8(number)) for number in range(5)]
    expected = {"x.tif": (2, "the middle one of several pages"), "x.png": (0, "")}
    for name, (number, note) in expected.items():
        first.save(tmp_path / name, save_all=True, append_images=others)
        pixels, found = read_grey(tmp_path / name)
        assert np.array_equal(pixels[0], RAMP + np.uint8(number))
        assert found == note
    first.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=others)
    assert read_grey(tmp_path / "x.jpg")[1] == ""


def test_palettes_and_colour_of_a_tiff(tmp_path: Path) -> None:
    for mode in ("P", "RGB", "1"):
        Image.fromarray(RAMP).convert(mode).save(tmp_path / "x.tif")
        expected = np.array(Image.fromarray(RAMP).convert(mode).convert("L"))
        assert np.array_equal(read_grey(tmp_path / "x.tif")[0][0], expected)


@pytest.mark.parametrize(
    ("mode", "name"),
    [(mode, name) for name in ("x.png", "x.tif") for mode in ("1", "L", "P", "I;16")]
    + [("I", "x.tif")],
)
def test_masks_are_numbers(tmp_path: Path, mode: str, name: str) -> None:
    values = (
        RAMP > 99
        if mode == "1"
        else RAMP.astype({"I;16": np.uint16, "I": np.int32}.get(mode, np.uint8))
    )
    image = Image.fromarray(values)
    if mode == "P":
        image = Image.fromarray(RAMP)
        image.putpalette(bytes(range(256)) * 3)
    image.save(tmp_path / name)
    mask = read_mask(tmp_path / name)
    assert mask.dtype == np.int64
    assert np.array_equal(mask, values if mode == "1" else RAMP)


def test_a_mask_in_colour_and_one_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"^expected a mask of whole numbers, found RGB$"):
        read_mask(saved(tmp_path, RAMP, "RGB"))
    with pytest.raises(MedrobustError, match=r"^not a PNG, JPEG or TIFF"):
        read_mask(saved(tmp_path, RAMP, name="x.jpg"))


def test_sixteen_bit_colour_is_read_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(width=1, height=1, bits=16, colour=2, data=b"\0" + b"\x80\x00" * 3))
    pixels, note = read_grey(path)
    assert pixels.tolist() == [[[128]]]
    assert note == "16-bit colour was read at 8 bits"


def png(width: int, height: int, bits: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def reason(path: Path) -> str:
    with pytest.raises(MedrobustError) as caught:
        read_grey(path)
    assert str(path) not in str(caught.value)
    return str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    assert reason(tmp_path / "x.png") == "there is no such file"


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_a_truncated_image(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    path = saved(tmp_path, noise, name=name)
    path.write_bytes(path.read_bytes()[:-900])
    assert reason(path) == "damaged image: it is truncated"


@pytest.mark.parametrize(
    ("name", "settings"),
    [("x.png", {}), ("x.tif", {}), ("x.tif", {"compression": "tiff_lzw"}), ("x.jpg", {})],
)
def test_a_changed_byte_is_an_image_or_one_of_few_reasons(tmp_path: Path, name, settings) -> None:
    path = tmp_path / name
    Image.fromarray(RAMP).save(path, **settings)
    whole = path.read_bytes()
    seen = set()
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0xFF
        path.write_bytes(spoilt)
        seen.add(outcome(path))
    assert {"image", "damaged image"} <= seen
    assert seen <= {
        *("image", "damaged image", "damaged image: it is truncated"),
        *("not a PNG, JPEG or TIFF image", "more than 100000000 pixels"),
    }


def outcome(path: Path) -> str:
    try:
        read_grey(path)
    except MedrobustError as error:
        return str(error)
    return "image"


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4"])
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert reason(tmp_path / "x.png") == "not a PNG, JPEG or TIFF image"


def test_other_formats_are_not_even_tried(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "x.png", format="GIF")
    assert reason(tmp_path / "x.png") == "not a PNG, JPEG or TIFF image"


@pytest.mark.parametrize("side", [11_000, 20_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(side, side, 8, 0, b""))
    assert reason(path) == "more than 100000000 pixels"


def test_the_limit_holds_without_pillows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(decode, "MAX_PIXELS", 255)
    assert reason(saved(tmp_path, RAMP)) == "more than 255 pixels"


@given(hnp.arrays(np.uint8, (1, 3, 3)), st.sampled_from([(8, 1), (16, 257)]))
def test_the_full_range_of_eight_bits_is_kept_exactly(pixels, bits_and_factor) -> None:
    bits, factor = bits_and_factor
    stretched = stretch(pixels, 0, 255, bits)
    assert stretched.dtype == np.dtype(f"uint{bits}")
    assert np.array_equal(stretched, pixels.astype(np.uint16) * factor)


@given(hnp.arrays(np.uint16, (1, 3, 3)))
def test_the_full_range_of_sixteen_bits_is_kept_exactly(pixels) -> None:
    assert np.array_equal(stretch(pixels, 0, 65535, 16), pixels)


def test_a_window_is_stretched_rounded_and_clipped() -> None:
    units = np.array([[[-2000.0, -1000, -300, 400, 3000]]])
    assert stretch(units, -1000, 400, 8).ravel().tolist() == [0, 0, 128, 255, 255]
    assert stretch(units, -1000, 400, 16).ravel().tolist() == [0, 0, 32768, 65535, 65535]


@given(hnp.arrays(np.uint16, (1, 3, 3)), st.sampled_from([8, 16]))
def test_a_window_upside_down_gives_the_negative(pixels, bits) -> None:
    up, down = stretch(pixels, 0, 65535, bits), stretch(pixels, 65535, 0, bits)
    assert up.dtype == down.dtype
    assert np.abs(up.astype(int) + down - (2**bits - 1)).max() <= (0 if bits == 16 else 1)
    assert stretch(pixels, 40, 10, bits).max() <= stretch(pixels.min(keepdims=True), 40, 10, bits)


def test_a_window_upside_down_is_clipped_on_the_right_sides() -> None:
    assert stretch(np.array([[[0, 10, 25, 40, 99]]]), 40, 10, 8).ravel().tolist() == [
        *(255, 255, 128, 0, 0)
    ]
