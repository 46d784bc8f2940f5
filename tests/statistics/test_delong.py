from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.statistics import auroc, delong_covariance, delong_interval, delong_test

NAN = float("nan")


def ratings(of_negatives, of_positives):
    """Labels and ratings 1, 2, ... from the counts of each rating."""
    steps = np.arange(1, len(of_negatives) + 1)
    scores = np.concatenate([np.repeat(steps, of_negatives), np.repeat(steps, of_positives)])
    return np.repeat([0, 1], [sum(of_negatives), sum(of_positives)]), scores


def clustered(generator, patients=40, images=4):
    """Images of patients who share part of their score; labels differ within patients."""
    patient = np.repeat(np.arange(patients), images)
    labels = (generator.random(patient.size) < 0.4).astype(float)
    shared = generator.normal(size=patients)[patient]
    return labels, labels + shared + generator.normal(size=patient.size), patient


def looped_covariance(labels, scores, clusters):
    """Obuchowski 1997 from its definition: all pairs, cluster by cluster."""

    def kernel(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    m, n, names = positives.size, negatives.size, np.unique(clusters)
    above, below, aurocs = [], [], []
    for given_scores in scores:
        up = {i: np.mean([kernel(given_scores[i], given_scores[j]) for j in negatives])
              for i in positives}  # fmt: skip
        down = {j: np.mean([kernel(given_scores[i], given_scores[j]) for i in positives])
                for j in negatives}  # fmt: skip
        area = np.mean(list(up.values()))
        above.append([sum(v - area for i, v in up.items() if clusters[i] == c) for c in names])
        below.append([sum(v - area for j, v in down.items() if clusters[j] == c) for c in names])
        aurocs.append(area)
    covariance = np.zeros((len(scores), len(scores)))
    both, tens = len(names), len(np.unique(clusters[positives]))
    ones = len(np.unique(clusters[negatives]))
    for a in range(len(scores)):
        for b in range(len(scores)):
            s10 = tens / ((tens - 1) * m) * np.dot(above[a], above[b])
            s01 = ones / ((ones - 1) * n) * np.dot(below[a], below[b])
            s11 = both / (both - 1) * np.dot(above[a], below[b])
            s11_back = both / (both - 1) * np.dot(above[b], below[a])
            covariance[a, b] = s10 / m + s01 / n + (s11 + s11_back) / (m * n)
    return np.array(aurocs), covariance


def looped_delong(labels, scores):
    """DeLong 1988 from its definition: sample covariances of the structural components."""
    positives, negatives = scores[:, labels == 1], scores[:, labels == 0]
    pairs = positives[:, :, None] - negatives[:, None, :]
    won = (pairs > 0) + 0.5 * (pairs == 0)
    of_positives, of_negatives = np.cov(won.mean(axis=2)), np.cov(won.mean(axis=1))
    return of_positives / positives.shape[1] + of_negatives / negatives.shape[1]


def test_wfns_grades_of_the_asah_data_as_published_by_proc():
    """Turck et al. 2010: WFNS grade by outcome; variance and interval as tested in pROC."""
    labels, scores = ratings([37, 20, 3, 8, 4], [2, 12, 1, 8, 18])
    interval = delong_interval(labels, scores)
    assert interval.auroc == pytest.approx(0.8236789, abs=5e-8)
    assert interval.standard_error**2 == pytest.approx(0.00146991470882363, rel=1e-12)


def test_wfns_against_s100b_in_the_asah_data_as_published_by_proc():
    """Turck et al. 2010: S100B in 10 ng/l by outcome and grade; as tested in pROC."""
    good = (
        [*(4, 4, 4, 4, 5, 5, 6, 6, 7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 10, 10, 11, 11, 13),
         *(13, 14, 14, 14, 15, 16, 18, 19, 48, 50)],
        [4, 7, 8, 8, 9, 9, 10, 10, 10, 11, 11, 13, 14, 15, 15, 15, 16, 17, 19, 43],
        [5, 7, 33],
        [16, 17, 28, 32, 34, 38, 45, 47],
        [24, 46, 47, 50],
    )  # fmt: skip
    poor = (
        [7, 8],
        [7, 7, 9, 9, 10, 10, 11, 14, 25, 30, 41, 58],
        [13],
        [13, 16, 23, 26, 27, 48, 71, 96],
        [3, 12, 22, 32, 33, 35, 44, 44, 49, 52, 56, 70, 71, 74, 77, 82, 86, 207],
    )
    labels, wfns = ratings([len(grade) for grade in good], [len(grade) for grade in poor])
    s100b = np.concatenate([*good, *poor])
    aurocs, covariance = delong_covariance(labels, [wfns, s100b])
    assert aurocs == pytest.approx([0.8236789, 0.7313686], abs=5e-8)
    assert covariance[0, 1] == pytest.approx(0.00119615567376754, rel=1e-12)
    assert covariance[1, 1] == pytest.approx(0.00266868245717244, rel=1e-12)
    test = delong_test(labels, wfns, s100b)
    assert (test.z, test.p) == pytest.approx((2.20898359144091, 0.0271757822291882), rel=1e-12)
    assert (test.low, test.high) == pytest.approx((0.0104061769564846, 0.174214419249478))


def test_computed_tomography_of_hanley_and_mcneil():
    """Hanley and McNeil 1982, table I; DeLong's error and interval as in Stata's `roctab`."""
    interval = delong_interval(*ratings([33, 6, 6, 11, 2], [3, 2, 2, 11, 33]))
    reach = 1.959964 * interval.standard_error
    assert interval.auroc == pytest.approx(0.8932, abs=5e-5)
    assert interval.standard_error == pytest.approx(0.0307, abs=5e-5)
    assert interval.auroc - reach == pytest.approx(0.83295, abs=5e-6)
    assert interval.auroc + reach == pytest.approx(0.95339, abs=5e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_midranks_give_what_all_pairs_give(seed, decimals):
    generator = np.random.default_rng(seed)
    labels = np.r_[1, 1, 0, 0, generator.integers(0, 2, size=20)].astype(float)
    scores = np.round(generator.normal(size=(2, 24)) + labels, decimals - 1)
    aurocs, covariance = delong_covariance(labels, scores)
    np.testing.assert_allclose(aurocs, [auroc(labels, row) for row in scores])
    np.testing.assert_allclose(covariance, looped_delong(labels, scores), atol=1e-14)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_clusters_give_what_the_paper_defines(seed, patients):
    generator = np.random.default_rng(seed)
    labels = np.r_[1, 1, 0, 0, generator.integers(0, 2, size=14)].astype(float)
    clusters = np.r_[0, 1, 0, 1, generator.integers(patients, size=14)]
    scores = np.round(generator.normal(size=(2, 18)) + labels, 1)
    aurocs, covariance = delong_covariance(labels, scores, clusters)
    expected = looped_covariance(labels, scores, clusters)
    np.testing.assert_allclose(aurocs, expected[0])
    np.testing.assert_allclose(covariance, expected[1], atol=1e-14)


def test_patients_of_one_image_are_delong_exactly():
    labels, scores, _ = clustered(np.random.default_rng(0))
    ids = np.random.default_rng(1).permutation(labels.size).astype(str)
    np.testing.assert_allclose(
        delong_covariance(labels, scores, ids)[1], delong_covariance(labels, scores)[1], rtol=1e-12
    )


def test_copies_of_images_in_the_same_patient_tell_nothing_new():
    labels, scores, _ = clustered(np.random.default_rng(0))
    alone = delong_interval(labels, scores)
    copies = np.tile(labels, 3), np.tile(scores, 3)
    together = delong_interval(*copies, np.tile(np.arange(labels.size), 3))
    assert together == pytest.approx(alone)
    apart = delong_interval(*copies)
    assert apart.standard_error == pytest.approx(alone.standard_error / np.sqrt(3), rel=0.02)


def test_intervals_cover_when_patients_have_several_images():
    """A finding of the patient: positives minus negatives are N(1, 4), so AUROC = Phi(1/2)."""
    generator, truth, covered = np.random.default_rng(0), 0.6914625, np.zeros(2)
    patient = np.repeat(np.arange(60), 4)
    labels = np.repeat(np.arange(60) % 2, 4)
    for _ in range(400):
        scores = labels + generator.normal(size=60)[patient] + generator.normal(size=240)
        for known, clusters in enumerate([None, patient]):
            _, _, low, high = delong_interval(labels, scores, clusters)
            covered[known] += low <= truth <= high
    unaware, aware = covered / 400
    assert 0.92 <= aware <= 0.98
    assert unaware < 0.85


def test_the_interval_never_leaves_0_to_1():
    labels, scores = np.r_[np.zeros(5), np.ones(5)], np.r_[0, 1, 2, 3, 6, 5, 7, 8, 9, 10]
    _, error, low, high = delong_interval(labels, scores)
    value = auroc(labels, scores)
    assert value + 1.96 * error > 1
    assert 0 < low < value < high < 1
    mirrored = delong_interval(labels, -scores)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - high, 1 - low))
    wider = delong_interval(labels, scores, level=0.99)
    assert wider.low < low < high < wider.high


@pytest.mark.parametrize(
    ("labels", "scores", "value"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 4], 1.0),
        ([0, 0, 1, 1], [4, 3, 2, 1], 0.0),
        ([0, 0, 1, 1], [1, 1, 1, 1], 0.5),
        ([0, 0, 1], [1, 3, 2], 0.5),
        ([1, 1], [1, 3], NAN),
        ([NAN, NAN], [1, 3], NAN),
    ],
)
def test_no_variance_no_interval(labels, scores, value):
    interval = delong_interval(labels, scores)
    np.testing.assert_array_equal(interval.auroc, value)
    assert np.isnan(interval[1:]).all()


def test_two_positive_patients_are_needed():
    labels, scores = [1, 1, 0, 0, 0], [3, 1, 2, 0, 2]
    assert np.isfinite(delong_interval(labels, scores).low)
    assert np.isnan(delong_interval(labels, scores, ["a", "a", "b", "c", "d"]).low)


def test_unknown_labels_are_left_out():
    labels, scores, patients = clustered(np.random.default_rng(2))
    unknown = np.r_[labels, NAN, NAN], np.r_[scores, NAN, 3], np.r_[patients, 0, 99]
    assert delong_interval(*unknown) == delong_interval(labels, scores, patients)


def test_the_paired_test_uses_the_covariance():
    labels, scores, patients = clustered(np.random.default_rng(3))
    other = scores + np.random.default_rng(4).normal(size=scores.size)
    for clusters in (None, patients):
        aurocs, covariance = delong_covariance(labels, [scores, other], clusters)
        test = delong_test(labels, scores, other, clusters)
        variance = np.array([1, -1]) @ covariance @ np.array([1, -1])
        assert test.difference == pytest.approx(aurocs[0] - aurocs[1])
        assert test.standard_error == pytest.approx(np.sqrt(variance))
        assert test.z == pytest.approx(test.difference / test.standard_error)
        assert (test.low + test.high) / 2 == pytest.approx(test.difference)
        # The interval leaves out 0 exactly when p is below 0.05.
        assert (test.low <= 0 <= test.high) == (test.p >= 0.05)
        back = delong_test(labels, other, scores, clusters)
        assert (back.z, back.p) == pytest.approx((-test.z, test.p))


def test_p_is_that_of_the_normal_distribution():
    labels, scores, _ = clustered(np.random.default_rng(3))
    test = delong_test(labels, scores, np.random.default_rng(4).normal(size=scores.size))
    assert test.p == pytest.approx(2 * NormalDist().cdf(-abs(test.z)))


def test_equal_curves_do_not_differ_and_perfect_against_reversed_is_not_estimable():
    labels, scores, patients = clustered(np.random.default_rng(3))
    same = delong_test(labels, scores, scores, patients)
    assert (same.difference, same.z, same.p) == (0, 0, 1)
    extreme = delong_test([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert extreme.difference == 1
    assert np.isnan(extreme[1:]).all()
