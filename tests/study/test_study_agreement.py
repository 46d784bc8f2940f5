"""Agreement against Shrout and Fleiss 1979, a published kappa table, and independent packages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from medrobust.study.statistics.agreement import (
    between_readers,
    icc_agreement,
    icc_consistency,
    weighted_kappa,
    within_readers,
)

NAN = float("nan")
# Shrout and Fleiss 1979, table 2: six targets (rows) rated by four judges.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
# SAS/STAT FREQ, "Cohen's kappa": two dermatologists rate the skin condition of 88 patients.
SKIN = np.array([[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]])
SCALE = range(6)


def series(table):
    """Two series of ratings 0, 1, ... from the table of their counts."""
    rows, columns = np.indices(table.shape)
    return np.repeat(rows.ravel(), table.ravel()), np.repeat(columns.ravel(), table.ravel())


def readings(generator, cases=40, readers=3):
    case = generator.normal(2.5, 1.2, size=(cases, 1))
    return np.clip(np.round(case + generator.normal(size=(cases, readers))), 0, 5)


def test_icc_of_shrout_and_fleiss():
    """Values of their table 4; intervals as psych's ICC prints them."""
    agreement, consistency = icc_agreement(JUDGES), icc_consistency(JUDGES)
    assert (round(agreement.value, 2), round(consistency.value, 2)) == (0.29, 0.71)
    assert (round(agreement.low, 3), round(agreement.high, 2)) == (0.019, 0.76)
    assert (round(consistency.low, 3), round(consistency.high, 2)) == (0.342, 0.95)
    assert (agreement.cases, agreement.left_out) == (6, 0)


def test_a_constant_bias_counts_for_agreement_alone():
    biased = JUDGES + np.array([0, 0, 0, 5])
    assert icc_consistency(biased).value == pytest.approx(icc_consistency(JUDGES).value)
    first, second = JUDGES[:, 0], JUDGES[:, 0] + 2
    assert icc_consistency(np.stack([first, second], 1))[:3] == (1, 1, 1)
    assert icc_agreement(np.stack([first, second], 1)).value < 0.6
    assert icc_agreement(np.stack([first, first], 1))[:3] == (1, 1, 1)


def test_incomplete_cases_are_left_out_of_icc_and_counted():
    ratings = np.vstack([JUDGES, [5, NAN, 4, 4], [NAN] * 4])
    for icc in (icc_agreement, icc_consistency):
        found = icc(ratings)
        assert found[:3] == icc(JUDGES)[:3]
        assert (found.cases, found.left_out) == (6, 2)


@pytest.mark.parametrize(
    "ratings",
    [np.full((4, 3), 2.0), np.tile([1.0, 2, 5], (4, 1)), JUDGES[:1], JUDGES[:, :1]],
)
@pytest.mark.parametrize("icc", [icc_agreement, icc_consistency])
def test_no_icc_without_variation(icc, ratings):
    assert np.isnan(icc(ratings)[:3]).all()


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 4), st.integers(2, 3), st.integers(0, 2**32 - 1))
def test_icc_of_few_coarse_ratings_is_a_correlation_or_nan(cases, readers, seed):
    ratings = np.random.default_rng(seed).integers(0, 3, size=(cases, readers))
    found = icc_consistency(ratings)
    assert np.isnan(found.value) or -1 / (readers - 1) - 1e-9 <= found.value <= 1
    assert np.isnan(found.value) or found.low <= found.value <= found.high
    agreement = icc_agreement(ratings)
    assert np.isnan(agreement.value) or agreement.value <= 1
    ends = np.isnan([agreement.low, agreement.high])
    assert ends.all() or not ends.any()


def test_icc_intervals_cover():
    """True ICC(2,1) = 1 / (1 + 0.25 + 1), ICC(3,1) = 1 / (1 + 1)."""
    generator, covered = np.random.default_rng(0), np.zeros(2)
    for _ in range(400):
        ratings = generator.normal(size=(20, 1)) + 0.5 * generator.normal(size=(1, 4))
        ratings = ratings + generator.normal(size=(20, 4))
        agreement, consistency = icc_agreement(ratings), icc_consistency(ratings)
        covered += [
            agreement.low <= 1 / 2.25 <= agreement.high,
            consistency.low <= 1 / 2 <= consistency.high,
        ]
    assert ((covered / 400 > 0.91) & (covered / 400 < 0.985)).all()


def test_kappa_of_two_dermatologists_as_published_by_sas():
    simple = weighted_kappa(*series(SKIN), range(4), "none")
    assert [round(v, 4) for v in simple[:4]] == [0.3449, 0.0724, 0.2030, 0.4868]
    linear = weighted_kappa(*series(SKIN), range(4), "linear")
    assert [round(v, 4) for v in linear[:2]] == [0.5082, 0.0655]
    assert (linear.cases, linear.left_out) == (88, 0)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "linear", "quadratic"]))
def test_kappa_is_that_of_scikit_learn_and_statsmodels(seed, weighting):
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    generator = np.random.default_rng(seed)
    first, second = readings(generator, readers=2).T
    found = weighted_kappa(first, second, SCALE, weighting)
    name = None if weighting == "none" else weighting
    expected = cohen_kappa_score(first, second, labels=list(SCALE), weights=name)
    assert found.value == pytest.approx(expected)
    table = np.histogram2d(first, second, bins=np.arange(-0.5, 6))[0]
    other = inter_rater.cohens_kappa(table, wt=name)
    assert found.standard_error == pytest.approx(other.std_kappa)


def test_steps_nobody_used_keep_their_distance():
    """0 against 5 is the worst disagreement on a scale of 0 to 5, not on one of 0 and 5."""
    first, second = [0, 0, 5, 5, 4], [0, 5, 5, 0, 5]
    assert weighted_kappa(first, second, SCALE).value == pytest.approx(
        cohen_kappa_score(first, second, labels=list(SCALE), weights="quadratic")
    )
    with pytest.raises(ValueError, match="expected ratings among the categories, got others"):
        weighted_kappa(first, second, [0, 5])


def test_kappa_is_nan_where_all_ratings_are_one_and_one_where_they_agree():
    same = weighted_kappa([3, 3], [3, 3], SCALE)
    assert np.isnan(same[:4]).all()
    assert same.cases == 2
    perfect = weighted_kappa([0, 3, 5], [0, 3, 5], SCALE)
    assert perfect[:4] == pytest.approx((1, 0, 1, 1))
    nothing = weighted_kappa([NAN], [1], SCALE)
    assert np.isnan(nothing.value)
    assert (nothing.cases, nothing.left_out) == (0, 1)


def test_between_readers_is_the_mean_over_pairs_of_what_both_rated():
    ratings = readings(np.random.default_rng(0))
    ratings[4, 1] = ratings[7, 2] = NAN
    found = between_readers(ratings, SCALE, redraws=200)
    values = [
        weighted_kappa(ratings[:, i], ratings[:, j], SCALE) for i, j in [(0, 1), (0, 2), (1, 2)]
    ]
    assert found.pairs == tuple(values)
    assert found.value == pytest.approx(np.mean([pair.value for pair in values]))
    assert [pair.cases for pair in values] == [39, 39, 38]
    assert found.low < found.value < found.high
    assert found == between_readers(ratings, SCALE, redraws=200)


def test_the_bootstrap_is_about_as_wide_as_the_normal_interval():
    first, second = readings(np.random.default_rng(1), cases=300, readers=2).T
    pair = weighted_kappa(first, second, SCALE)
    mean = between_readers(np.stack([first, second], 1), SCALE, redraws=1000)
    assert mean.value == pytest.approx(pair.value)
    assert mean.high - mean.low == pytest.approx(pair.high - pair.low, rel=0.12)


def test_readings_of_the_same_case_are_redrawn_together():
    ratings = readings(np.random.default_rng(6))
    copies, cases = np.tile(ratings, (3, 1)), np.tile(np.arange(40), 3)
    alone = between_readers(ratings, SCALE, redraws=300)
    together = between_readers(copies, SCALE, clusters=cases, redraws=300)
    assert together[:3] == pytest.approx(alone[:3])
    apart = between_readers(copies, SCALE, redraws=300)
    assert apart.high - apart.low < 0.75 * (alone.high - alone.low)


def test_within_readers_pairs_each_reader_with_herself():
    generator = np.random.default_rng(2)
    first = readings(generator)
    repeated = np.where(generator.random(first.shape) < 0.3, NAN, first)
    repeated[:, 2] = NAN
    found = within_readers(first, repeated, SCALE, redraws=100)
    assert [pair.value for pair in found.pairs[:2]] == pytest.approx([1, 1])
    assert np.isnan(found.pairs[2].value)
    assert found.pairs[0].left_out == np.isnan(repeated[:, 0]).sum()
    assert found[:3] == pytest.approx((1, 1, 1))


def test_one_reader_has_no_pairs():
    with pytest.raises(ValueError, match="expected at least two readers, got fewer"):
        between_readers(np.ones((4, 1)), SCALE)
