import numpy as np
import pytest

from medrobust.statistics import auroc
from medrobust.statistics.inputs import divide


def test_labels_other_than_0_1_and_unknown_are_refused():
    with pytest.raises(ValueError, match=r"^expected labels 0, 1 or NaN, got other values$"):
        auroc([0, 1, -1], [1, 2, 3])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"one shape \(n,\), got \(3,\) and \(2,\)$"):
        auroc([0, 1, 1], [1, 2])


def test_a_known_label_needs_a_score():
    with pytest.raises(ValueError, match=r"^expected a score for every known label, got NaN$"):
        auroc([0, 1], [1, np.nan])


def test_division_by_nothing_is_nan():
    quotient = divide(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    np.testing.assert_array_equal(quotient, [0.5, np.nan])
