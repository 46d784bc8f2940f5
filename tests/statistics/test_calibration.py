import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from medrobust.statistics import (
    brier,
    expected_calibration_error,
    reliability,
    weighted_brier,
    weighted_expected_calibration_error,
)

NAN = float("nan")


def drawn(n=200, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.random(n)
    return (generator.random(n) < probabilities**2).astype(float), probabilities


def looped_error(labels, probabilities, weights, bins):
    """The definition, image by image."""
    sums = [[0.0, 0.0, 0.0] for _ in range(bins)]
    for label, probability, weight in zip(labels, probabilities, weights, strict=True):
        row = sums[min(int(probability * bins), bins - 1)]
        row[0] += weight
        row[1] += weight * probability
        row[2] += weight * label
    total = sum(row[0] for row in sums)
    return sum(n / total * abs(p / n - y / n) for n, p, y in sums if n)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_is_that_of_a_plain_loop(bins):
    labels, probabilities = drawn()
    weights = np.random.default_rng(1).integers(0, 4, size=(5, labels.size)).astype(float)
    ours = weighted_expected_calibration_error(labels, probabilities, bins)(weights)
    theirs = [looped_error(labels, probabilities, row, bins) for row in weights]
    np.testing.assert_allclose(ours, theirs)
    whole = looped_error(labels, probabilities, np.ones(labels.size), bins)
    assert expected_calibration_error(labels, probabilities, bins) == pytest.approx(whole)


@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_that_of_torchmetrics(seed):
    labels, probabilities = drawn(500, seed)
    theirs = binary_calibration_error(
        torch.tensor(probabilities), torch.tensor(labels).long(), n_bins=15, norm="l1"
    )
    assert expected_calibration_error(labels, probabilities) == pytest.approx(float(theirs))


def test_closed_forms():
    assert expected_calibration_error([1, 0], [1.0, 0.0]) == 0
    assert expected_calibration_error([0, 1], [1.0, 0.0]) == 1
    assert expected_calibration_error([1, 0, 1, 0], [0.5] * 4) == 0
    assert expected_calibration_error([1, 1, 1, 0], [0.5] * 4) == 0.25
    assert brier([1, 0, 1], [1.0, 0.5, 0.0]) == pytest.approx(1.25 / 3)


def test_brier_score_is_that_of_scikit_learn():
    labels, probabilities = drawn()
    weights = np.random.default_rng(1).integers(0, 4, size=labels.size).astype(float)
    theirs = brier_score_loss(labels, probabilities, sample_weight=weights)
    assert weighted_brier(labels, probabilities)(weights[None])[0] == pytest.approx(theirs)


def test_unknown_labels_are_left_out():
    labels, probabilities = [1, NAN, 0], [0.9, NAN, 0.2]
    known = [1, 0], [0.9, 0.2]
    assert brier(labels, probabilities) == brier(*known)
    assert expected_calibration_error(labels, probabilities) == pytest.approx(
        expected_calibration_error(*known)
    )
    assert reliability(labels, probabilities).images.sum() == 2
    assert np.isnan(brier([NAN], [0.5]))
    assert np.isnan(expected_calibration_error([NAN], [0.5]))


def test_the_diagram_adds_up_to_the_error():
    labels, probabilities = drawn()
    mean, frequency, images = reliability(labels, probabilities, bins=15)
    share = images / images.sum()
    gap = np.nansum(share * np.abs(mean - frequency))
    assert gap == pytest.approx(expected_calibration_error(labels, probabilities, bins=15))


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_the_diagram_is_that_of_scikit_learn(bins):
    labels, probabilities = drawn(60)
    mean, frequency, images = reliability(labels, probabilities, bins)
    theirs = calibration_curve(labels, probabilities, n_bins=bins, strategy="uniform")
    np.testing.assert_allclose(frequency[images > 0], theirs[0])
    np.testing.assert_allclose(mean[images > 0], theirs[1])


def test_bins_are_closed_on_the_left_and_empty_ones_are_nan():
    mean, frequency, images = reliability([0, 1, 1, 1], [0.0, 0.25, 0.5, 1.0], bins=4)
    np.testing.assert_array_equal(images, [1, 1, 1, 1])
    np.testing.assert_array_equal(mean, [0.0, 0.25, 0.5, 1.0])
    np.testing.assert_array_equal(frequency, [0, 1, 1, 1])
    empty = reliability([1], [0.9], bins=2)
    np.testing.assert_array_equal(empty.mean_probability, [NAN, 0.9])
    np.testing.assert_array_equal(empty.frequency, [NAN, 1])


@pytest.mark.parametrize("of", [brier, expected_calibration_error, reliability])
def test_logits_are_refused(of):
    with pytest.raises(ValueError, match=r"^expected probabilities in \[0, 1\], got -2 to 3$"):
        of([0, 1], [-2.0, 3.0])
