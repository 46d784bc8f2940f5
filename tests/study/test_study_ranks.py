"""Rank tests against Hollander and Wolfe's example and SciPy, and their false alarms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medrobust.statistics import holm
from medrobust.study.statistics.ranks import as_blocks, friedman, signed_rank_pairs

NAN = float("nan")
# Hollander and Wolfe 1973, "Nonparametric Statistical Methods", p. 140: seconds to round first
# base by three methods (columns), 22 players; the example of R's friedman.test.
BASES = np.array(
    [
        [5.40, 5.50, 5.55], [5.85, 5.70, 5.75], [5.20, 5.60, 5.50], [5.55, 5.50, 5.40],
        [5.90, 5.85, 5.70], [5.45, 5.55, 5.60], [5.40, 5.40, 5.35], [5.45, 5.50, 5.35],
        [5.25, 5.15, 5.00], [5.85, 5.80, 5.70], [5.25, 5.20, 5.10], [5.65, 5.55, 5.45],
        [5.60, 5.35, 5.45], [5.05, 5.00, 4.95], [5.50, 5.50, 5.40], [5.45, 5.55, 5.50],
        [5.55, 5.55, 5.35], [5.45, 5.50, 5.55], [5.50, 5.45, 5.25], [5.65, 5.60, 5.40],
        [5.70, 5.65, 5.55], [6.30, 6.30, 6.25],
    ]
)  # fmt: skip


def ratings(generator, readers=4, cases=15, conditions=3):
    """0 to 5, readers and cases shift all conditions alike; no condition is better."""
    shift = generator.normal(size=(readers, 1, 1)) + generator.normal(size=(1, cases, 1))
    noise = generator.normal(size=(readers, cases, conditions))
    return np.clip(np.round(2.5 + shift + noise), 0, 5)


def test_rounding_first_base_as_printed_by_r():
    found = friedman(BASES)
    assert (round(found.statistic, 3), found.degrees) == (11.143, 2)
    assert round(found.p, 6) == 0.003805
    assert (found.blocks, found.left_out) == (22, 0)
    assert found.mean_ranks == pytest.approx((53 / 22, 47 / 22, 32 / 22))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(3, 6))
def test_friedman_is_that_of_scipy(seed, conditions):
    blocks = as_blocks(ratings(np.random.default_rng(seed), 2, 8, conditions))
    expected = stats.friedmanchisquare(*blocks.T)
    found = friedman(blocks)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_signed_ranks_of_many_blocks_are_those_of_scipy(seed):
    blocks = as_blocks(ratings(np.random.default_rng(seed), 8, 25))
    found = signed_rank_pairs(blocks)
    assert [(test.first, test.second) for test in found] == [(0, 1), (0, 2), (1, 2)]
    for test in found:
        differences = blocks[:, test.first] - blocks[:, test.second]
        expected = stats.wilcoxon(differences, method="asymptotic")
        assert test.p == pytest.approx(expected.pvalue)
        assert test.mean_difference == pytest.approx(differences.mean())
        assert test.ties == (differences == 0).sum()
    assert [t.p_holm for t in found] == pytest.approx(list(holm([t.p for t in found])))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_signed_ranks_of_few_blocks_are_exact(seed, tied):
    """Every sign of every rank, by SciPy's own count without ties and by permutation with them."""
    differences = np.random.default_rng(seed).normal(0.4, 1, size=9)
    if tied:
        differences = np.round(differences)
    moved = differences[differences != 0]
    method = stats.PermutationMethod(n_resamples=np.inf) if tied else "exact"
    expected = stats.wilcoxon(moved, method=method).pvalue if moved.size else 1
    found = signed_rank_pairs(np.stack([differences, np.zeros(9)], axis=1))[0]
    assert found.p == pytest.approx(expected)


def test_exact_and_normal_p_meet_at_50_differences():
    differences = np.random.default_rng(0).normal(0.3, 1, size=50)
    found = signed_rank_pairs(np.stack([differences, np.zeros(50)], axis=1))[0]
    assert found.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
    assert found.p == pytest.approx(
        stats.wilcoxon(differences, method="asymptotic").pvalue, abs=0.001
    )


def test_two_conditions_are_the_sign_test():
    """Without ties, Friedman's statistic of two conditions is (wins - losses)^2 / n."""
    blocks = np.stack([np.arange(20.0), np.arange(20.0) + np.where(np.arange(20) < 14, 1, -1)], 1)
    assert friedman(blocks).statistic == pytest.approx((14 - 6) ** 2 / 20)


def test_conditions_ranked_alike_by_all_are_in_full_concordance():
    found = friedman(np.tile([1.0, 2, 5], (9, 1)))
    assert (found.concordance, found.statistic) == pytest.approx((1, 18))
    best = signed_rank_pairs(np.stack([np.arange(9.0) + 1, np.zeros(9)], 1))[0]
    assert best.rank_biserial == 1


def test_nothing_to_rank():
    tied = friedman(np.full((5, 3), 2.0))
    assert np.isnan([tied.statistic, tied.p, tied.concordance]).all()
    assert signed_rank_pairs(np.full((5, 2), 2.0))[0].p == 1
    empty = friedman(np.full((3, 2), NAN))
    assert (empty.blocks, empty.left_out) == (0, 3)
    assert np.isnan(empty.mean_ranks).all()
    assert np.isnan(signed_rank_pairs(np.full((3, 2), NAN))[0].p)


def test_missing_ratings_take_their_block_out_and_are_counted():
    given_blocks = BASES.copy()
    given_blocks[3, 1] = NAN
    found = friedman(given_blocks)
    assert found == friedman(np.delete(BASES, 3, axis=0))._replace(left_out=1)
    pairs = signed_rank_pairs(given_blocks)
    assert [(test.blocks, test.left_out) for test in pairs] == [(21, 1), (22, 0), (21, 1)]


def test_blocks_are_readings_cases_or_readers():
    table = ratings(np.random.default_rng(0))
    assert as_blocks(table).shape == (60, 3)
    np.testing.assert_array_equal(as_blocks(table)[16], table[1, 1])
    np.testing.assert_array_equal(as_blocks(table, "case"), table.mean(axis=0))
    table[2, 5, 1] = NAN
    assert np.isnan(as_blocks(table, "case")).sum() == 1
    np.testing.assert_array_equal(as_blocks(table, "reader")[0], table[0].mean(axis=0))
    with pytest.raises(ValueError, match=r"\(readers, cases, conditions\), got \(60, 3\)"):
        as_blocks(as_blocks(table))


def test_false_alarms_stay_at_the_level():
    """600 studies without a difference: the exact 99.9 % bounds of 5 % found by chance."""
    generator, found = np.random.default_rng(1), np.zeros(2)
    for _ in range(600):
        blocks = as_blocks(ratings(generator))
        smallest = min(test.p_holm for test in signed_rank_pairs(blocks))
        found += [friedman(blocks).p < 0.05, smallest < 0.05]
    assert ((found / 600 > 0.023) & (found / 600 < 0.082)).all()
