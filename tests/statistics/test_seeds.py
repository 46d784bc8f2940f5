import numpy as np

from medrobust.statistics import across_seeds


def test_mean_and_sample_deviation():
    assert across_seeds([0.8, 0.9, 1.0, np.nan]) == (0.9, np.std([0.8, 0.9, 1.0], ddof=1), 3)


def test_one_seed_has_no_deviation_and_none_no_mean():
    one, none = across_seeds([0.8]), across_seeds([])
    assert (one.mean, one.n) == (0.8, 1)
    assert np.isnan(one.standard_deviation)
    assert np.isnan(none.mean)
    assert none.n == 0
