"""The ordinal mixed model against R's clmm on the wine data, and a direct Laplace integral."""

import numpy as np
import pytest
from scipy import optimize, special

from medrobust.errors import MedrobustError
from medrobust.statistics import holm
from medrobust.study.statistics.numerical import gradient, hessian
from medrobust.study.statistics.ordinal import (
    condition_differences,
    condition_effects,
    likelihood_ratio,
    ordinal_mixed_model,
)

NAN = float("nan")
# Randall 1989, Biom. J. 31:781: bitterness 1 to 5 of eight bottles (rows) by nine judges; the
# last four were warm, every second pair had contact with the skins. `wine` of R's ordinal.
WINE = np.array(
    [
        [2, 1, 2, 3, 2, 3, 1, 2, 1], [3, 2, 3, 2, 3, 2, 1, 2, 2],
        [3, 1, 3, 3, 4, 3, 2, 2, 3], [4, 3, 2, 2, 3, 2, 2, 3, 2],
        [4, 2, 5, 3, 3, 2, 2, 3, 3], [4, 3, 5, 2, 3, 4, 3, 3, 2],
        [5, 5, 4, 5, 3, 5, 2, 3, 4], [5, 4, 4, 3, 3, 4, 3, 4, 4],
    ],
    dtype=float,
)  # fmt: skip
BOTTLE, JUDGE = (axis.ravel() for axis in np.indices(WINE.shape))
EFFECTS = {"warm": BOTTLE >= 4, "contact": BOTTLE % 4 >= 2}


def study(generator, effect=0.0, readers=4, cases=15):
    ratings = generator.normal(size=(readers, 1, 1)) + generator.normal(size=(1, cases, 1))
    ratings = ratings + generator.logistic(size=(readers, cases, 2)) + effect * np.array([0, 1])
    categories = np.digitize(ratings, [-2, -0.7, 0.7, 2])
    return categories.ravel(), [axis.ravel() for axis in np.indices(ratings.shape)]


def test_wine_as_printed_by_clmm():
    """clmm(rating ~ temp + contact + (1 | judge)); Christensen, "A tutorial on fitting
    cumulative link mixed models", and summary() of the fit.
    """
    found = ordinal_mixed_model(WINE.ravel(), EFFECTS, {"judge": JUDGE})
    warm, contact = found.effects
    assert (round(warm.value, 4), round(contact.value, 4)) == (3.0630, 1.8349)
    assert (round(warm.z, 3), round(contact.z, 3)) == (5.145, 3.580)
    assert (warm.standard_error, contact.standard_error) == pytest.approx(
        (0.5954, 0.5125), rel=3e-4
    )
    thresholds = {name: round(step.value, 4) for name, step in found.thresholds.items()}
    assert thresholds == {"1|2": -1.6237, "2|3": 1.5134, "3|4": 4.2285, "4|5": 6.0888}
    errors = [round(step.standard_error, 4) for step in found.thresholds.values()]
    assert errors == pytest.approx([0.6824, 0.6038, 0.8090, 0.9725], abs=1.1e-4)
    assert round(found.deviations["judge"] ** 2, 3) == 1.279
    assert round(found.log_likelihood, 2) == -81.57
    assert (found.parameters, found.ratings, found.left_out) == (7, 72, 0)


def test_bottles_of_the_same_wine_do_not_differ():
    """Crossed with judges, the bottles' deviation lies at 0 and changes nothing."""
    alone = ordinal_mixed_model(WINE.ravel(), EFFECTS, {"judge": JUDGE})
    crossed = ordinal_mixed_model(WINE.ravel(), EFFECTS, {"judge": JUDGE, "bottle": BOTTLE})
    assert crossed.deviations["bottle"] < 1e-3
    assert crossed.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-6)
    values = [effect.value for effect in alone.effects]
    assert [effect.value for effect in crossed.effects] == pytest.approx(values, abs=1e-3)
    assert crossed.effects[0].standard_error == pytest.approx(0.5954, rel=1e-3)


def test_the_likelihood_of_crossed_factors_is_laplace_from_its_definition():
    """The same integral by a general optimiser and a numerical curvature of the joint density."""
    ratings, (reader, case, condition) = study(np.random.default_rng(5), 1.0, 4, 8)
    effects = condition_effects(condition)
    found = ordinal_mixed_model(ratings, effects, {"reader": reader, "case": case})
    cuts = np.array([-np.inf, *(step.value for step in found.thresholds.values()), np.inf])
    _, category = np.unique(ratings, return_inverse=True)

    def loss(modes):
        readers, cases = modes[:4], modes[4:]
        predictor = found.effects[0].value * condition
        predictor = predictor + found.deviations["reader"] * readers[reader]
        predictor = predictor + found.deviations["case"] * cases[case]
        inside = special.expit(cuts[category + 1] - predictor)
        inside = inside - special.expit(cuts[category] - predictor)
        return -np.log(inside).sum() + modes @ modes / 2

    mode = optimize.minimize(loss, np.zeros(12), options={"gtol": 1e-7}).x
    expected = -loss(mode) - np.linalg.slogdet(hessian(loss, mode))[1] / 2
    assert min(found.deviations.values()) > 0.1
    assert found.log_likelihood == pytest.approx(expected, abs=1e-4)


def test_the_estimates_are_a_maximum():
    """Without effects and with deviations known, no threshold nearby is more likely."""
    ratings, (reader, case, condition) = study(np.random.default_rng(1), 1.0)
    groups = {"reader": reader, "case": case}
    best = ordinal_mixed_model(ratings, condition_effects(condition), groups)
    reordered = np.random.default_rng(2).permutation(ratings.size)
    again = ordinal_mixed_model(
        ratings[reordered],
        {name: column[reordered] for name, column in condition_effects(condition).items()},
        {name: levels[reordered] for name, levels in groups.items()},
    )
    assert again.log_likelihood == pytest.approx(best.log_likelihood, abs=1e-6)
    assert again.effects[0].value == pytest.approx(best.effects[0].value, abs=1e-3)
    null = ordinal_mixed_model(ratings, {}, groups)
    test = likelihood_ratio(best, null)
    assert test.degrees == 1
    assert test.statistic == pytest.approx(2 * (best.log_likelihood - null.log_likelihood))
    # The likelihood-ratio and the Wald test of one effect agree in large samples.
    assert test.statistic == pytest.approx(best.effects[0].z ** 2, rel=0.15)


def test_turning_the_scale_round_turns_the_effects():
    one = ordinal_mixed_model(WINE.ravel(), EFFECTS, {"judge": JUDGE})
    other = ordinal_mixed_model(6 - WINE.ravel(), EFFECTS, {"judge": JUDGE})
    assert other.effects[0].value == pytest.approx(-one.effects[0].value, abs=1e-4)
    assert other.thresholds["1|2"].value == pytest.approx(-one.thresholds["4|5"].value, abs=1e-3)


def test_missing_ratings_are_left_out_and_counted_and_unused_categories_skipped():
    ratings = WINE.ravel().copy()
    ratings[[5, 9]] = NAN
    kept = ~np.isnan(ratings)
    found = ordinal_mixed_model(2 * ratings, EFFECTS, {"judge": JUDGE})
    without = ordinal_mixed_model(
        ratings[kept], {k: v[kept] for k, v in EFFECTS.items()}, {"judge": JUDGE[kept]}
    )
    assert (found.ratings, found.left_out) == (70, 2)
    assert found.log_likelihood == pytest.approx(without.log_likelihood)
    assert list(found.thresholds) == ["2|4", "4|6", "6|8", "8|10"]


def test_an_effect_is_recovered_and_its_interval_covers():
    generator, values, covered = np.random.default_rng(3), [], 0
    for _ in range(15):
        ratings, (reader, case, condition) = study(generator, 1.0, 6, 20)
        effect = ordinal_mixed_model(
            ratings, condition_effects(condition), {"reader": reader, "case": case}
        ).effects[0]
        values.append(effect.value)
        covered += effect.low <= 1 <= effect.high
    assert np.mean(values) == pytest.approx(1, abs=0.25)
    assert covered >= 11


def test_conditions_become_columns_against_a_reference():
    columns = condition_effects(["b", "a", "c", "a"])
    assert {name: list(column) for name, column in columns.items()} == {
        "b": [1, 0, 0, 0],
        "c": [0, 0, 1, 0],
    }
    assert list(condition_effects(["b", "a", "c"], reference="c")) == ["a", "b"]


def test_pairs_of_conditions_are_those_of_another_reference():
    generator = np.random.default_rng(4)
    ratings = generator.normal(size=(3, 1, 1)) + generator.logistic(size=(3, 12, 3))
    ratings = np.digitize(ratings + 0.5 * np.arange(3), [-1, 0, 1.5]).ravel()
    reader, case, condition = (axis.ravel() for axis in np.indices((3, 12, 3)))
    groups = {"reader": reader, "case": case}
    first = ordinal_mixed_model(ratings, condition_effects(condition), groups)
    last = ordinal_mixed_model(ratings, condition_effects(condition, 2), groups)
    found = condition_differences(first, "0")
    assert [(d.first, d.second) for d in found] == [("0", "1"), ("0", "2"), ("1", "2")]
    for difference, effect in zip(found[1:], last.effects, strict=True):
        assert difference.log_odds == pytest.approx(effect.value, abs=1e-3)
        assert difference.standard_error == pytest.approx(effect.standard_error, rel=1e-3)
        assert (difference.low, difference.high) == pytest.approx(
            (effect.low, effect.high), abs=2e-3
        )
    assert [d.p_holm for d in found] == pytest.approx(list(holm([d.p for d in found])))


def test_what_cannot_be_fitted_is_said():
    with pytest.raises(MedrobustError, match="expected at least two different ratings, found 1"):
        ordinal_mixed_model(np.ones(72), EFFECTS, {"judge": JUDGE})
    with pytest.raises(MedrobustError, match="expected at least two levels of judge, found 1"):
        ordinal_mixed_model(WINE.ravel(), EFFECTS, {"judge": np.zeros(72)})
    separated = {"condition": BOTTLE >= 4}
    with pytest.raises(MedrobustError, match="its estimate is infinite, use rank tests instead"):
        ordinal_mixed_model(1.0 + (BOTTLE >= 4), separated, {"judge": JUDGE})
    model = ordinal_mixed_model(WINE.ravel(), EFFECTS, {"judge": JUDGE})
    with pytest.raises(ValueError, match="the larger of two models of the same ratings first"):
        likelihood_ratio(model, model)


def test_derivatives_of_known_functions():
    at = np.array([0.3, -0.2])
    slope = gradient(lambda x: np.array([np.exp(x[0]) * x[1]]), at)
    np.testing.assert_allclose(slope[:, 0], [np.exp(0.3) * -0.2, np.exp(0.3)], rtol=1e-6)
    second = hessian(lambda x: float(np.exp(x[0]) * x[1] + x[1] ** 3), at)
    expected = [[-0.2 * np.exp(0.3), np.exp(0.3)], [np.exp(0.3), -1.2]]
    np.testing.assert_allclose(second, expected, rtol=1e-5)
