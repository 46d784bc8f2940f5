"""The closed form against the search of the mixed model, which knows nothing of strata."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from medrobust.study.statistics.mixed import mixed_model
from medrobust.study.statistics.strata import complete_model

SPREADS = st.sampled_from([0.0, 0.3, 1.0])


def ratings_of(seed, sizes, spreads):
    """Normal ratings (readers, cases, conditions)."""
    generator, (readers, cases, conditions) = np.random.default_rng(seed), sizes
    shapes = [(readers, 1, 1), (1, cases, 1), (1, cases, conditions), (readers, 1, conditions)]
    parts = [sd * generator.normal(size=shape) for sd, shape in zip(spreads, shapes, strict=True)]
    return sum(parts, 0.6 * generator.normal(size=sizes))


def searched_for(ratings):
    """What `mixed_model` makes of them."""
    reader, case, condition = (axis.ravel() for axis in np.indices(ratings.shape))
    groups = {"reader": reader, "case": case, "map": 3 * case + condition}
    groups["reader by condition"] = 3 * reader + condition
    return mixed_model(ratings.ravel(), condition, groups)


@example(2, (2, 4, 2), (1.0, 1.0, 0.0, 0.3))  # one start ended elsewhere
@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(2, 6), st.integers(2, 9), st.integers(2, 3)),
    st.tuples(SPREADS, SPREADS, SPREADS, SPREADS),
)
def test_the_search_finds_the_closed_form(seed, sizes, spreads):
    """Also where variances are 0: a search by deviations stayed there in half of such tables."""
    ratings = ratings_of(seed, sizes, spreads)
    searched, found = searched_for(ratings), complete_model(ratings)
    assert [m.mean for m in searched.means] == pytest.approx(list(found.means))
    for one in searched.differences:
        assert one.standard_error == pytest.approx(found.standard_error, rel=2e-3)


def test_degrees_and_p_are_those_of_the_search():
    """Of variances that are not next to 0, which the one would take for 0 and the other not."""
    ratings = ratings_of(3, (5, 8, 3), (1.0, 1.0, 1.0, 1.0))
    searched, found = searched_for(ratings), complete_model(ratings)
    for one, p in zip(searched.differences, found.p, strict=True):
        assert one.degrees == pytest.approx(found.degrees, rel=1e-4)
        assert one.p == pytest.approx(p, rel=1e-4)


def test_two_strata_that_differ_are_paired_tests():
    """Preferences alone leave the t test of the readers' means; maps alone that of the cases'."""
    for place, axis in ((3, 1), (2, 0)):
        spreads = [3000.0, 3000.0, 0.0, 0.0]
        spreads[place] = 300.0
        ratings = ratings_of(1, (7, 8, 2), spreads)
        means = ratings.mean(axis=axis)
        expected = stats.ttest_rel(means[:, 0], means[:, 1])
        found = complete_model(ratings)
        assert found.p == [pytest.approx(expected.pvalue, rel=1e-4)]
        assert found.degrees == pytest.approx(expected.df, rel=1e-3)


def test_pairs_come_in_order():
    found = complete_model(ratings_of(0, (3, 5, 3), (1, 1, 0, 0)))
    apart = [abs(found.means[i] - found.means[j]) for i, j in combinations(range(3), 2)]
    assert np.argsort(found.p).tolist() == np.argsort(apart)[::-1].tolist()


def test_ratings_without_a_rest_are_told_apart() -> None:
    ratings = np.broadcast_to(np.arange(4.0)[:, None, None], (4, 5, 2)).copy()
    assert complete_model(ratings).p == [1.0]
    ratings[..., 1] += 1
    assert complete_model(ratings).p[0] < 1e-9
