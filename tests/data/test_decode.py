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
from medrobust.data.decode import read_grey, stretch
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
    assert reason(path).startswith("damaged image: ")
    assert "truncated" in reason(path)


def test_a_changed_byte_is_an_image_or_an_error_in_words(tmp_path: Path) -> None:
    whole = saved(tmp_path, RAMP).read_bytes()
    outcomes = set()
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0xFF
        (tmp_path / "y.png").write_bytes(spoilt)
        outcomes.add(outcome(tmp_path / "y.png"))
    assert outcomes == {"image", "error"}


def outcome(path: Path) -> str:
    try:
        read_grey(path)
    except MedrobustError:
        return "error"
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
