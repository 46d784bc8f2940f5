import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from medrobust.explain.baselines import area_scores, centre_prior, edges, random_map
from medrobust.explain.localisation import SCORES, Tolerance, auprc, hit_rate, iou, score_map
from medrobust.randomness import key


def box(shape: tuple[int, ...], *sides: slice) -> NDArray[np.bool_]:
    filled = np.zeros(shape, bool)
    filled[sides] = True
    return filled


SMALL = box((8, 8), slice(1, 3), slice(2, 5))


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
    middle = slice(side // 2 - 1, side // 2 + 1)
    inside = box((side, side), middle, middle)
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
    assert hit_rate(prior, box((4, 4), slice(1, 3), slice(1, 3))) == 1
    assert hit_rate(prior, box((4, 4), slice(1, 2), slice(1, 2))) == 1 / 4  # of four equal ones
    assert hit_rate(prior, box((4, 4), slice(0, 1), slice(0, 1))) == 0


def test_edges_of_a_ramp_are_its_slope() -> None:
    rows, columns = np.mgrid[:7, :6]
    found = edges(3.0 * rows + 4.0 * columns)
    np.testing.assert_allclose(found[1:-1, 1:-1], 8 * 5)  # Sobel's weights add up to 8
    np.testing.assert_allclose(edges(-3.0 * rows - 4.0 * columns), found)


def test_edges_of_a_volume() -> None:
    found = edges(np.broadcast_to(np.arange(5.0)[:, None, None], (5, 6, 7)))
    np.testing.assert_allclose(found[1:-1], 32)


def test_edges_lie_where_the_image_changes_and_not_at_its_border() -> None:
    image = np.zeros((12, 12), np.float32)
    image[:, 6:] = 0.3
    found = edges(image)
    assert np.flatnonzero(found.any(axis=0)).tolist() == [5, 6]
    assert not edges(np.full((5, 5), 0.3, np.float32)).any()


def test_random_maps_are_functions_of_their_keys() -> None:
    one, other = (random_map((4, 5), key(0, "random map", name)) for name in ("a", "b"))
    assert one.shape == (4, 5)
    np.testing.assert_array_equal(one, random_map((4, 5), key(0, "random map", "a")))
    assert not np.isin(one, other).any()


@pytest.mark.parametrize("tolerance", [Tolerance(), Tolerance(1.5)])
def test_random_maps_score_by_the_area(tolerance: Tolerance) -> None:
    draws = [random_map((8, 8), key(0, "test", draw)) for draw in range(2000)]
    found = [score_map(draw, SMALL, tolerance) for draw in draws]
    expected = area_scores(SMALL, tolerance)
    for name in SCORES:
        values = np.array([scores[name] for scores in found])
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean() - expected[name]) < 3.5 * error


def test_area_scores_by_hand() -> None:
    found = area_scores(SMALL)
    area = 6 / 64
    assert [found[name] for name in ("hit_rate", "mass_accuracy", "rank_accuracy")] == [area] * 3
    assert found["iou"] == area == iou(random_map((8, 8), 1), SMALL, 1)
    assert area_scores(SMALL, Tolerance(1))["hit_rate"] == 16 / 64  # the box and its four sides


@pytest.mark.parametrize("inside", [1, 2, 5, 6])
def test_expected_precision_of_all_orders(inside: int) -> None:
    truth = np.arange(7) < inside
    orders = [np.isin(np.arange(7), places) for places in combinations(range(7), inside)]
    falling = np.arange(7, 0, -1.0)
    expected = np.mean([auprc(falling, order) for order in orders])
    assert area_scores(truth)["auprc"] == pytest.approx(expected)


@pytest.mark.parametrize("truth", [np.zeros((4, 4), bool), np.ones((4, 4), bool)])
def test_no_area_is_not_scorable(truth: NDArray[np.bool_]) -> None:
    found = area_scores(truth)
    assert list(found) == [*SCORES, "iou"]
    assert np.isnan(list(found.values())).all()


def test_no_hit_rate_in_millimetres_without_a_spacing() -> None:
    found = area_scores(SMALL, Tolerance(2, "mm"))
    assert math.isnan(found["hit_rate"])
    assert found["rank_accuracy"] == 6 / 64
