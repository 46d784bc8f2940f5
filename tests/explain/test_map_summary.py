import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medrobust import statistics
from medrobust.errors import MedrobustError
from medrobust.explain.summary import (
    AGAINST,
    BASELINES,
    BETWEEN,
    SUMMARY,
    against_baselines,
    between_models,
    sign_flip_p,
    summarise,
)

NAN = float("nan")
IMAGES = [f"i{number:02d}" for number in range(40)]
PATIENTS = {image: f"p{number // 2}" for number, image in enumerate(IMAGES)}


def rows(
    method: str,
    values: Sequence[float],
    branch: str = "adv",
    finding: str = "nodule",
    score: str = "auprc",
) -> pd.DataFrame:
    """A score of the first images."""
    return pd.DataFrame(
        {
            **{"store": "phantom", "split": "test", "branch": branch, "method": method},
            **{"finding": finding, "image_id": IMAGES[: len(values)], "score": score},
            "value": np.array(values, float),
        }
    )


def drawn(mean: float, seed: int) -> list[float]:
    values: list[float] = np.random.default_rng(seed).normal(mean, 0.1, len(IMAGES)).tolist()
    return values


def table(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def only(found: pd.DataFrame, **wanted: str) -> pd.Series:
    same = np.logical_and.reduce([found[name] == value for name, value in wanted.items()])
    assert same.sum() == 1
    return found[same].iloc[0]


def refusal(*scores: pd.DataFrame, patients: Mapping[str, str] = PATIENTS) -> str:
    with pytest.raises(MedrobustError) as caught:
        (summarise if len(scores) == 1 else between_models)(*scores, patients, redraws=100)
    return str(caught.value)


def test_means_and_intervals_are_those_of_the_patients_bootstrap() -> None:
    values = drawn(0.3, 0)
    found = summarise(rows("gradient", values), PATIENTS, redraws=500, seed=3)
    assert list(found.columns) == list(SUMMARY)
    low, high, _ = statistics.bootstrap_interval(
        statistics.weighted_mean(values), list(PATIENTS.values()), 500, 3
    )
    row = found.iloc[0]
    assert (row["value"], row["low"], row["high"]) == pytest.approx((np.mean(values), low, high))
    assert (row["n"], row["n_not_scorable"]) == (40, 0)


def test_what_is_not_scorable_is_counted_and_left_out() -> None:
    scores = table(
        rows("gradient", [0.2, NAN, 0.4, NAN]),
        rows("grad-cam", [NAN, NAN]),
        rows("gradient", [1.0], finding="effusion"),
    )
    found = summarise(scores, PATIENTS, redraws=200)
    row = only(found, method="gradient", finding="nodule")
    assert (row["value"], row["n"], row["n_not_scorable"]) == (pytest.approx(0.3), 2, 2)
    row = only(found, method="grad-cam", finding="nodule")
    assert np.isnan([row["value"], row["low"], row["high"]]).all()
    assert (row["n"], row["n_not_scorable"]) == (0, 2)
    row = only(found, method="gradient", finding="effusion")
    assert (row["value"], row["low"], row["high"], row["n"]) == (1, 1, 1, 1)


def test_every_method_branch_and_score_has_a_row() -> None:
    scores = table(
        *(
            rows("gradient", [0.1, 0.2], branch, score=s)
            for branch in ("clean", "adv")
            for s in "ab"
        ),
        rows("area", [0.1, 0.1], branch="", score="a"),
        rows("edge", [0.1, 0.1], score="a").assign(branch=None),  # an empty cell of a file
    )
    found = summarise(scores, PATIENTS, redraws=100)
    assert len(found) == 6
    assert sorted(set(found["branch"])) == ["", "adv", "clean"]


def against(*parts: pd.DataFrame, redraws: int = 2000) -> pd.DataFrame:
    found = against_baselines(table(*parts), PATIENTS, redraws=redraws)
    assert list(found.columns) == list(AGAINST)
    return found


def baselines(means: Mapping[str, float]) -> list[pd.DataFrame]:
    return [rows(name, drawn(mean, seed), "") for seed, (name, mean) in enumerate(means.items())]


def test_a_method_that_beats_every_baseline_wins() -> None:
    weak = baselines(dict.fromkeys(BASELINES, 0.2))
    found = against(rows("gradient", drawn(0.5, 9)), *weak)
    assert found["baseline"].tolist() == list(BASELINES)
    assert (found["wins"] == 1).all()
    assert (found["low"] > 0).all()


def test_one_baseline_is_enough_to_lose_to() -> None:
    means = dict.fromkeys(BASELINES, 0.2) | {"centre": 0.5}
    found = against(rows("gradient", drawn(0.5, 9)), *baselines(means))
    assert (found["wins"] == 0).all()
    assert only(found, baseline="edge")["p_holm"] < 0.05
    assert only(found, baseline="centre")["p_holm"] > 0.05


def test_a_method_worse_than_a_baseline_does_not_win() -> None:
    found = against(rows("gradient", drawn(0.2, 9)), rows("centre", drawn(0.5, 1), ""))
    row = found.iloc[0]
    assert row["p_holm"] < 0.05
    assert row["difference"] < 0
    assert row["wins"] == 0


def test_differences_are_paired() -> None:
    base = drawn(0.5, 1)
    better = [value + 0.001 * (1 + (number % 3)) for number, value in enumerate(base)]
    row = against(rows("gradient", better), rows("edge", base, "")).iloc[0]
    assert row["difference"] == pytest.approx(np.mean(better) - np.mean(base))
    assert row["low"] > 0
    lacking = [NAN, *better[1:]]
    row = against(rows("gradient", lacking), rows("edge", base, "")).iloc[0]
    assert row["difference"] == pytest.approx(np.mean(better[1:]) - np.mean(base[1:]))
    assert row["n"] == 39
    edge = summarise(rows("edge", [NAN, *base[1:]], ""), PATIENTS, redraws=2000)
    expected = only(edge, method="edge")
    assert row[["baseline_value", "baseline_low", "baseline_high"]].tolist() == pytest.approx(
        expected[["value", "low", "high"]].tolist()
    )


def test_holm_is_over_the_baselines_of_one_method() -> None:
    weak = baselines({"area": 0.45, "centre": 0.48, "edge": 0.3})
    alone = against(rows("gradient", drawn(0.5, 9)), *weak)
    np.testing.assert_array_equal(alone["p_holm"], statistics.holm(alone["p"]))
    both = against(rows("gradient", drawn(0.5, 9)), rows("grad-cam", drawn(0.5, 8)), *weak)
    again = both[both["method"] == "gradient"]["p_holm"]
    np.testing.assert_array_equal(again, alone["p_holm"])


def test_untrained_maps_belong_to_their_method_and_branch() -> None:
    found = against(
        rows("gradient", [0.5, 0.6]),
        rows("grad-cam", [0.5, 0.6]),
        rows("untrained:gradient", [0.1, 0.1], ""),
        rows("untrained:grad-cam", [0.2, 0.2], ""),
        rows("centre", [0.3, 0.3], "clean"),
        redraws=100,
    )
    pairs = found[["method", "baseline"]].to_numpy().tolist()
    assert sorted(pairs) == [
        ["grad-cam", "untrained:grad-cam"],
        ["gradient", "untrained:gradient"],
    ]


def test_a_baseline_that_is_not_scorable_is_not_beaten() -> None:
    found = against(
        rows("gradient", drawn(0.5, 9)),
        rows("area", drawn(0.1, 1), ""),
        rows("edge", [NAN] * 40, ""),
    )
    assert (found["wins"] == 0).all()
    assert np.isnan(only(found, baseline="edge")["p_holm"])
    assert only(found, baseline="area")["p_holm"] < 0.05


def test_without_baselines_there_is_nothing_to_compare() -> None:
    assert against(rows("gradient", [0.1, 0.2])).empty


def test_models_on_the_same_images() -> None:
    first, second = drawn(0.5, 1), drawn(0.3, 2)
    found = between_models(
        table(rows("gradient", first), rows("gradient", drawn(0.3, 3), score="iou")),
        table(
            rows("gradient", second[1:], "single").assign(image_id=IMAGES[1:]),
            rows("gradient", drawn(0.3, 4), "single", score="iou"),
            rows("centre", second, ""),
        ),
        PATIENTS,
        redraws=2000,
    )
    assert list(found.columns) == list(BETWEEN)
    row = only(found, score="auprc")
    means = (np.mean(first[1:]), np.mean(second[1:]))
    assert (row["value_a"], row["value_b"]) == pytest.approx(means)
    assert row["difference"] == pytest.approx(means[0] - means[1])
    assert (row["n"], row["method"], row["finding"]) == (39, "gradient", "nodule")
    assert row["p_holm"] == min(1, 2 * row["p"]) < 0.05
    assert only(found, score="iou")["p_holm"] > 0.05
    assert len(found) == 2


def test_a_model_does_not_differ_from_itself() -> None:
    scores = rows("gradient", drawn(0.5, 1))
    row = between_models(scores, scores, PATIENTS, redraws=200).iloc[0]
    assert (row["difference"], row["low"], row["high"], row["p"], row["p_holm"]) == (0, 0, 0, 1, 1)


def test_exchanged_models_change_the_sign_alone() -> None:
    one, other = rows("gradient", drawn(0.5, 1)), rows("gradient", drawn(0.48, 2))
    there = between_models(one, other, PATIENTS, redraws=500).iloc[0]
    back = between_models(other, one, PATIENTS, redraws=500).iloc[0]
    assert there["difference"] == pytest.approx(-back["difference"])
    assert there["low"] == pytest.approx(-back["high"])
    assert there["p"] == back["p"]


@pytest.mark.parametrize("patients", range(1, 7))
def test_few_patients_cannot_give_a_small_p(patients: int) -> None:
    """All of one sign: 2 of the 2^k signs, however many images the patients have."""
    differences = np.tile(np.linspace(0.1, 0.2, patients), 5)[:, None]
    clusters = np.tile(np.arange(patients).astype(str), 5)
    p = sign_flip_p(differences, clusters)[0]
    assert p == pytest.approx(2.0 ** (1 - patients), abs=0.02)


def test_p_is_that_of_all_signs_and_of_scipy() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, (10, 3)).round(1)
    signs = np.array(list(product([-1, 1], repeat=10)))
    sums = np.abs(signs @ differences)
    exact = (sums >= np.abs(differences.sum(axis=0)) - 1e-9).mean(axis=0)
    found = sign_flip_p(differences, np.arange(10).astype(str), redraws=40_000)
    np.testing.assert_allclose(found, exact, atol=0.01)
    scipy = stats.permutation_test(
        (differences[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert scipy.pvalue == pytest.approx(exact[0])


def test_p_needs_differences() -> None:
    differences = np.array([[NAN, 0.0, 0.5], [NAN, 0.0, NAN]])
    found = sign_flip_p(differences, np.array(["a", "b"]), redraws=100)
    np.testing.assert_array_equal(found, [NAN, 1, 1])


def test_p_does_not_depend_on_the_order_of_images() -> None:
    differences, clusters = np.array(drawn(0.02, 1))[:, None], np.array([*PATIENTS.values()])
    order = np.random.default_rng(1).permutation(len(clusters))
    found = sign_flip_p(differences[order], clusters[order], 500)
    assert found == sign_flip_p(differences, clusters, 500)


@pytest.mark.parametrize("shape", ["normal", "skewed", "hits"])
def test_p_keeps_its_level(shape: str) -> None:
    """Differences of 20 patients, two images each, whose mean is 0."""
    generator = np.random.default_rng(0)
    size = (20, 2000)
    drawn = {
        "normal": generator.normal(size=size),
        "skewed": generator.exponential(size=size) - 1,
        "hits": (generator.random(size) < 0.3) * 1.0 - (generator.random(size) < 0.3),
    }[shape]
    p = sign_flip_p(np.repeat(drawn, 2, axis=0), np.repeat(np.arange(20), 2).astype(str), 1000)
    assert np.mean(p <= 0.05) < (0.09 if shape == "skewed" else 0.065)
    wins = np.mean((p <= 0.05) & (drawn.mean(axis=0) > 0))
    assert wins < 0.035


def test_several_stores_are_refused() -> None:
    scores = table(rows("gradient", [0.1]), rows("gradient", [0.1]).assign(store="other"))
    assert refusal(scores) == (
        "scores: expected those of one store and split, found phantom/test, other/test; choose one"
    )


def test_repeated_rows_are_refused() -> None:
    assert refusal(table(rows("gradient", [0.1]), rows("gradient", [0.2]))) == (
        "scores: expected one row for each image, found several of gradient, nodule, auprc, image "
        "i00; explain again"
    )


def test_images_without_patient_are_refused() -> None:
    assert refusal(rows("gradient", [0.1, 0.2]), patients={"i01": "p"}) == (
        "patients: expected one for every image, found none for 1 of them, such as i00; take them "
        "from the store that was explained"
    )


def test_several_branches_of_a_model_are_refused() -> None:
    both = table(rows("gradient", [0.1]), rows("gradient", [0.1], "clean"))
    assert refusal(rows("gradient", [0.1]), both) == (
        "scores: expected one branch of each model, found adv, clean; choose one"
    )


@pytest.mark.parametrize(
    "other", [rows("grad-cam", [0.1]), rows("gradient", [0.1]).assign(image_id="i39")]
)
def test_models_with_nothing_in_common_are_refused(other: pd.DataFrame) -> None:
    assert refusal(rows("gradient", [0.1]), other) == (
        "scores: expected two models with the same scores of the same images, found none in "
        "common; explain both on one store, with one method"
    )


def test_reports_can_use_it_without_torch() -> None:
    code = "import sys, medrobust.explain.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
