"""Planted effects are found, and none where none was planted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import PRESENT, SCALE, make, mapped, simulated
from scipy import stats

from medrobust.data.store import Store
from medrobust.rundir import RunDir
from medrobust.study.analysis.accuracy import aurocs
from medrobust.study.analysis.effects import (
    PRIMARY,
    effects,
    factors,
    fit,
    rated,
    time_ratios,
)
from medrobust.study.analysis.ranked import ranks
from medrobust.study.analysis.read import Study
from medrobust.study.simulated import Biases

PLANTED = Biases(scale={"A": -0.5, "B": 0.5}, pace={"B": 1.5})
LEVEL = 0.05


@pytest.fixture(scope="module")
def created(
    standard_run: RunDir, tiny_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two conditions, 4 readers, 12 cases; nothing may change it."""
    root = tmp_path_factory.mktemp("effects")
    run = mapped(standard_run, tiny_store, root)
    return make(root / "study", run, tiny_store, questions=(SCALE, PRESENT))


def p_of(study: Study) -> float:
    """The main analysis' p of all conditions."""
    return fit(rated(study, "useful")).test.p


def at_most(studies: int, tail: float = 0.001) -> int:
    """False positives that true levels of 5 % exceed with this chance only."""
    return int(stats.binom.isf(tail, studies, LEVEL))


def test_a_planted_effect_is_found_with_its_sign_and_size(created: Path) -> None:
    found = effects(simulated(created, PLANTED), "useful", "useful")
    assert found.notes == []
    analyses = [row["analysis"] for row in found.differences]
    assert analyses == [
        *(PRIMARY, "reader and case only", "means with repeats", "cases with the finding"),
    ]
    for row in found.differences:
        assert (row["first"], row["second"]) == ("A", "B")
        assert row["low"] < -1.0 < row["high"] < 0, row["analysis"]
        assert row["p"] == row["p_holm"] < LEVEL
    means = {row["condition"]: row for row in found.means[:2]}
    assert means["B"]["mean"] - means["A"]["mean"] == pytest.approx(
        -found.differences[0]["difference"]
    )
    assert all(row["low"] < row["mean"] < row["high"] for row in found.means)
    [odds] = found.ordinal
    assert odds["odds_ratio"] == pytest.approx(np.exp(odds["log_odds"]))
    assert odds["odds_high"] < 1
    assert found.tests[-1]["test"] == "likelihood ratio"
    assert found.tests[-1]["p"] < 0.01
    assert {row["answers"] for row in found.tests} == {4 * 12 * 2, 4 * 8 * 2}
    assert {row["missing"] for row in found.tests} == {0}


def test_a_planted_pace_is_found(created: Path) -> None:
    [row], notes = time_ratios(simulated(created, PLANTED))
    assert notes == []
    assert row["low"] < 1 / 1.5 < row["high"] < 1


def test_nothing_is_found_where_nothing_was_planted(created: Path) -> None:
    """60 studies at 5 %: of an exact test more than the limit with a chance of 0.001."""
    found = sum(p_of(simulated(created, seed=seed)) < LEVEL for seed in range(60))
    assert found <= at_most(60)


@pytest.mark.slow
def test_levels_hold_over_two_hundred_studies(created: Path) -> None:
    """Main analysis, signed ranks of cases and AUROC; readers and cases only find far too much."""
    studies = [simulated(created, seed=seed) for seed in range(200)]
    limit = at_most(200)
    simple = [fit(rated(study, "useful"), pairs=False).test.p for study in studies]
    assert sum(p_of(study) < LEVEL for study in studies) <= limit
    assert sum(p < LEVEL for p in simple) > limit
    pairs = [{row["blocks_are"]: row["p"] for row in ranks(study, "useful", "useful")[1]}
             for study in studies]  # fmt: skip
    assert sum(row["case"] < LEVEL for row in pairs) <= limit
    assert sum(row["reader"] < LEVEL for row in pairs) <= limit
    areas = [aurocs(study, study.questions[1]).conditions for study in studies]
    assert sum(rows[0]["p_all_equal"] < LEVEL for rows in areas) <= limit


@pytest.mark.slow
def test_intervals_cover_what_was_planted(created: Path) -> None:
    rows = [
        effects(simulated(created, PLANTED, seed), "useful", "useful", ordinal=False).differences[0]
        for seed in range(200)
    ]
    truth = np.mean([row["difference"] for row in rows])
    assert truth == pytest.approx(-1.0, abs=0.05)
    missed = sum(not row["low"] < truth < row["high"] for row in rows)
    assert missed <= at_most(200)


def test_a_map_that_was_judged_twice_counts_once(created: Path) -> None:
    study = simulated(created)
    first, mean = rated(study, "useful"), rated(study, "useful", "mean")
    keys = ["reader", "case", "condition"]
    assert len(first) == len(mean) == 4 * 12 * 2
    again = study.readings[study.readings["repeat"]].assign(
        condition=lambda rows: rows["condition"].map({"A": 0, "B": 1})
    )
    both = first.merge(mean, on=keys).merge(again[[*keys, "useful"]], on=keys)
    assert len(both) == 4 * 6
    assert np.allclose(both["value_y"], (both["value_x"] + both["useful"]) / 2)
    assert (both["value_x"] != both["value_y"]).any()


def table(readers: int, cases: int, conditions: int, patients: int = 99) -> pd.DataFrame:
    reader, case, condition = np.indices((readers, cases, conditions)).reshape(3, -1)
    return pd.DataFrame(
        {"reader": reader, "case": case, "condition": condition, "patient": case % patients}
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4, 6, 2), ["reader", "case", "map", "reader by condition"]),
        ((4, 6, 1), ["reader", "case"]),
        ((1, 6, 2), ["case"]),
        ((4, 1, 2), ["reader"]),
        ((4, 6, 2, 3), ["reader", "case", "patient", "map", "reader by condition"]),
    ],
)
def test_intercepts_are_those_that_answers_can_tell_apart(size, expected) -> None:
    assert list(factors(table(*size))) == expected


def test_maps_seen_once_have_no_intercept_of_their_own() -> None:
    rows = table(2, 6, 2)
    once = rows[(rows["reader"] + rows["case"]) % 2 == rows["condition"]]
    assert list(factors(once)) == ["reader", "case", "reader by condition"]
    assert list(factors(once, pairs=False)) == ["reader", "case"]


def test_what_can_not_be_fitted_is_a_note(created: Path) -> None:
    study = simulated(created)
    flat = replace(study, readings=study.readings.assign(useful=3.0))
    found = effects(flat, "useful", "useful")
    assert found.means == found.differences == found.tests == found.ordinal == []
    assert found.notes[0] == (
        "useful, mixed model: expected ratings that vary within conditions, found 96 that do not: "
        "a mixed model needs more"
    )
    assert found.notes[-1] == (
        "useful, ordinal model: expected at least two different ratings, found 1"
    )
