import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score

from medrobust.errors import MedrobustError
from medrobust.explain.localisation import (
    SCORES,
    Tolerance,
    auprc,
    hit_rate,
    iou,
    mass_accuracy,
    mass_inside,
    rank_accuracy,
    score_map,
)

Score = Callable[[NDArray[np.floating], NDArray[np.bool_]], float]
ALL = {**SCORES, "iou": lambda found, truth: iou(found, truth, 0.2)}


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
MASKS = arrays(np.bool_, (5, 6)).filter(lambda truth: truth.any() and not truth.all())


def largest_inside(found: NDArray[np.floating], truth: NDArray[np.bool_], count: int) -> float:
    """The mean over all ways to take the `count` largest |values|, one by one."""
    size, inside = np.abs(found).ravel(), truth.ravel()
    best = sorted(size)[-count:]
    ways = [way for way in combinations(range(size.size), count) if sorted(size[[*way]]) == best]
    return float(np.mean([inside[[*way]].sum() for way in ways]))


def test_closed_forms() -> None:
    found = saliency({(0, 0): 3, (1, 1): 5, (3, 3): 2})
    assert hit_rate(found, mask((1, 1))) == 1
    assert hit_rate(found, mask((0, 0), (3, 3))) == 0
    assert mass_accuracy(found, mask((1, 1))) == 0.5
    assert mass_accuracy(found, mask((0, 0), (3, 3), (2, 2))) == 0.5
    assert mass_accuracy(found, mask((2, 2))) == 0
    assert rank_accuracy(found, mask((0, 0), (3, 3))) == 0.5
    assert auprc(found, mask((0, 0), (3, 3))) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert iou(found, mask((0, 0), (3, 3)), 2 / 16) == pytest.approx(1 / 3)


def test_the_sign_does_not_count() -> None:
    found = saliency({(0, 0): 3, (1, 1): -5})
    assert hit_rate(found, mask((1, 1))) == 1
    assert mass_accuracy(found, mask((1, 1))) == pytest.approx(5 / 8)
    assert score_map(-found, mask((1, 1)), None, 0.1) == score_map(found, mask((1, 1)), None, 0.1)


def test_ties_count_by_the_share_inside() -> None:
    found = saliency({(0, 0): 5, (1, 1): -5, (2, 2): 5, (3, 3): 1})
    assert hit_rate(found, mask((1, 1))) == pytest.approx(1 / 3)
    assert hit_rate(found, mask((0, 0), (1, 1), (3, 3))) == pytest.approx(2 / 3)
    assert rank_accuracy(found, mask((1, 1), (3, 3))) == pytest.approx(1 / 3)
    assert rank_accuracy(found, mask((0, 1), (3, 3))) == 0


@pytest.mark.parametrize("name", [*SCORES, "mass_inside"])
def test_a_constant_map_has_the_share_of_the_area(name: str) -> None:
    score = mass_inside if name == "mass_inside" else SCORES[name]
    assert score(np.full((4, 4), -3.0), mask((0, 0), (0, 1))) == pytest.approx(2 / 16)


def test_volumes() -> None:
    found = saliency({(0, 1, 1): 1, (1, 0, 0): 3}, (2, 3, 3))
    assert hit_rate(found, mask((1, 0, 0), shape=(2, 3, 3))) == 1
    assert mass_accuracy(found, mask((0, 1, 1), shape=(2, 3, 3))) == 0.25
    assert rank_accuracy(found, mask((0, 1, 1), (1, 0, 0), shape=(2, 3, 3))) == 1
    assert iou(found, mask((0, 1, 1), shape=(2, 3, 3)), 2 / 18) == 0.5
    assert hit_rate(found, mask((0, 0, 0), shape=(2, 3, 3)), Tolerance(1)) == 1


@pytest.mark.parametrize("score", ALL.values())
@pytest.mark.parametrize(
    ("found", "truth"),
    [
        (np.zeros((4, 4)), mask((1, 1))),
        (np.ones((4, 4)), mask()),
        (saliency({(0, 0): 2}), ~mask()),
        (saliency({(0, 0): math.nan, (1, 1): 1}), mask((1, 1))),
        (saliency({(0, 0): math.inf, (1, 1): 1}), mask((0, 0))),
    ],
    ids=["zeros", "empty mask", "mask of everything", "nan", "infinite"],
)
def test_not_scorable_is_nan_and_not_zero(
    score: Score, found: NDArray[np.floating], truth: NDArray[np.bool_]
) -> None:
    assert math.isnan(score(found, truth))


def test_the_share_inside_the_whole_image_is_one() -> None:
    assert mass_inside(saliency({(0, 0): 2}), ~mask()) == 1
    assert math.isnan(mass_inside(saliency({(0, 0): 2}), mask()))
    assert math.isnan(mass_inside(np.zeros((4, 4)), ~mask()))


@pytest.mark.parametrize("score", [*ALL.values(), mass_inside, score_map])
def test_a_mask_of_another_size_is_refused(score: Score) -> None:
    with pytest.raises(MedrobustError) as caught:
        score(np.ones((4, 4)), mask((0, 0), shape=(4, 5)))
    assert str(caught.value) == (
        "expected a mask of the map's size, 4x4, found 4x5: take both from one store"
    )


@pytest.mark.parametrize("threshold", [0.0, 1.5, math.nan])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(MedrobustError) as caught:
        iou(np.ones((4, 4)), mask((0, 0)), threshold)
    assert str(caught.value) == (
        f"threshold: expected a share of the image above 0, at most 1, found {threshold:g}"
    )


def test_large_and_tiny_maps_neither_overflow_nor_vanish() -> None:
    assert mass_accuracy(np.full((4, 4), 60_000, np.float16), mask((0, 0))) == 1 / 16
    assert mass_accuracy(np.full((4, 4), 1e308), mask((0, 0))) == 1 / 16
    assert mass_accuracy(np.full((4, 4), 1e-320), mask((0, 0))) == 1 / 16


def test_hits_within_pixels() -> None:
    found = saliency({(0, 0): 1}, (9, 9))
    for point, distance in (((0, 3), 3.0), ((3, 4), 5.0), ((1, 1), math.sqrt(2))):
        truth = mask(point, shape=(9, 9))
        assert hit_rate(found, truth) == 0
        assert hit_rate(found, truth, Tolerance(distance - 0.01)) == 0
        assert hit_rate(found, truth, Tolerance(distance)) == 1


def test_hits_within_millimetres() -> None:
    found, truth = saliency({(0, 0): 1}, (9, 9)), mask((3, 0), shape=(9, 9))
    assert hit_rate(found, truth, Tolerance(0.3, "mm", (0.1, 5.0))) == 1  # 3 x 0.1 > 0.3 in floats
    assert hit_rate(found, truth, Tolerance(0.29, "mm", (0.1, 5.0))) == 0
    assert hit_rate(found, truth.T, Tolerance(0.3, "mm", (0.1, 5.0))) == 0
    assert hit_rate(found, truth.T, Tolerance(15, "mm", (0.1, 5.0))) == 1


@pytest.mark.parametrize("spacing", [None, (math.nan, 1.0), (0.0, 1.0)])
def test_without_a_spacing_millimetres_are_not_scorable(spacing: tuple[float, ...] | None) -> None:
    found, truth = saliency({(0, 0): 1}), mask((0, 0))
    assert math.isnan(hit_rate(found, truth, Tolerance(2, "mm", spacing)))
    assert hit_rate(found, truth, Tolerance(0, "mm", spacing)) == 1
    assert hit_rate(found, truth, Tolerance(2, "pixels", spacing)) == 1
    assert score_map(found, truth, Tolerance(2, "mm", spacing))["rank_accuracy"] == 1


@given(MAPS, MASKS, st.floats(0, 4))
def test_a_hit_is_a_distance_of_pixel_centres(
    found: NDArray[np.float32], truth: NDArray[np.bool_], distance: float
) -> None:
    if found.any():
        size = np.abs(found)
        gaps = cdist(np.argwhere(size == size.max()), np.argwhere(truth)).min(axis=1)
        unclear = np.isclose(gaps, distance, atol=1e-4)
        near = hit_rate(found, truth, Tolerance(distance))
        assert (gaps[~unclear] <= distance).sum() / len(gaps) <= near + 1e-12
        assert near <= (unclear | (gaps <= distance)).mean() + 1e-12


@given(MAPS, MASKS)
def test_mask_and_its_complement_share_everything(
    found: NDArray[np.float32], truth: NDArray[np.bool_]
) -> None:
    for score in (hit_rate, mass_accuracy, mass_inside):
        inside, outside = score(found, truth), score(found, ~truth)
        assert inside + outside == pytest.approx(1 if found.any() else math.nan, nan_ok=True)


@given(MAPS, MASKS)
def test_auprc_is_that_of_scikit_learn(
    found: NDArray[np.float32], truth: NDArray[np.bool_]
) -> None:
    if found.any():
        expected = average_precision_score(truth.ravel(), np.abs(found).ravel())
        assert auprc(found, truth) == pytest.approx(expected)


@given(
    arrays(np.int8, (2, 4), elements=st.integers(-2, 2)),
    arrays(np.bool_, (2, 4)).filter(lambda truth: truth.any() and not truth.all()),
    st.integers(1, 8),
)
def test_equal_values_are_as_good_as_drawn(
    found: NDArray[np.int8], truth: NDArray[np.bool_], count: int
) -> None:
    if found.any():
        expected = largest_inside(found, truth, int(truth.sum())) / truth.sum()
        assert rank_accuracy(found, truth) == pytest.approx(expected)
        taken = min(count, np.count_nonzero(found))
        common = largest_inside(found, truth, taken)
        expected = common / (taken + truth.sum() - common)
        assert iou(found, truth, count / 8) == pytest.approx(expected)


@given(MAPS, MASKS, st.sampled_from([0.5, 2.0, -1.0, 1024.0]))
def test_the_scale_does_not_count(
    found: NDArray[np.float32], truth: NDArray[np.bool_], factor: float
) -> None:
    expected = score_map(found, truth, Tolerance(1), 0.2)
    scaled = score_map(found * np.float32(factor), truth, Tolerance(1), 0.2)
    assert scaled == pytest.approx(expected, nan_ok=True)


@given(MAPS, MASKS)
def test_all_but_the_mass_depend_on_the_order_alone(
    found: NDArray[np.float32], truth: NDArray[np.bool_]
) -> None:
    expected = score_map(found, truth, None, 0.2)
    stretched = score_map(np.abs(found.astype(np.float64)) ** 3, truth, None, 0.2)
    del expected["mass_accuracy"], stretched["mass_accuracy"]
    assert stretched == pytest.approx(expected, nan_ok=True)


def test_a_map_that_is_the_mask_is_perfect() -> None:
    truth = mask((1, 1), (1, 2), (3, 3))
    found = score_map(truth.astype(np.float32), truth, None, 3 / 16)
    assert found == dict.fromkeys([*SCORES, "iou"], 1.0)


def test_the_iou_of_the_whole_image_is_the_area() -> None:
    found = np.arange(1.0, 17).reshape(4, 4)
    assert iou(found, mask((0, 0), (3, 3)), 1) == 2 / 16


def test_the_iou_takes_a_pixel_at_least_and_none_of_zero() -> None:
    found = saliency({(0, 0): 3, (1, 1): 2})
    assert iou(found, mask((0, 0)), 0.001) == 1
    assert iou(found, mask((0, 0), (1, 1)), 0.9) == 1


def test_there_is_no_iou_without_a_threshold() -> None:
    assert list(score_map(np.ones((4, 4)), mask((0, 0)))) == list(SCORES)


def quantus_cases() -> list[tuple[NDArray[np.floating], NDArray[np.bool_]]]:
    pixels = np.arange(64).reshape(8, 8)
    return [
        (
            np.sin((k + 1.3) * pixels * pixels / 9 + k) * (pixels % 7 + 1),
            ((pixels + 11 * k) % (5 + k) == 0) | ((pixels > 8 * k) & (pixels < 8 * k + 9)),
        )
        for k in range(6)
    ]


# PointingGame, RelevanceMassAccuracy and RelevanceRankAccuracy of Quantus 0.6.0, with abs=True
# and normalise=False.
QUANTUS: list[tuple[Score, list[float]]] = [
    (hit_rate, [0, 1, 1, 0, 0, 1]),
    (
        mass_accuracy,
        [
            *(0.3350584332883773, 0.2509339657920882, 0.3716623243928754),
            *(0.16452406123182017, 0.22977579988449964, 0.18409964706570126),
        ],
    ),
    (rank_accuracy, [8 / 20, 4 / 18, 8 / 16, 1 / 15, 4 / 14, 1 / 13]),
]


@pytest.mark.parametrize(("score", "expected"), QUANTUS)
def test_agrees_with_quantus(score: Score, expected: list[float]) -> None:
    found = [score(*case) for case in quantus_cases()]
    assert found == pytest.approx(expected, rel=1e-12)


def test_differs_from_quantus_where_it_should() -> None:
    """Its pointing game gives 1 to a tie that is half outside, and to an empty mask."""
    tie = saliency({(0, 0): 2, (1, 1): -2, (2, 2): 1})
    assert hit_rate(tie, mask((0, 0), (3, 3))) == 0.5
    assert math.isnan(hit_rate(tie, mask()))
