"""The mixed model against lme4's Penicillin, the analysis of variance, and statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medrobust.errors import MedrobustError
from medrobust.study.statistics.mixed import mixed_model

NAN = float("nan")
# Davies and Goldsmith 1972, "Statistical Methods in Research and Production", section 6.6:
# diameter in mm of the growth inhibition zone, 24 plates, samples A to F (two digits each).
PENICILLIN = (
    "272326232321 272326232321 252125242420 262325232320 252226222320 242225232219 "
    "242023212219 262226242421 242124222220 242124232219 262326242421 252226242420 "
    "262426242522 262326232320 262325242422 252225232320 252124232320 252224232319 "
    "242123212119 262326242421 252124222218 252225222220 242124222419 242124222118 "
)


def table(readers=5, cases=12, conditions=3, interaction=0.0, seed=0):
    """Ratings (readers, cases, conditions) and their flat factors."""
    generator = np.random.default_rng(seed)
    ratings = generator.normal(size=(readers, 1, 1)) + generator.normal(size=(1, cases, 1))
    ratings = ratings + interaction * generator.normal(size=(readers, 1, conditions))
    ratings = ratings + generator.normal(size=(readers, cases, conditions))
    return ratings, [axis.ravel() for axis in np.indices(ratings.shape)]


def fitted(ratings, factors, interaction=False):
    reader, case, condition = factors
    groups = {"reader": reader, "case": case}
    if interaction:
        groups["pair"] = reader * 100 + condition
    return mixed_model(ratings.ravel(), condition, groups)


def test_penicillin_as_printed_by_lme4():
    """lmer(diameter ~ 1 + (1 | plate) + (1 | sample)); Bates, "lme4", section 2.1."""
    diameters = np.array(
        [[int(row[2 * i : 2 * i + 2]) for i in range(6)] for row in PENICILLIN.split()]
    )
    plate, sample = (axis.ravel() for axis in np.indices(diameters.shape))
    groups = {"plate": plate, "sample": sample}
    found = mixed_model(diameters.ravel(), np.zeros(144), groups)
    assert {k: round(v, 4) for k, v in found.deviations.items()} == {
        "plate": 0.8467,
        "sample": 1.9316,
    }
    assert round(found.residual, 4) == 0.5499
    assert round(found.means[0].mean, 4) == 22.9722
    assert round(found.means[0].standard_error, 4) == 0.8086
    assert round(-2 * found.log_likelihood, 4) == 330.8606
    assert np.isnan(found.test.p)
    assert found.differences == ()


def test_complete_ratings_are_the_analysis_of_variance():
    """Variances from mean squares; the test of conditions has its exact degrees of freedom."""
    ratings, factors = table()
    found = fitted(ratings, factors)
    readers, cases, conditions = ratings.shape
    centred = ratings - ratings.mean()
    parts = [centred.mean(axis=(1, 2)), centred.mean(axis=(0, 2)), centred.mean(axis=(0, 1))]
    rest = centred - parts[0][:, None, None] - parts[1][:, None] - parts[2]
    free = ratings.size - readers - cases - conditions + 2
    error = (rest**2).sum() / free
    of_readers = cases * conditions * (parts[0] ** 2).sum() / (readers - 1)
    of_cases = readers * conditions * (parts[1] ** 2).sum() / (cases - 1)
    assert found.residual**2 == pytest.approx(error, rel=1e-6)
    assert found.deviations["reader"] ** 2 == pytest.approx(
        (of_readers - error) / (cases * conditions), rel=1e-4
    )
    assert found.deviations["case"] ** 2 == pytest.approx(
        (of_cases - error) / (readers * conditions), rel=1e-4
    )
    statistic = readers * cases * (parts[2] ** 2).sum() / (conditions - 1) / error
    assert found.test.statistic == pytest.approx(statistic)
    assert found.test.denominator_degrees == pytest.approx(free, rel=1e-5)
    assert found.test.p == pytest.approx(stats.f.sf(statistic, conditions - 1, free))
    assert [m.mean for m in found.means] == pytest.approx(list(ratings.mean(axis=(0, 1))))


def test_readers_who_differ_on_conditions_are_the_paired_test_of_reader_means():
    ratings, factors = table(readers=7, conditions=2, interaction=1.5)
    found = fitted(ratings, factors, interaction=True).differences[0]
    means = ratings.mean(axis=1)
    expected = stats.ttest_rel(means[:, 0], means[:, 1])
    assert found.difference / found.standard_error == pytest.approx(expected.statistic, rel=1e-5)
    assert found.degrees == pytest.approx(6, rel=1e-3)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-3)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-3)


def test_incomplete_ratings_are_what_statsmodels_finds():
    models = pytest.importorskip("statsmodels.api")
    ratings, (reader, case, condition) = table(4, 8, 2, seed=4)
    flat = ratings.ravel()
    flat[[3, 10, 11, 40]] = NAN
    found = mixed_model(flat, condition, {"reader": reader, "case": case})
    assert (found.ratings, found.left_out) == (60, 4)
    kept = ~np.isnan(flat)
    parts = {
        name: (factor[kept, None] == np.unique(factor)).astype(float)
        for name, factor in (("case", case), ("reader", reader))
    }
    design = (condition[kept, None] == [0, 1]).astype(float)
    spec = models.regression.mixed_linear_model.VCSpec(
        list(parts), [[[str(i) for i in range(p.shape[1])]] for p in parts.values()],
        [[p] for p in parts.values()],
    )  # fmt: skip
    other = models.MixedLM(
        flat[kept], design, groups=np.ones(60), exog_vc=spec, exog_re=None
    ).fit(reml=True, method="bfgs")  # fmt: skip
    assert [m.mean for m in found.means] == pytest.approx(list(other.fe_params), abs=2e-4)
    assert [m.standard_error for m in found.means] == pytest.approx(list(other.bse_fe), rel=2e-3)
    assert found.residual**2 == pytest.approx(other.scale, rel=2e-3)
    assert [found.deviations["case"] ** 2, found.deviations["reader"] ** 2] == pytest.approx(
        list(other.vcomp), rel=5e-3
    )


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1), st.floats(-50, 50), st.floats(0.1, 20))
def test_shifting_and_stretching_the_scale_moves_the_fit_with_it(seed, shift, stretch):
    ratings, factors = table(4, 6, 2, seed=seed)
    one, other = fitted(ratings, factors), fitted(shift + stretch * ratings, factors)
    moved = [shift + stretch * m.mean for m in one.means]
    assert [m.mean for m in other.means] == pytest.approx(moved)
    assert other.residual == pytest.approx(stretch * one.residual, rel=1e-3)
    assert other.differences[0].p == pytest.approx(one.differences[0].p, rel=1e-3, abs=1e-9)


def test_readers_who_do_not_differ_are_at_the_boundary():
    ratings, factors = table(seed=3)
    ratings -= ratings.mean(axis=(1, 2), keepdims=True)
    found = fitted(ratings, factors)
    assert found.deviations["reader"] == 0
    assert np.isfinite([m.degrees for m in found.means]).all()


def test_false_alarms_and_coverage_with_readers_who_differ():
    """200 studies of 5 readers, by the exact 99.9 % bounds of 5 %: with the pairs as a factor
    readers in general are spoken of; without it, far too many differences are found.
    """
    found = []
    for seed in range(200):
        ratings, factors = table(5, 8, 2, interaction=0.7, seed=seed)
        found.append([fitted(ratings, factors, pairs).differences[0].p for pairs in (True, False)])
    aware, unaware = (np.array(found) < 0.05).mean(axis=0)
    assert aware <= 0.105
    assert unaware > 0.15


def test_ratings_that_readers_explain_wholly_leave_no_rest():
    ratings, factors = table(4, 6, 2)
    found = fitted(np.broadcast_to(np.arange(4.0)[:, None, None], ratings.shape), factors)
    assert found.residual < 0.01
    assert found.differences[0].difference == pytest.approx(0, abs=1e-9)


def test_holm_over_all_pairs():
    found = fitted(*table()).differences
    assert [(d.first, d.second) for d in found] == [(0, 1), (0, 2), (1, 2)]
    smallest = min(found, key=lambda d: d.p)
    assert smallest.p_holm == pytest.approx(min(3 * smallest.p, 1))


def test_what_cannot_be_fitted_is_said():
    ratings, factors = table()
    same = np.broadcast_to(np.arange(3.0), ratings.shape)
    message = "expected ratings that vary within conditions, found 180 that do not"
    with pytest.raises(MedrobustError, match=message):
        fitted(same, factors)
    with pytest.raises(
        MedrobustError, match="expected at least two levels of reader, found 1: leave it out"
    ):
        mixed_model([1.0, 2, 4, 3], [0, 1, 0, 1], {"reader": ["a"] * 4})
