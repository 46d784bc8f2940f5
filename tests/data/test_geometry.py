from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medrobust.data.convert import Image, convert
from medrobust.data.geometry import fit
from medrobust.data.settings import Settings
from medrobust.data.source import Box, Mask, Picture
from medrobust.errors import MedrobustError

sides = st.integers(1, 40)


def centre(weights: np.ndarray) -> np.ndarray:
    """Centre of mass in coordinates in which pixel k covers [k, k + 1)."""
    grid = np.indices(weights.shape) + 0.5
    return (grid * weights).reshape(weights.ndim, -1).sum(1) / weights.sum()


PLACES = [
    ((120, 200), 50, None),
    ((200, 120), (50, 40), None),
    ((30, 40), 50, (0.3, 0.1)),
    ((90, 80), (40, 60), (0.2, 0.5)),
    ((24, 40, 60), 50, None),
    ((24, 60, 40), (20, 50, 45), (3.0, 0.7, 0.9)),
]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize(("shape", "size", "spacing"), PLACES)
def test_a_known_mark_stays_where_it_was(shape, size, spacing, keep_aspect, inverted) -> None:
    mark = tuple(slice(int(0.5 * side), int(0.7 * side)) for side in shape)
    truth = np.zeros(shape, bool)
    truth[mark] = True
    origin = tuple(float(part.start) for part in mark)
    extent = tuple(float(part.stop - part.start) for part in mark)
    low, high = (200, 0) if inverted else (0, 200)
    image = through(Made(truth, low, high, spacing, origin, extent), size, keep_aspect)
    axes = len(shape)
    assert image.pixels.shape == (1, *((size,) * axes if isinstance(size, int) else size))
    scale, offset = np.array(image.numbers[2 + axes :]).reshape(2, axes)
    moved = np.multiply(spacing or (np.nan,) * axes, scale)
    assert np.allclose(image.numbers[2 : 2 + axes], moved, equal_nan=True)
    for weights in (image.pixels[0], image.masks[0].pixels):
        back = centre(weights.astype(float)) * scale + offset
        assert np.allclose(back, centre(truth.astype(float)), atol=0.6 * max(1, scale.max()))
    assert np.allclose(np.multiply(image.boxes[0].origin, scale) + offset, origin)
    assert np.allclose(np.multiply(image.boxes[0].extent, scale), extent)
    if keep_aspect:  # store pixels are squares, but for the rounding to whole pixels
        sides = scale * (spacing or 1)
        assert np.allclose(sides, sides[0], rtol=0.06)


@dataclass
class Made:
    """A data set of one image: the mark is bright, with a mask and a box around it."""

    truth: np.ndarray
    low: float
    high: float
    spacing: tuple[float, ...] | None
    origin: tuple[float, ...]
    extent: tuple[float, ...]

    def read(self, row) -> Picture:
        pixels = np.where(self.truth, np.uint8(self.high), np.uint8(self.low))[None]
        masks = (Mask("mark", "finding", self.truth),)
        boxes = (Box("mark", self.origin, self.extent),)
        return Picture(pixels, self.low, self.high, self.spacing, masks, boxes)


def through(made: Made, size, keep_aspect: bool) -> Image:
    image = convert({}, made, Settings(size, keep_aspect=keep_aspect))
    assert isinstance(image, Image)
    return image


def test_the_border_is_black_also_where_dark_is_high() -> None:
    for low, high in ((0, 200), (200, 0)):
        made = Made(np.ones((10, 20), bool), low, high, None, (0, 0), (10, 20))
        pixels = through(made, 20, True).pixels[0]
        assert (pixels[5:15] == 255).all()
        assert pixels.sum() == 255 * 200


def test_the_longest_side_is_the_longest_in_millimetres() -> None:
    assert fit((100, 200), 50, keep_aspect=True, spacing=(4.0, 1.0)).inner == (50, 25)
    assert fit((10, 100, 100), 50, keep_aspect=True, spacing=(5.0, 0.5, 0.5)).inner == (50, 50, 50)
    assert fit((10, 100, 100), (16, 64, 64), True, (5.0, 0.5, 0.5)).inner == (16, 16, 16)
    assert fit((100, 200), 50, spacing=(4.0, 1.0)).inner == (50, 50)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.tuples(*[st.floats(1e-5, 1e3)] * 2))
def test_it_always_fits_and_touches_two_edges(shape, size, spacing) -> None:
    geometry = fit(shape, size, True, spacing)
    assert all(1 <= inner <= store for inner, store in zip(geometry.inner, size, strict=True))
    assert any(inner == store for inner, store in zip(geometry.inner, size, strict=True))


def test_a_size_of_other_axes() -> None:
    with pytest.raises(MedrobustError, match=r"^expected a size of 2 axes, got 3 \(--size\)$"):
        fit((10, 10), (4, 4, 4))


def test_closed_form_of_scale_and_offset() -> None:
    stretched = fit((100, 200), 50)
    assert (stretched.scale, stretched.offset) == ((2.0, 4.0), (0.0, 0.0))
    kept = fit((100, 200), 50, keep_aspect=True)
    assert kept.inner == (25, 50)
    assert (kept.scale, kept.offset) == ((4.0, 4.0), (-48.0, 0.0))
    native = fit((3, 7), None)
    assert (native.scale, native.offset, native.store) == ((1.0, 1.0), (0.0, 0.0), (3, 7))


def test_without_a_change_of_shape_nothing_is_touched() -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
    assert fit((3, 4), None).pixels(pixels, 0) is pixels
    mask = pixels[0] > 3
    assert fit((3, 4), None).mask(mask) is mask


def test_the_border_has_the_value_of_black() -> None:
    moved = fit((10, 20), 20, keep_aspect=True).pixels(np.full((1, 10, 20), 7.0), -1000.0)
    assert (moved[0, :5] == -1000).all()
    assert (moved[0, 5:15] == 7).all()
    assert (moved[0, 15:] == -1000).all()


@given(
    hnp.arrays(np.uint16, st.tuples(st.just(1), sides, sides)), st.integers(1, 30), st.booleans()
)
def test_no_overshoot_and_no_rounding(pixels, size: int, keep_aspect: bool) -> None:
    moved = fit(pixels.shape[1:], size, keep_aspect).pixels(pixels, float(pixels.min()))
    assert moved.shape == (1, size, size)
    slack = 1e-5 * 65535
    assert moved.min() >= pixels.min() - slack
    assert moved.max() <= pixels.max() + slack


def test_shrinking_averages_where_taking_every_other_pixel_would_alias() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (1, 64, 32))
    inside = fit((64, 64), 16).pixels(stripes, 0)[0, 2:-2, 2:-2]
    assert np.allclose(inside, 127.5, atol=1)


def test_values_between_grey_levels_survive() -> None:
    pixels = np.array([[[10, 11], [10, 11]]], np.uint8)
    assert fit((2, 2), 1).pixels(pixels, 0).item() == 10.5


@given(hnp.arrays(bool, st.tuples(sides, sides)), st.integers(1, 30), st.booleans())
def test_a_mask_vanishes_only_if_it_was_empty(mask, size: int, keep_aspect: bool) -> None:
    moved = fit(mask.shape, size, keep_aspect).mask(mask)
    assert moved.dtype == bool
    assert moved.any() == mask.any()


def test_the_border_is_in_no_mask() -> None:
    moved = fit((10, 20), 10, keep_aspect=True).mask(np.ones((10, 20), bool))
    assert moved.sum() == 50


def test_channels_are_resized_one_by_one() -> None:
    colours = np.stack([np.full((8, 8), value, np.uint8) for value in (10, 20, 30)])
    moved = fit((8, 8), 4).pixels(colours, 0)
    assert moved.reshape(3, -1).mean(1).tolist() == [10, 20, 30]
