"""Power by simulation against its closed form."""

import numpy as np
import pytest
from scipy import stats

from medrobust.study.statistics.power import Spread, simulate_power

SPREAD = Spread(readers=0.8, cases=1.0, rest=1.0)


def closed_form(difference, deviation, degrees, level=0.05):
    """Power of a t test of a difference whose estimate has this standard deviation."""
    quantile, shift = stats.t.ppf(1 - level / 2, degrees), difference / deviation
    return stats.nct.sf(quantile, degrees, shift) + stats.nct.cdf(-quantile, degrees, shift)


def by_chance(found, expected):
    """Whether a share could come from the expected one: 99.9 % of studies do."""
    count = round(found.share * found.studies)
    return stats.binomtest(count, found.studies, expected).pvalue > 0.001


def test_unrounded_ratings_have_the_power_of_the_t_test():
    """The difference of means of 3 x 10 pairs has variance 2 / 30."""
    expected = closed_form(0.6, np.sqrt(2 / 30), 60 - 3 - 10 - 2 + 2)
    found = simulate_power(0.6, 3, 10, SPREAD, scale=None, studies=200)
    assert 0.3 < expected < 0.8
    assert by_chance(found, expected)


def test_readers_who_differ_limit_power_however_many_cases():
    differing = SPREAD._replace(readers=3.0, readers_by_condition=0.6)
    deviation = np.sqrt((0.6**2 + 2 * 1.0 / 40) / 5)
    expected = closed_form(0.8, deviation, 4)
    found = simulate_power(0.8, 5, 40, differing, scale=None, studies=150)
    assert by_chance(found, expected)
    assert simulate_power(0.8, 5, 40, SPREAD, studies=40).share > found.high


def test_nothing_to_find_is_rarely_found():
    for analysis in ("mixed", "wilcoxon"):
        found = simulate_power(0.0, 3, 10, SPREAD, analysis, studies=200)
        assert by_chance(found, 0.05)


def test_wilcoxon_finds_what_is_there_and_more_cases_find_more():
    few, many = (simulate_power(0.5, 3, n, SPREAD, "wilcoxon", studies=150) for n in (8, 40))
    assert few.high < many.low
    assert many.low > 0.8
    differing = SPREAD._replace(readers_by_condition=0.1)
    assert simulate_power(3.0, 8, 10, differing, "wilcoxon", studies=20).share == 1


def test_ratings_clipped_to_one_end_show_nothing():
    found = simulate_power(0.5, 3, 4, SPREAD, mean=-40, studies=5)
    assert (found.share, found.low, found.studies) == (0, 0, 5)


def test_the_seed_decides_and_every_study_is_counted():
    heard = []
    one = simulate_power(0.5, 3, 8, SPREAD, "wilcoxon", studies=30, seed=4, count=heard.append)
    assert heard == list(range(1, 31))
    assert one == simulate_power(0.5, 3, 8, SPREAD, "wilcoxon", studies=30, seed=4)
    interval = stats.binomtest(round(one.share * 30), 30).proportion_ci(0.95, "exact")
    assert (one.low, one.high) == pytest.approx((interval.low, interval.high))
