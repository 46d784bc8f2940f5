import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchmetrics.functional.image import structural_similarity_index_measure

from medrobust.explain.sanity.similarity import (
    SIMILARITIES,
    rank_similarity,
    signed_similarity,
    structural_similarity,
)


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_ranks_equal_scipy_also_with_ties() -> None:
    first, second = maps(4, 6, 5), maps(4, 6, 5, seed=1).mul(2).round()
    for ours, prepared in (
        (signed_similarity(first, second), (first, second)),
        (rank_similarity(first, second), (first.abs(), second.abs())),
    ):
        pairs = zip(*(part.flatten(1).numpy() for part in prepared), strict=True)
        theirs = [stats.spearmanr(one, other).statistic for one, other in pairs]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_ssim_equals_torchmetrics() -> None:
    first, second = maps(3, 20, 17), maps(3, 20, 17, seed=1)
    unit = [(m.abs() / m.abs().amax((1, 2), keepdim=True))[:, None] for m in (first, second)]
    _, full = structural_similarity_index_measure(*unit, data_range=1.0, return_full_image=True)
    inside = full[:, 0, 5:-5, 5:-5].mean((1, 2))  # theirs goes on beyond the edge
    np.testing.assert_allclose(structural_similarity(first, second), inside, atol=1e-5)


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("shape", [(12, 13), (5, 6), (4, 12, 12)])
def test_a_map_is_like_itself_at_every_scale(name: str, shape: tuple[int, ...]) -> None:
    one = maps(2, *shape)
    np.testing.assert_allclose(SIMILARITIES[name](one, one * 1e-6), 1, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_ranks_are_symmetric_and_blind_to_monotone_changes(seed: int) -> None:
    first, second = maps(1, 4, 4, seed=seed), maps(1, 4, 4, seed=seed + 1)
    (value,) = rank_similarity(first, second)
    assert -1 <= value <= 1
    assert rank_similarity(second, first)[0] == pytest.approx(value)
    assert rank_similarity(first**3, second)[0] == pytest.approx(value)
    assert signed_similarity(first, -first)[0] == pytest.approx(-1)


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("bad", [0.0, 3.0, float("nan"), float("inf")])
def test_constant_and_infinite_maps_are_not_comparable(name: str, bad: float) -> None:
    first, second = maps(3, 12, 12), maps(3, 12, 12, seed=1)
    expected = SIMILARITIES[name](first, second)
    first[1] = bad
    for found in (SIMILARITIES[name](first, second), SIMILARITIES[name](second, first)):
        np.testing.assert_allclose(found, [expected[0], np.nan, expected[2]], atol=1e-6)
    assert np.isnan(SIMILARITIES[name](first[1:2], second[1:2])).all()


def test_a_map_of_one_size_has_signs_only() -> None:
    signs = maps(1, 8, 8).sign()
    assert np.isnan(rank_similarity(signs, signs)).all()
    assert signed_similarity(signs, signs)[0] == pytest.approx(1)
