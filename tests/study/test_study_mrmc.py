"""MRMC against the Van Dyke data, the paired DeLong test, and simulated studies."""

import numpy as np
import pytest

from medrobust.statistics import delong_interval, delong_test, holm
from medrobust.study.statistics.mrmc import obuchowski_rockette

NAN = float("nan")

# Van Dyke et al. 1993, "Cine MRI in the diagnosis of thoracic aortic dissection", 79th RSNA:
# ratings 1 to 5 of 69 patients without and 45 with dissection by five readers (rows), first with
# cine, then with spin-echo imaging. Data published with OR-DBM MRMC, RJafroc and MRMCaov.
WITHOUT = (
    (
        "122151111111411111111131311214111113121211233131133111111221111332111",
        "232222222322522232222222422223222222222222222222222222222432232222222",
        "222235112242422232221232411322112224121412112222223211211221151421212",
        "111111311111111111112111211112111111111111111111331111111111111311111",
        "351211112221211122113221111211211231221113332111211111111341231212113",
    ),
    (
        "333222223213122222211111421312214323123122233111333113412421241442111",
        "322222223222222122221222322222212212222231223222222222322322222222122",
        "242222322211132222121121411512112122212221132111233113221232341242121",
        "221111312111122111211111321212111122112111112121212211111212111323211",
        "223122221222111222122212322321212222112121132122332122221222231233111",
    ),
)
WITH = (
    (
        "555545554555434245555555154454553555115554451",
        "535555542555442225555555243354552425225555352",
        "545555555555542355555555252255552555225555552",
        "555555555555555155555555554544553555125555555",
        "525255551545452235555554144322151515115553552",
    ),
    (
        "535555554555544335555555355355554455535555551",
        "535555552555344245455545252355532425525555552",
        "525555555555354145555555253355543555534555551",
        "545555554555455555555555455445555555535555555",
        "525455555455343335555555251332532545533555553",
    ),
)
TRUTH = np.repeat([0, 1], [69, 45])
RATINGS = np.array(
    [
        [list(map(float, a + b)) for a, b in zip(without, diseased, strict=True)]
        for without, diseased in zip(WITHOUT, WITH, strict=True)
    ]
)


def close(values, expected, digits):
    """Equal to the digits printed."""
    np.testing.assert_allclose(values, expected, rtol=0, atol=0.5001 * 10.0**-digits)


def simulated(generator, conditions=2, readers=4, cases=60, apart=1.5):
    """Ratings under no difference of conditions (Roe and Metz 1997): their additive model."""
    truth = np.arange(cases) % 2
    spread = {"case": 0.55, "reader case": 0.45, "condition case": 0.45, "rest": 0.55}
    ratings = apart * truth + generator.normal(size=(1, readers, 1)) * 0.15 * truth
    ratings = ratings + generator.normal(size=(conditions, readers, 1)) * 0.15 * truth
    ratings = ratings + spread["case"] * generator.normal(size=(1, 1, cases))
    ratings = ratings + spread["reader case"] * generator.normal(size=(1, readers, cases))
    ratings = ratings + spread["condition case"] * generator.normal(size=(conditions, 1, cases))
    noise = generator.normal(size=(conditions, readers, cases))
    return truth, ratings + spread["rest"] * noise


def test_van_dyke_aurocs_of_each_reader_as_printed_by_or_dbm_mrmc():
    cine = [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066]
    spin = [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169]
    close(obuchowski_rockette(TRUTH, RATINGS).aurocs, [cine, spin], 8)


def test_van_dyke_random_readers_and_cases_as_printed_by_or_dbm_mrmc_and_mrmcaov():
    """OR-DBM MRMC 2.51 (jackknife, digits as printed); MRMCaov 0.1 prints more of the same."""
    found = obuchowski_rockette(TRUTH, RATINGS, covariance="jackknife")
    parts = found.components
    close(
        parts[4:], [0.00479617, 0.00383620, 0.00055103], 8
    )  # mean squares: conditions, readers, interaction
    close(parts[:4], [0.0008022883, 0.0003466137, 0.0003440748, 0.0002390284], 10)
    close(found.test.statistic, 4.46, 2)
    close(found.test.denominator_degrees, 15.26, 2)
    close(found.test.p, 0.0517, 4)
    difference = found.differences[0]
    close([difference.difference, difference.standard_error], [-0.04380, 0.02075], 5)
    close([difference.low, difference.high, difference.p], [-0.08796, 0.00036, 0.0517], 5 - 1)
    close([c.auroc for c in found.conditions], [0.89703704, 0.94083736], 8)
    close([c.standard_error for c in found.conditions], [0.03317360, 0.02156637], 8)
    close([c.degrees for c in found.conditions], [12.74, 12.71], 2)
    close([c.low for c in found.conditions], [0.82522360, 0.89413783], 8)
    close([c.high for c in found.conditions], [0.96885048, 0.98753689], 8)
    assert (found.cases, found.left_out) == (114, 0)


def test_van_dyke_with_the_covariance_of_delong_as_printed_by_mrmcaov():
    found = obuchowski_rockette(TRUTH, RATINGS)
    close(found.components[:4], [0.0007921325, 0.0003420090, 0.0003395265, 0.0002358497], 10)
    close(found.test.statistic, 4.484854, 6)
    close(found.test.denominator_degrees, 15.06611, 5)
    close(found.test.p, 0.05123303, 8)
    _, _, value, error, degrees, p, _, low, high = found.differences[0]
    close([value, low, high, p], [-0.04380032, -0.08786720, 0.00026655, 0.05123303], 8)
    close([error, degrees], [0.0206825, 15.06611], 5)
    close([c.low for c in found.conditions], [0.8253461, 0.8942155], 7)
    close([c.high for c in found.conditions], [0.9687280, 0.9874592], 7)


def test_van_dyke_fixed_readers_as_printed_by_or_dbm_mrmc():
    found = obuchowski_rockette(TRUTH, RATINGS, readers="fixed", covariance="jackknife")
    close(found.test.statistic, 5.47595, 5)
    close(found.test.p, 0.01927984, 8)
    assert found.test.denominator_degrees == np.inf
    _, _, value, error, _, p, _, low, high = found.differences[0]
    close([value, error, low, high], [-0.04380032, 0.01871748, -0.08048591, -0.00711473], 8)
    close(p, 0.01927984, 8)
    close([c.standard_error for c in found.conditions], [0.02428971, 0.01677632], 8)
    close([c.low for c in found.conditions], [0.84943008, 0.90795637], 8)


def test_van_dyke_fixed_cases_as_printed_by_or_dbm_mrmc():
    found = obuchowski_rockette(TRUTH, RATINGS, cases="fixed")
    close([found.test.statistic], [8.704], 3)
    assert (found.test.degrees, found.test.denominator_degrees) == (1, 4)
    close(found.test.p, 0.04195875, 8)
    _, _, _, error, degrees, p, _, low, high = found.differences[0]
    close([error, low, high, p], [0.01484629, -0.08502022, -0.00258042, 0.04195875], 8)
    assert degrees == 4
    close([c.standard_error for c in found.conditions], [0.02482994, 0.01615303], 8)
    close([c.high for c in found.conditions], [0.96597599, 0.98568536], 8)


def test_one_fixed_reader_is_the_paired_delong_test():
    for reader in range(5):
        found = obuchowski_rockette(TRUTH, RATINGS[:, [reader]], readers="fixed")
        paired = delong_test(TRUTH, RATINGS[0, reader], RATINGS[1, reader])
        difference = found.differences[0]
        assert difference.difference == pytest.approx(paired.difference)
        assert difference.standard_error == pytest.approx(paired.standard_error)
        assert (difference.p, found.test.p) == pytest.approx((paired.p, paired.p))
        assert (difference.low, difference.high) == pytest.approx((paired.low, paired.high))
        plain = delong_interval(TRUTH, RATINGS[0, reader])
        assert found.conditions[0].standard_error == pytest.approx(plain.standard_error)


def test_patients_with_several_cases_count_once():
    patients = np.arange(114) // 2
    alone = obuchowski_rockette(TRUTH, RATINGS, readers="fixed", clusters=patients)
    copies = np.tile(TRUTH, 2), np.tile(RATINGS, 2), np.tile(patients, 2)
    together = obuchowski_rockette(*copies[:2], readers="fixed", clusters=copies[2])
    assert together.components[:4] == pytest.approx(alone.components[:4])
    jackknife = obuchowski_rockette(
        *copies[:2], readers="fixed", clusters=copies[2], covariance="jackknife"
    )
    assert jackknife.components.variance == pytest.approx(alone.components.variance, rel=0.05)


def test_cases_without_truth_or_a_rating_are_left_out_and_counted():
    truth, ratings = TRUTH.astype(float), RATINGS.copy()
    truth[3], ratings[1, 2, 80] = NAN, NAN
    found = obuchowski_rockette(truth, ratings)
    kept = np.delete(np.arange(114), [3, 80])
    whole = obuchowski_rockette(TRUTH[kept], RATINGS[:, :, kept])
    assert (found.cases, found.left_out) == (112, 2)
    assert found.test == pytest.approx(whole.test)


def test_one_random_reader_tells_nothing_of_readers():
    found = obuchowski_rockette(TRUTH, RATINGS[:, :1])
    assert np.isnan([found.test.p, found.differences[0].p, found.conditions[0].low]).all()


def test_equal_conditions_have_no_test_and_one_condition_no_difference():
    same = obuchowski_rockette(TRUTH, RATINGS[[0, 0]])
    assert np.isnan(same.test.p)
    assert same.differences[0].difference == 0
    single = obuchowski_rockette(TRUTH, RATINGS[:1])
    assert single.differences == ()
    assert np.isnan(single.test.p)
    expected = obuchowski_rockette(TRUTH, RATINGS).conditions[0]
    assert single.conditions[0] == pytest.approx(expected)


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(ValueError, match="readers or cases to be random, got both fixed"):
        obuchowski_rockette(TRUTH, RATINGS, readers="fixed", cases="fixed")
    with pytest.raises(ValueError, match=r"got \(113,\) and \(2, 5, 114\)"):
        obuchowski_rockette(TRUTH[:-1], RATINGS)


def test_three_conditions_agree_with_the_same_two_when_alone():
    """The pair's difference is the same; its error is pooled over all three conditions."""
    three = np.concatenate([RATINGS, RATINGS[:1] + RATINGS[1:]])
    found = obuchowski_rockette(TRUTH, three)
    assert [(d.first, d.second) for d in found.differences] == [(0, 1), (0, 2), (1, 2)]
    assert found.test.degrees == 2
    alone = obuchowski_rockette(TRUTH, RATINGS).differences[0]
    assert found.differences[0].difference == pytest.approx(alone.difference)
    assert len({d.standard_error for d in found.differences}) == 1
    assert [d.p_holm for d in found.differences] == pytest.approx(
        list(holm([d.p for d in found.differences]))
    )


def test_conditions_that_do_not_differ_are_rarely_found_to():
    """500 studies: at 5 %, the exact 99.9 % bounds of the share found by chance."""
    generator = np.random.default_rng(0)
    found = [obuchowski_rockette(*simulated(generator)).test.p < 0.05 for _ in range(500)]
    assert 0.020 <= np.mean(found) <= 0.086
