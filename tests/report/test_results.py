from dataclasses import replace

import numpy as np
import pandas as pd

from medrobust.report.figures import styles
from medrobust.report.numbers import Numbers
from medrobust.report.results import (
    auroc_table,
    every_condition_table,
    finding_table,
    other_tables,
    seeds_table,
)
from medrobust.report.terms import CLEAN
from medrobust.report.text import interval, number


def test_the_main_table_has_a_column_per_condition(numbers: Numbers) -> None:
    table = auroc_table(numbers, styles(numbers.arms))
    assert list(table.columns) == [
        "Model and branch",
        "Clean",
        "Noise control, ε = 4/255",
        "PGD, ε = 2/255",
        "PGD, ε = 4/255",
        "PGD, ε = 8/255",
    ]
    rows = [row for group in table.groups for row in group.rows]
    seeds = [0, 0, 0, 1, 0, 1]
    assert [row.note for row in rows] == [f"seed {s}, attack not checked" for s in seeds]
    found = numbers.get(numbers.runs[3], "clean", numbers.sweep[2])
    assert found is not None
    assert rows[3].cells[4].main == number(found.value)
    assert rows[3].cells[4].note == interval(found.low, found.high)


def test_seeds_are_averaged(numbers: Numbers) -> None:
    table = seeds_table(numbers, styles(numbers.arms))
    assert table is not None
    values = [numbers.get(run, "adv", CLEAN) for run in numbers.runs[2:]]
    pair = [e.value for e in values if e is not None]
    (row,) = [row for row in table.groups[0].rows if row.head == "dual · adversarial branch"]
    assert row.cells[0].main == f"{np.mean(pair):.3f} ± {np.std(pair, ddof=1):.3f}"


def test_one_seed_has_no_spread(numbers: Numbers) -> None:
    alone = Numbers(numbers.runs[:3], numbers.evaluation)
    assert seeds_table(alone, styles(alone.arms)) is None


def test_findings_have_both_intervals_and_their_support(numbers: Numbers) -> None:
    table = finding_table(numbers, styles(numbers.arms))
    group = table.groups[1]
    run = numbers.runs[0]
    delong = numbers.get(run, "single", CLEAN, "Nodule", interval="delong")
    assert delong is not None
    assert group.head == "Nodule"
    assert group.note.startswith(f"{int(delong.n_positive)} positive of {int(delong.n)} ")
    assert group.rows[0].cells[1].main == interval(delong.low, delong.high)


def test_what_cannot_be_scored_says_so(numbers: Numbers) -> None:
    run = numbers.runs[0]
    metrics = run.metrics.copy()
    metrics.loc[metrics["finding"] == "Nodule", ["value", "low", "high"]] = np.nan
    alone = Numbers([replace(run, metrics=metrics)], numbers.evaluation)
    group = finding_table(alone, styles(alone.arms)).groups[1]
    assert group.rows[0].cells[0].main == "not scorable"


def test_thresholds_come_from_validation(numbers: Numbers) -> None:
    run = numbers.runs[0]
    rows = run.metrics
    chosen = rows[(rows["metric"] == "threshold") & (rows["finding"] == "Nodule")]["value"]
    clean, attacked = other_tables(numbers)
    (row,) = [row for row in clean.groups[0].rows if row.head == "Nodule"]
    assert row.cells[-1].main == number(float(chosen.iloc[0]))
    assert "clean images" in clean.caption
    assert "PGD, ε = 4/255" in attacked.caption


def test_further_conditions_have_a_table_of_their_own(numbers: Numbers) -> None:
    looks = styles(numbers.arms)
    assert every_condition_table(numbers, looks) is None
    run = numbers.runs[0]
    pgd = run.metrics[run.metrics["attack"] == "pgd"]
    more = pd.concat([run.metrics, pgd.assign(attack="fgsm")], ignore_index=True)
    table = every_condition_table(Numbers([replace(run, metrics=more)], numbers.evaluation), looks)
    assert table is not None
    assert [group.head for group in table.groups] == [f"FGSM, ε = {k}/255" for k in (2, 4, 8)]
