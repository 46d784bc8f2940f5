import numpy as np
import pytest

from medrobust.errors import MedrobustError
from medrobust.explain.iou_threshold import GRID, choose_threshold
from medrobust.explain.localisation import iou
from medrobust.explain.truth import Mask

FALLING = np.arange(200.0, 0, -1).reshape(10, 20)


def first(count: int) -> Mask:
    return np.asarray(np.arange(200).reshape(10, 20) < count)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_the_size_of_the_truth_is_found(share: float) -> None:
    assert choose_threshold([FALLING], [first(round(share * 200))]) == share


def test_it_is_the_best_of_the_grid_in_the_mean() -> None:
    generator = np.random.default_rng(0)
    masks = [first(10), first(30), first(120)]
    maps = [FALLING + generator.normal(0, 40, FALLING.shape) for _ in masks]
    chosen = choose_threshold(maps, masks)
    assert chosen in GRID
    means = {
        share: np.mean([iou(*case, share) for case in zip(maps, masks, strict=True)])
        for share in GRID
    }
    assert means[chosen] == max(means.values())


def test_cases_that_are_not_scorable_do_not_count() -> None:
    zeros, nothing = np.zeros((10, 20)), first(0)
    maps, masks = [zeros, FALLING, FALLING], [first(100), nothing, first(20)]
    assert choose_threshold(maps, masks) == 0.1
    assert choose_threshold(maps[:2], masks[:2]) is None
    assert choose_threshold([], []) is None


def test_of_equals_the_smallest() -> None:
    single = np.zeros((10, 20))
    single[0, 0] = 1
    assert choose_threshold([single], [first(1)]) == GRID[0]


def test_a_map_that_knows_nothing_takes_the_whole_image() -> None:
    assert choose_threshold([FALLING[:, ::-1]], [first(200) & ~first(100)]) == 1


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(MedrobustError, match=r"^expected a mask of the map's size, 10x20, found 2"):
        choose_threshold([FALLING], [np.ones((2, 2), bool)])
