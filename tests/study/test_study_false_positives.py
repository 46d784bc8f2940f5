"""The machinery of the benchmark of false positives, on a few small studies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import benchmark
from scipy import stats

from medrobust.study.planted import expected_step
from medrobust.study.simulated import Biases


@pytest.fixture(scope="module")
def bench() -> Any:
    """The benchmark's module."""
    return benchmark("study_false_positives")


@pytest.fixture(scope="module")
def study(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 readers, 6 cases, 2 conditions; nothing may change it."""
    return bench.design(tmp_path_factory.mktemp("design"), 3, 6, 2)


def test_answers_are_those_of_a_crossed_study(bench: Any, study: Path) -> None:
    rows = bench.answered(study, Biases(), seed=1)
    assert len(rows) == len(rows.drop_duplicates(["reader", "case", "condition"])) == 3 * 6 * 2
    assert sorted(rows["condition"].unique()) == [0, 1]
    assert rows["patient"].nunique() == rows["case"].nunique() == 6
    assert (rows["value"] != bench.answered(study, Biases(), seed=2)["value"]).any()


def test_a_large_effect_is_found_and_none_is_not(bench: Any, study: Path) -> None:
    still = {"readers": 0.0, "cases": 0.0, "maps": 0.1, "preferences": 0.1, "noise": 0.6}
    biases = {"none": Biases(**still), "large": Biases(scale={"method-2": 2.0}, **still)}
    table = {row["test"]: row for row in bench.summary(study, biases, studies=4, ordinal=1)}
    assert list(table) == [
        "mixed model, F test",
        "mixed model, smallest p of pairs by Holm",
        "mixed model, first and last condition",
        "interval of their difference holds it",
        "reader and case only, F test",
        "ordinal model, likelihood ratio",
        *(f"Friedman, blocks are {unit}s" for unit in ("reading", "case", "reader")),
        "Wilcoxon of cases, smallest p by Holm",
    ]
    assert table["Friedman, blocks are readings"]["large"].startswith("100.0 % (")
    assert table["mixed model, F test"]["large"].startswith("100.0 % (")
    assert table["ordinal model, likelihood ratio"]["large"] == "100.0 % (2.5 to 100.0)"
    assert not table["Friedman, blocks are readings"]["none"].startswith("100.0 %")


def test_shares_have_exact_intervals(bench: Any) -> None:
    """The bounds are the rates at which so many, or so few, have a chance of 2.5 %."""
    low, high = bench.Share(9, 200).interval
    assert stats.binom.sf(8, 200, low) == pytest.approx(0.025)
    assert stats.binom.cdf(9, 200, high) == pytest.approx(0.025)
    assert str(bench.Share(9, 200)) == f"4.5 % ({100 * low:.1f} to {100 * high:.1f})"


def test_rows_become_a_table(bench: Any) -> None:
    assert bench.markdown([{"test": "F", "none": "5 %"}]) == (
        "| test | none |\n| --- | --- |\n| F | 5 % |"
    )


def test_expected_steps_are_the_mean_of_rounded_and_clipped_values() -> None:
    biases = Biases(scale={"B": 1.3}, readers=1.0, cases=0.5, maps=0.4, preferences=0.2, noise=0.9)
    spread = np.sqrt(1.0**2 + 0.5**2 + 0.4**2 + 0.2**2 + 0.9**2)
    edges = [-np.inf, *np.arange(5) + 0.5, np.inf]
    for condition, middle in (("A", 2.5), ("B", 3.8)):
        chances = np.diff(stats.norm.cdf(edges, middle, spread))
        expected = expected_step(biases, condition, 6)
        assert expected == pytest.approx(np.arange(6) @ chances)
    assert expected_step(biases, "A", 6) == pytest.approx(2.5)
