import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from medrobust.statistics import (
    auroc,
    bootstrap,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_p,
    percentile_interval,
    redrawn_weights,
    weighted_auprc,
    weighted_auroc,
    weighted_brier,
)

NAN = float("nan")


def drawn(n=80, seed=0):
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < 0.4).astype(float)
    return labels, np.round(generator.normal(size=n) + labels, 1)


def test_whole_patients_are_drawn_as_many_as_there_are():
    patients = np.array(["b", "a", "b", "c", "a", "b"])
    weights = np.concatenate(list(redrawn_weights(patients, redraws=500)))
    assert weights.shape == (500, 6)
    np.testing.assert_array_equal(weights[:, [0, 0, 1]], weights[:, [2, 5, 4]])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)


def test_counts_are_multinomial():
    weights = np.concatenate(list(redrawn_weights(np.arange(4), redraws=20_000)))
    observed = np.bincount(weights.ravel().astype(int), minlength=5)
    expected = stats.binom.pmf(np.arange(5), 4, 1 / 4) * observed.sum()
    np.testing.assert_allclose(observed, expected, atol=4 * np.sqrt(expected).max())


def test_redraws_depend_on_seed_and_patients_alone(monkeypatch):
    patients = np.random.default_rng(0).integers(20, size=50).astype(str)
    weights = np.concatenate(list(redrawn_weights(patients, 100, seed=3)))
    order = np.random.default_rng(1).permutation(50)
    shuffled = np.concatenate(list(redrawn_weights(patients[order], 100, seed=3)))
    np.testing.assert_array_equal(shuffled, weights[:, order])
    monkeypatch.setattr("medrobust.statistics.resampling.CHUNK", 7 * 50)
    chunks = list(redrawn_weights(patients, 100, seed=3))
    assert [len(chunk) for chunk in chunks] == [7] * 14 + [2]
    np.testing.assert_array_equal(np.concatenate(chunks), weights)
    other = np.concatenate(list(redrawn_weights(patients, 100, seed=4)))
    assert (other != weights).any()


def test_values_are_those_of_repeating_images_in_a_loop():
    labels, scores = drawn()
    patients = np.arange(80) // 3
    values = bootstrap(
        [weighted_auroc(labels, scores), weighted_auprc(labels, scores)], patients, 50
    )
    for weights, (area, precision) in zip(
        np.concatenate(list(redrawn_weights(patients, 50))), values, strict=True
    ):
        rows = np.repeat(np.arange(80), weights.astype(int))
        assert area == pytest.approx(roc_auc_score(labels[rows], scores[rows]))
        assert precision == pytest.approx(average_precision_score(labels[rows], scores[rows]))


def test_interval_is_that_of_scipy_when_every_image_is_a_patient():
    labels, scores = drawn()
    ours = bootstrap_interval(weighted_auroc(labels, scores), np.arange(80), redraws=20_000)
    theirs = stats.bootstrap(
        (labels, scores),
        auroc,
        paired=True,
        vectorized=False,
        n_resamples=2_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.012)
    assert ours.high == pytest.approx(theirs.high, abs=0.012)


def test_copies_of_images_in_the_same_patient_tell_nothing_new():
    labels, scores = drawn()
    patients = np.arange(80)
    alone = bootstrap_interval(weighted_auroc(labels, scores), patients, 500)
    copied = weighted_auroc(np.tile(labels, 4), np.tile(scores, 4))
    together = bootstrap_interval(copied, np.tile(patients, 4), 500)
    apart = bootstrap_interval(copied, np.arange(320), 500)
    assert together == pytest.approx(alone)
    assert apart.high - apart.low < 0.6 * (together.high - together.low)


def test_percentiles_of_the_defined_redraws():
    values = np.concatenate([np.arange(101.0), np.full(100, NAN)])
    assert percentile_interval(values) == pytest.approx((2.5, 97.5, 101))
    assert percentile_interval(values, level=0.5) == pytest.approx((25, 75, 101))


def test_no_interval_from_fewer_than_half_of_the_redraws():
    low, high, defined = percentile_interval(np.array([1.0, NAN, NAN]))
    assert np.isnan([low, high]).all()
    assert defined == 1
    assert np.isnan(bootstrap_p(np.array([1.0, NAN, NAN])))


def test_a_single_positive_patient_is_often_not_drawn():
    labels, scores = np.zeros(30), np.arange(30.0)
    labels[15] = 1
    interval = bootstrap_interval(weighted_auroc(labels, scores), np.arange(30), 10_000)
    assert interval.defined == pytest.approx(10_000 * (1 - (29 / 30) ** 30), rel=0.03)
    assert interval.low < auroc(labels, scores) < interval.high


def test_p_of_redraws_on_one_side_and_on_both():
    assert bootstrap_p(np.arange(1.0, 1000)) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.array([-1.0, 1.0, 2.0, 3.0])) == pytest.approx(4 / 5)
    assert bootstrap_p(np.zeros(10)) == 1.0


def test_difference_on_the_same_redraws_is_narrower_than_of_two_samples():
    labels, scores = drawn(200)
    better = scores + 0.3 * labels
    first, second = weighted_auroc(labels, better), weighted_auroc(labels, scores)
    patients = np.arange(200)
    difference = bootstrap_difference([first], [second], patients, 2_000)
    redrawn = bootstrap([first, second], patients, 2_000)
    assert difference.value == pytest.approx(auroc(labels, better) - auroc(labels, scores))
    assert difference[1:3] == pytest.approx(percentile_interval(redrawn[:, 0] - redrawn[:, 1])[:2])
    one = bootstrap_interval(first, patients, 2_000)
    assert difference.high - difference.low < (one.high - one.low) / 2
    assert difference.low > 0
    assert difference.p == pytest.approx(2 / 2_001)


def test_difference_with_itself_is_nothing():
    labels, scores = drawn()
    same = [weighted_auroc(labels, scores)]
    assert bootstrap_difference(same, same, np.arange(80), 200) == (0, 0, 0, 1, 200)


def test_macro_difference_is_the_mean_within_each_redraw():
    labels, scores = drawn()
    other = np.random.default_rng(5).normal(size=80)
    first = [weighted_auroc(labels, scores), weighted_auroc(1 - labels, other)]
    second = [weighted_auroc(labels, other), weighted_auroc(1 - labels, scores)]
    difference = bootstrap_difference(first, second, np.arange(80), 300)
    redrawn = bootstrap(first + second, np.arange(80), 300) @ np.array([1, 1, -1, -1]) / 2
    assert difference[1:3] == pytest.approx(percentile_interval(redrawn)[:2])
    assert difference.defined == 300


def test_the_difference_may_be_of_any_metric():
    labels, scores = drawn()
    sharp, flat = 1 / (1 + np.exp(-scores)), np.full(80, 0.4)
    difference = bootstrap_difference(
        [weighted_brier(labels, sharp)], [weighted_brier(labels, flat)], np.arange(80), 200
    )
    assert difference.low <= difference.value <= difference.high
