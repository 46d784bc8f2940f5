import base64
import io

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from medrobust.report import pictures


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_grey_pictures_keep_their_levels() -> None:
    image = np.arange(256).reshape(1, 16, 16) / 255
    assert_array_equal(np.asarray(opened(pictures.photograph(image))), image[0] * 255)


def test_colour_pictures_are_indexed_and_close() -> None:
    image = np.zeros((3, 8, 8))
    image[0, :, :4] = 1
    picture = opened(pictures.photograph(image))
    assert picture.mode == "P"
    assert_array_equal(np.asarray(picture.convert("RGB")).transpose(2, 0, 1), image * 255)


def test_no_change_is_mid_grey_and_a_full_one_black_or_white() -> None:
    change = np.array([0, 4 / 255, -4 / 255, 2 / 255]).reshape(1, 2, 2)
    shown = np.asarray(opened(pictures.perturbation(change, 255 / 8)))
    assert_allclose(shown, [[128, 255], [0, 191]], atol=5)  # in 31 levels


def test_the_map_on_white_paper_is_the_diverging_map() -> None:
    values = np.linspace(-1, 1, 127 * 127).reshape(127, 127)
    picture = opened(pictures.saliency(values))
    assert picture.mode == "P"
    rgba = np.asarray(picture.convert("RGBA"), dtype=float) / 255
    on_white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    limit = pictures.saliency_limit(values)
    levels = np.rint((np.clip(values / limit, -1, 1) + 1) / 2 * 126).astype(int)
    assert_allclose(on_white, pictures.diverging(127)[levels], atol=0.01)


def test_the_map_is_clear_at_zero_and_opaque_at_the_ends() -> None:
    values = np.zeros((100, 100))
    values[0, 0], values[0, 1] = 5, -5
    alpha = np.asarray(opened(pictures.saliency(values)).convert("RGBA"))[..., 3]
    assert alpha[50, 50] == 0
    assert alpha[0, 0] > 200
    assert alpha[0, 1] > 200


def test_values_beyond_three_deviations_are_clipped() -> None:
    values = np.random.default_rng(0).normal(1, 1, (200, 200))
    assert pictures.saliency_limit(values) == pytest.approx(values.mean() + 3 * values.std())


def test_a_flat_map_is_clear() -> None:
    alpha = np.asarray(opened(pictures.saliency(np.zeros((4, 4)))).convert("RGBA"))[..., 3]
    assert not alpha.any()


def test_colours_diverge_from_white_with_equal_lightness() -> None:
    colours = pictures.diverging(11)
    assert_allclose(colours[5], 1, atol=1e-3)
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance[:6]) > 0).all()
    assert (np.diff(luminance[5:]) < 0).all()
    assert colours[0, 2] > colours[0, 0]  # blue
    assert colours[-1, 0] > colours[-1, 2]  # red


def test_the_outline_of_a_rectangle() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:6] = True
    path = pictures.outline(mask)
    assert path.startswith("M")
    assert path.endswith("Z")
    points = np.array([p.split() for p in path[1:-1].split("L")], dtype=float)
    assert_allclose(points.min(axis=0), [3, 2])
    assert_allclose(points.max(axis=0), [6, 4])


def test_shrinking_averages_areas() -> None:
    image = np.arange(16.0).reshape(1, 4, 4)
    assert_allclose(pictures.fit(image, 2), [[[2.5, 4.5], [10.5, 12.5]]])
    assert pictures.fit(image, 4) is image
    assert pictures.fit(np.zeros((2, 3, 50, 100)), 20).shape == (2, 3, 10, 20)


def test_the_middle_slice() -> None:
    volume = np.arange(5)[None, :, None, None] * np.ones((1, 5, 2, 2))
    assert_array_equal(pictures.plane(volume, 3), np.full((1, 2, 2), 2))
    assert_array_equal(pictures.plane(volume[0], 2), volume[0])


def test_a_snapshot_is_exact_while_that_is_small() -> None:
    few = np.random.default_rng(0).integers(0, 256, (1, 20, 20)) / 255
    uri = pictures.snapshot(few)
    assert uri == pictures.data_uri(pictures.photograph(few))
    many = np.random.default_rng(0).integers(0, 256, (3, 120, 120)) / 255
    kind, content = pictures.snapshot(many).split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert (picture.size, picture.mode) == ((120, 120), "RGB")
