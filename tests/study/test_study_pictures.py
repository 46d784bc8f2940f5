import io
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from medrobust.report.pictures import diverging, saliency
from medrobust.study.pictures import DATE, deep, opaque, overlay, photograph, write_picture


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def chunks(content: bytes) -> list[str]:
    """The types of a PNG's chunks, in order."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    place, found = 8, []
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        found.append(content[place + 4 : place + 8].decode("ascii"))
        place += length + 12
    return found


def rough(seed: int, size: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32)


def smooth(size: int = 40) -> np.ndarray:
    return np.outer(np.hanning(size), np.hanning(size)).astype(np.float32)


def test_grey_pixels_are_kept() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    picture = opened(photograph(pixels))
    assert picture.mode == "L"
    assert_array_equal(np.asarray(picture), pixels[0])


def test_colours_are_kept() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7)).astype(np.uint8)
    picture = opened(photograph(pixels))
    assert picture.mode == "RGB"
    assert_array_equal(np.asarray(picture).transpose(2, 0, 1), pixels)


def test_sixteen_bits_span_the_eight() -> None:
    pixels = np.array([[[0, 257, 32896, 65535]]], np.uint16)
    assert_array_equal(np.asarray(opened(photograph(pixels))), [[0, 1, 128, 255]])


def test_sixteen_bits_come_back_from_two_colours() -> None:
    pixels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(1, 64, 64)
    red, green, blue = np.asarray(opened(deep(pixels))).astype(int).transpose(2, 0, 1)
    assert_array_equal(256 * red + green, pixels[0])
    assert not blue.any()


def test_the_overlay_is_the_map_of_the_report() -> None:
    values = rough(0)
    ours, reports = opened(overlay(values)), opened(saliency(values))
    assert_array_equal(np.asarray(ours.convert("RGBA")), np.asarray(reports.convert("RGBA")))


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_a_map_is_not_shown(factor: float) -> None:
    values = rough(1).astype(np.float64)
    assert overlay(values * factor) == overlay(values)


def test_the_strongest_pixels_have_the_ends_of_the_colours() -> None:
    values = np.zeros((50, 50), np.float32)
    values[0, 0] = 1
    red = np.asarray(opened(overlay(values)).convert("RGBA"), float)[0, 0] / 255
    assert_allclose(red[:3] * red[3] + 1 - red[3], diverging(127)[-1], atol=0.01)
    assert np.asarray(opened(overlay(values)).convert("RGBA"))[25, 25, 3] == 0


def test_rough_smooth_and_empty_maps_are_files_of_one_size() -> None:
    maps = [rough(0), smooth(), -smooth(), np.zeros((40, 40), np.float32)]
    assert len({len(overlay(values)) for values in maps}) == 1
    assert len({len(saliency(values)) for values in maps}) == 4, "which compressed ones aren't"


def test_images_are_files_of_one_size() -> None:
    images = [np.zeros((1, 30, 20), np.uint8), (rough(0)[None, :30, :20] * 50).astype(np.uint8)]
    assert len({len(photograph(image)) for image in images}) == 1
    assert len({len(deep(image.astype(np.uint16))) for image in images}) == 1


@pytest.mark.parametrize(
    "content",
    [
        photograph(np.zeros((1, 8, 8), np.uint8)),
        photograph(np.zeros((3, 8, 8), np.uint8)),
        deep(np.zeros((1, 8, 8), np.uint16)),
        overlay(smooth(8)),
    ],
)
def test_pictures_have_pixels_and_colours_and_nothing_else(content: bytes) -> None:
    assert set(chunks(content)) <= {"IHDR", "PLTE", "tRNS", "IDAT", "IEND"}
    assert content.endswith(b"IEND\xaeB`\x82")


def test_files_have_one_date(tmp_path: Path) -> None:
    for name in ("b", "a"):
        assert write_picture(tmp_path, name, b"x") == f"{name}.png"
    assert {path.stat().st_mtime for path in tmp_path.iterdir()} == {DATE}
    assert (tmp_path / "a.png").read_bytes() == b"x"


def test_names_depend_on_everything_and_on_the_secret() -> None:
    names = {
        opaque(secret, *parts)
        for secret in (b"s", b"t")
        for parts in [("map", "i1", 0), ("map", "i1", 1), ("map", "i10"), ("image", "i1", 0)]
    }
    assert len(names) == 8
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)
