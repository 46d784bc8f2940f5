from statistics import NormalDist

import numpy as np
import pytest

from medrobust.statistics import (
    auroc,
    bootstrap,
    bootstrap_non_inferiority,
    delong_non_inferiority,
    delong_test,
    weighted_auroc,
)

NAN = float("nan")


def drawn(patients=120, loss=0.3, seed=0):
    """Two networks on two images a patient; the first has lost a little."""
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    labels = (generator.random(patient.size) < 0.4).astype(float)
    shared = labels + generator.normal(size=patients)[patient]
    first, second = generator.normal(scale=0.5, size=(2, patient.size))
    return labels, shared + first - loss * labels, shared + second, patient


def test_delong_in_closed_form():
    labels, first, second, patient = drawn()
    test = delong_test(labels, first, second, patient)
    for margin in (0.02, 0.1, 0.2):
        found = delong_non_inferiority(labels, first, second, margin, patient)
        z = (test.difference + margin) / test.standard_error
        assert found.difference == test.difference
        assert found.p == pytest.approx(NormalDist().cdf(-z))
        assert found.low == pytest.approx(test.difference - 1.959964 * test.standard_error)
        assert found.not_inferior == (found.p < 0.025) == (found.low > -margin)


def test_verdicts_of_small_and_large_margins():
    labels, first, second, patient = drawn()
    found = [delong_non_inferiority(labels, first, second, m, patient) for m in (0.02, 0.2)]
    assert [result.not_inferior for result in found] == [False, True]


def test_the_patients_of_the_images_count():
    labels, first, second, patient = drawn()
    copies = (np.tile(x, 3) for x in (labels, first, second))
    together = delong_non_inferiority(*copies, 0.1, np.tile(patient, 3))
    alone = delong_non_inferiority(labels, first, second, 0.1, patient)
    assert together == pytest.approx(alone)


def test_the_bootstrap_agrees_with_delong():
    labels, first, second, patient = drawn()
    measures = [weighted_auroc(labels, scores) for scores in (first, second)]
    redrawn = bootstrap(measures, patient, 4_000)
    difference = auroc(labels, first) - auroc(labels, second)
    # Where p is about 0.1 and where it is small, both must say the same.
    for margin in (0.08, 0.2):
        ours = bootstrap_non_inferiority(difference, redrawn[:, 0] - redrawn[:, 1], margin)
        other = delong_non_inferiority(labels, first, second, margin, patient)
        assert ours.difference == pytest.approx(other.difference)
        assert ours.low == pytest.approx(other.low, abs=0.006)
        assert ours.p == pytest.approx(other.p, abs=0.03)
        assert ours.not_inferior == other.not_inferior


def test_the_share_of_redraws_beyond_the_margin():
    redrawn = np.linspace(-0.10, 0.10, 201)
    found = bootstrap_non_inferiority(0.0, redrawn, 0.05)
    assert found == (0.0, pytest.approx(-0.095), pytest.approx(52 / 202), False)
    found = bootstrap_non_inferiority(0.0, redrawn, 0.2)
    assert found == (0.0, pytest.approx(-0.095), pytest.approx(1 / 202), True)
    with_undefined = bootstrap_non_inferiority(0.0, np.r_[redrawn, np.full(200, NAN)], 0.05)
    assert with_undefined == bootstrap_non_inferiority(0.0, redrawn, 0.05)


def test_what_cannot_be_estimated_is_no_proof():
    undefined = bootstrap_non_inferiority(0.1, np.array([0.1, NAN, NAN]), 0.05)
    perfect = delong_non_inferiority([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4], 0.05)
    for found in (undefined, perfect):
        assert np.isnan([found.low, found.p]).all()
        assert found.not_inferior is False


def test_the_test_keeps_its_level_at_the_margin():
    """The first is worse by the margin: scores N(1, 1) and N(1.5, 1) against N(0, 1)."""
    generator, wrong = np.random.default_rng(0), 0
    margin = NormalDist().cdf(1.5 / 2**0.5) - NormalDist().cdf(1 / 2**0.5)
    labels = np.repeat([0.0, 1.0], 100)
    for _ in range(600):
        first, second = np.outer([1, 1.5], labels) + generator.normal(size=(2, 200))
        wrong += delong_non_inferiority(labels, first, second, margin).not_inferior
    assert 0.01 <= wrong / 600 <= 0.045


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0, NAN])
def test_margins_that_are_none(margin):
    message = rf"^expected a margin of AUROC between 0 and 1, got {margin:g}$"
    with pytest.raises(ValueError, match=message):
        bootstrap_non_inferiority(0.0, np.zeros(10), margin)
    with pytest.raises(ValueError, match=message):
        delong_non_inferiority([0, 1], [0, 1], [0, 1], margin)
