from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medrobust.report.explanations import (
    Scored,
    explanation_tables,
    mean_with_interval,
    verdicts,
)
from medrobust.report.figures import styles
from medrobust.report.numbers import Numbers
from medrobust.report.read import SCORE_COLUMNS


def scored(numbers: Numbers, values: dict[str, list[float]], branch: str = "single") -> Scored:
    """The standard run with these hit rates by method, one image each."""
    rows = [
        ("blobs", "test", "" if method == "centre" else branch, method, "Nodule", f"i{i}", score, v)
        for method, scores in values.items()
        for i, v in enumerate(scores)
        for score in ("hit_rate", "mass_accuracy")
    ]
    run = replace(numbers.runs[0], scores=pd.DataFrame(rows, columns=SCORE_COLUMNS))
    return Scored(Numbers([run], numbers.evaluation), {})


def test_the_interval_of_a_mean_is_that_of_normal_theory() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = mean_with_interval(values, np.arange(400))
    half = 1.96 * values.std() / 20
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx(
        (found.value - half, found.value + half), abs=0.02
    )


def test_images_of_one_patient_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=100), 4)
    together = mean_with_interval(values, np.repeat(np.arange(100), 4))
    apart = mean_with_interval(values, np.arange(400))
    assert together.high - together.low > 1.6 * (apart.high - apart.low)


@pytest.mark.parametrize(
    ("own", "claim"),
    [
        ([1.0] * 20, "hit rate 1.00 beats every baseline (centre prior 0.50, difference +0.50, "),
        ([0.0] * 20, "hit rate 0.00 is worse than a baseline that knows nothing of the finding "),
        ([1.0, 0.0] * 10, "hit rate 0.50 cannot be told from the strongest baseline (centre "),
    ],
)
def test_verdicts(numbers: Numbers, own: list[float], claim: str) -> None:
    given = {"gradient": own, "centre": [1.0, 1.0, 0.0, 0.0] * 5, "untrained": [0.0] * 20}
    (sentence,) = verdicts(scored(numbers, given))
    assert sentence.startswith(f"The maps of standard: {claim}")
    assert "; mass accuracy " in sentence


def test_tables_hold_the_means(numbers: Numbers) -> None:
    given = scored(numbers, {"gradient": [1, 1, 1, 0], "centre": [1, 0, 0, 0]})
    looks = styles(given.numbers.arms)
    hit_rate, mass = explanation_tables(given, looks, per_finding=False)
    assert hit_rate.columns == [
        "Method, model and branch",
        "Images",
        "Map",
        "Centre prior",
        "Map − best baseline",
    ]
    cells = [cell.main for cell in hit_rate.groups[0].rows[0].cells]
    assert cells == ["4", "0.75", "0.25", "+0.50"]
    assert mass.groups[0].rows[0].cells[1].main == "0.750"
    per_finding = explanation_tables(given, looks, per_finding=True)
    assert [group.head for group in per_finding[0].groups] == ["gradient, Nodule"]


def test_no_baseline_no_verdict(numbers: Numbers) -> None:
    assert verdicts(scored(numbers, {"gradient": [1.0, 0.0]})) == []


def test_no_scores_no_tables(numbers: Numbers) -> None:
    empty = scored(numbers, {})
    assert explanation_tables(empty, {}, per_finding=False) == []
    assert verdicts(empty) == []


def test_each_method_has_the_untrained_network_of_its_own(numbers: Numbers) -> None:
    given = {
        **{"gradient": [1.0, 0.0], "untrained:gradient": [0.0, 0.0]},
        **{"grad-cam": [1.0, 1.0], "untrained:grad-cam": [1.0, 0.0]},
    }
    tables = scored(numbers, given)
    hit_rate, _ = explanation_tables(tables, styles(tables.numbers.arms), per_finding=False)
    assert hit_rate.columns[3] == "Untrained network"
    means = {group.head: [c.main for c in group.rows[0].cells[1:3]] for group in hit_rate.groups}
    assert means == {"gradient": ["0.50", "0.00"], "grad-cam": ["1.00", "0.50"]}


def test_the_share_inside_an_anatomy_has_a_table(numbers: Numbers) -> None:
    given = scored(numbers, {"gradient": [0.2, 0.4]})
    inside = given.numbers.runs[0].scores.assign(score="inside:left lung+right lung")
    run = replace(given.numbers.runs[0], scores=inside)
    given = Scored(Numbers([run], numbers.evaluation), {})
    (table,) = explanation_tables(given, styles(given.numbers.arms), per_finding=False)
    assert table.caption.startswith("Share of the map's strength inside left lung, right lung. ")
    assert verdicts(given) == []
