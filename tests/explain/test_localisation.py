import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from medrobust.explain.localisation import SCORES, centre_prior, hit_rate, mass_accuracy


def mask(*points: tuple[int, ...], shape: tuple[int, ...] = (4, 4)) -> NDArray[np.bool_]:
    filled = np.zeros(shape, bool)
    for point in points:
        filled[point] = True
    return filled


def saliency(
    values: dict[tuple[int, ...], float], shape: tuple[int, ...] = (4, 4)
) -> NDArray[np.floating]:
    filled = np.zeros(shape, np.float32)
    for point, value in values.items():
        filled[point] = value
    return filled


MAPS = arrays(np.float32, (5, 6), elements=st.floats(-100, 100, width=16))
MASKS = arrays(np.bool_, (5, 6))


def test_closed_forms() -> None:
    found = saliency({(0, 0): 3, (1, 1): 5, (3, 3): 2})
    assert hit_rate(found, mask((1, 1))) == 1
    assert hit_rate(found, mask((0, 0), (3, 3))) == 0
    assert mass_accuracy(found, mask((1, 1))) == 0.5
    assert mass_accuracy(found, mask((0, 0), (3, 3), (2, 2))) == 0.5
    assert mass_accuracy(found, mask((2, 2))) == 0


def test_the_sign_does_not_count() -> None:
    found = saliency({(0, 0): 3, (1, 1): -5})
    assert hit_rate(found, mask((1, 1))) == 1
    assert mass_accuracy(found, mask((1, 1))) == pytest.approx(5 / 8)


def test_ties_count_by_the_share_inside() -> None:
    found = saliency({(0, 0): 5, (1, 1): -5, (2, 2): 5, (3, 3): 1})
    assert hit_rate(found, mask((1, 1))) == pytest.approx(1 / 3)
    assert hit_rate(found, mask((0, 0), (1, 1), (3, 3))) == pytest.approx(2 / 3)
    assert hit_rate(np.ones((4, 4)), mask((0, 0), (0, 1))) == 2 / 16


def test_volumes() -> None:
    found = saliency({(0, 1, 1): 1, (1, 0, 0): 3}, (2, 3, 3))
    assert hit_rate(found, mask((1, 0, 0), shape=(2, 3, 3))) == 1
    assert mass_accuracy(found, mask((0, 1, 1), shape=(2, 3, 3))) == 0.25


@pytest.mark.parametrize("score", SCORES.values())
@pytest.mark.parametrize(
    ("found", "truth"),
    [
        (np.zeros((4, 4)), mask((1, 1))),
        (np.ones((4, 4)), mask()),
        (saliency({(0, 0): math.nan, (1, 1): 1}), mask((1, 1))),
        (saliency({(0, 0): math.inf, (1, 1): 1}), mask((0, 0))),
    ],
)
def test_not_scorable_is_nan_and_not_zero(
    score: object, found: NDArray[np.floating], truth: NDArray[np.bool_]
) -> None:
    assert callable(score)
    assert math.isnan(score(found, truth))


def test_large_maps_do_not_overflow() -> None:
    found = np.full((4, 4), 60_000, np.float16)
    assert mass_accuracy(found, mask((0, 0))) == 1 / 16


@given(MAPS, MASKS)
def test_mask_and_its_complement_share_everything(
    found: NDArray[np.float32], truth: NDArray[np.bool_]
) -> None:
    for score in SCORES.values():
        inside, outside = score(found, truth), score(found, ~truth)
        if truth.any() and not truth.all() and found.any():
            assert inside + outside == pytest.approx(1)
            assert 0 <= inside <= 1


@given(MAPS, MASKS, st.sampled_from([0.5, 2.0, -1.0, 1024.0]))
def test_the_scale_does_not_count(
    found: NDArray[np.float32], truth: NDArray[np.bool_], factor: float
) -> None:
    for score in SCORES.values():
        expected = score(found, truth)
        assert score(found * np.float32(factor), truth) == pytest.approx(expected, nan_ok=True)


def test_centre_prior_by_hand() -> None:
    prior = centre_prior((5, 9))
    assert prior.shape == (5, 9)
    assert prior[2, 4] == 1 == prior.max()
    assert prior[0, 4] == pytest.approx(math.exp(-((0.5 / 0.25) ** 2) / 2))
    assert prior[0, 0] == pytest.approx(prior[0, 4] * prior[2, 0])
    np.testing.assert_allclose(prior, prior[::-1, ::-1])


@pytest.mark.parametrize("side", [28, 64, 224])
def test_the_centre_of_an_even_image_is_four_pixels(side: int) -> None:
    prior = centre_prior((side, side)).astype(np.float32)
    middle = (side // 2 - 1, side // 2)
    inside = mask(*((y, x) for y in middle for x in middle), shape=prior.shape)
    assert (prior[inside] == prior.max()).all()
    assert hit_rate(prior, inside) == 1


def test_centre_prior_of_a_single_pixel() -> None:
    assert centre_prior((1, 1)) == 1


def test_centre_prior_of_a_volume() -> None:
    prior = centre_prior((3, 5, 7))
    assert prior.shape == (3, 5, 7)
    np.testing.assert_allclose(prior[1], centre_prior((5, 7)))


def test_centre_prior_hits_what_lies_in_the_middle() -> None:
    prior = centre_prior((4, 4))
    assert hit_rate(prior, mask((1, 1), (1, 2), (2, 1), (2, 2))) == 1
    assert hit_rate(prior, mask((1, 1))) == 1 / 4  # four pixels are equally central
    assert hit_rate(prior, mask((0, 0))) == 0
