import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medrobust.data.geometry import fit
from medrobust.data.source import Box

sides = st.integers(1, 40)


def centre(weights: np.ndarray) -> np.ndarray:
    """Centre of mass in coordinates in which pixel k covers [k, k + 1)."""
    grid = np.indices(weights.shape) + 0.5
    return (grid * weights).reshape(weights.ndim, -1).sum(1) / weights.sum()


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("shape", [(120, 200), (200, 120), (30, 40), (24, 40, 60)])
def test_a_known_mark_stays_where_it_was(shape, keep_aspect: bool) -> None:
    mark = tuple(slice(int(0.5 * side), int(0.7 * side)) for side in shape)
    pixels = np.zeros((1, *shape), np.uint8)
    pixels[(0, *mark)] = 200
    truth = pixels[0] > 0
    geometry = fit(shape, 50, keep_aspect)
    moved = geometry.pixels(pixels, 0.0)
    assert moved.shape == (1, *(50,) * len(shape))
    to_source = np.array(geometry.scale), np.array(geometry.offset)
    for weights in (moved[0], geometry.mask(truth).astype(float)):
        back = centre(weights) * to_source[0] + to_source[1]
        assert np.allclose(back, centre(truth), atol=0.6 * max(1, to_source[0].max()))
    origin = tuple(float(part.start) for part in mark)
    extent = tuple(float(part.stop - part.start) for part in mark)
    box = geometry.box(Box("mark", origin, extent))
    assert np.allclose(np.multiply(box.origin, to_source[0]) + to_source[1], origin)
    assert np.allclose(np.multiply(box.extent, to_source[0]), extent)


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
