import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from medrobust.statistics import holm

NAN = float("nan")


@settings(deadline=None, max_examples=15)  # each collects garbage for a tenth of a second
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_p_are_those_of_statsmodels(p_values):
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])


def test_holms_steps():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(holm([0.6, 0.9]), [1, 1])


def test_nan_is_no_test():
    np.testing.assert_allclose(holm([NAN, 0.01, NAN, 0.04]), [NAN, 0.02, NAN, 0.04])
    np.testing.assert_array_equal(holm([NAN]), [NAN])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("given", [[0.1, 1.2], [-0.1], 0.1, [[0.1]]])
def test_what_are_no_p_values_is_refused(given):
    message = r"^expected p values \(k,\) in \[0, 1\] or NaN, got others$"
    with pytest.raises(ValueError, match=message):
        holm(given)
