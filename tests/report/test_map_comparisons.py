from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medrobust.explain.summary import between_models
from medrobust.report.map_comparisons import (
    MapComparison,
    between_sentences,
    between_table,
    compare_models,
)
from medrobust.report.numbers import Numbers
from medrobust.report.read import SCORE_COLUMNS
from medrobust.report.scored import ALL, REDRAWS, Scored

HIGH, LOW = [1.0] * 16, [0.0] * 12 + [1.0] * 4


def rows(
    branch: str,
    values: Sequence[float],
    score: str = "hit_rate",
    finding: str = "Nodule",
    method: str = "gradient",
) -> pd.DataFrame:
    found = [
        ("blobs", "test", branch, method, finding, f"i{number}", score, value)
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(found, columns=SCORE_COLUMNS)


def compared(numbers: Numbers, *tables: pd.DataFrame) -> list[MapComparison]:
    """Of standard, adversarial and both seeds of dual, with a table each."""
    runs = [replace(r, scores=t) for r, t in zip(numbers.runs, tables, strict=True)]
    return compare_models(Scored(Numbers(runs, numbers.evaluation), {}))


@pytest.fixture
def four(numbers: Numbers) -> list[MapComparison]:
    dual = pd.concat([rows("clean", LOW), rows("adv", HIGH)])
    return compared(numbers, rows("single", LOW), rows("single", LOW[::-1]), dual, dual)


def test_every_model_with_standard_and_adv_with_adversarial(four: list[MapComparison]) -> None:
    assert [(one.head, one.note) for one in four] == [
        ("adversarial − standard", "seed 0"),
        ("dual · clean branch − standard", "seed 0"),
        ("dual · adversarial branch − standard", "seed 0"),
        ("dual · adversarial branch − adversarial", "seed 0"),
    ]


def test_sentences(four: list[MapComparison]) -> None:
    first, second, third, _ = between_sentences(four)
    assert first == (
        "The gradient maps of adversarial and of standard: hit rate 0.25 cannot be told from 0.25 "
        "(difference +0.00, −0.31 to +0.31, p (Holm) = 1.000)."
    )
    assert "dual and of standard: hit rate 0.25 cannot be told from 0.25" in second
    assert third == (
        "The gradient maps of the adversarial branch of dual and of standard: hit rate 1.00 is "
        "higher than 0.25 (difference +0.75, +0.56 to +0.94, p (Holm) < 0.001)."
    )


def test_the_table_holds_what_the_summary_says(four: list[MapComparison]) -> None:
    table = between_table(four, [ALL])
    assert table is not None
    assert [group.head for group in table.groups] == ["Hit rate, gradient"]
    images = {f"i{number}": f"i{number}" for number in range(16)}
    (row,) = between_models(rows("adv", HIGH), rows("single", LOW), images, REDRAWS).itertuples()
    cells = table.groups[0].rows[2].cells
    assert [cell.main for cell in cells] == [
        *("16", "1.00", "0.25", "+0.75"),
        *([f"{row.p:.3f}" if row.p >= 0.001 else "< 0.001"] * 2),
    ]
    assert cells[3].note == f"+{row.low:.2f} to +{row.high:.2f}"


def test_of_findings_and_scores(numbers: Numbers) -> None:
    tables = []
    for branch in ("single", "single", "adv", "adv"):
        values = HIGH if branch == "adv" else LOW
        parts = [rows(branch, values, finding=name) for name in ("Nodule", "Mass")]
        parts += [rows(branch, LOW, "iou"), rows(branch, values, method="centre")]
        tables.append(pd.concat(parts))
    found = compared(numbers, *tables)
    whole, each = between_table(found, [ALL]), between_table(found, ["Nodule", "Mass"])
    assert whole is not None
    assert each is not None
    assert [group.head for group in whole.groups] == [
        "Hit rate, gradient",
        "Overlap (IoU), gradient",
    ]
    assert whole.groups[0].rows[1].cells[0].main == "32"
    assert [group.head for group in each.groups] == [
        "Hit rate, gradient, Nodule",
        "Hit rate, gradient, Mass",
        "Overlap (IoU), gradient, Nodule",
    ]
    assert "corrected for the scores of a pair" in whole.caption
    assert "corrected for the scores and findings of a pair" in each.caption
    assert all("overlap" not in sentence for sentence in between_sentences(found))


def test_only_what_was_scored_alike_is_compared(numbers: Numbers) -> None:
    near, unknown = rows("single", HIGH, "hit_rate:10mm"), rows("adv", [np.nan] * 16)
    found = compared(numbers, rows("single", LOW), near, unknown, unknown)
    assert found == []
    assert between_table(found, [ALL]) is None
    assert between_sentences(found) == []


def test_other_branches_and_places_do_not_count(numbers: Numbers) -> None:
    elsewhere = rows("single", HIGH).assign(split="val")
    dual = pd.concat([rows("adv", HIGH), rows("adv", LOW).assign(store="other")])
    found = compared(numbers, rows("single", LOW), elsewhere, dual, dual)
    assert [one.head for one in found] == ["dual · adversarial branch − standard"]
    assert found[0].rows[0].value_a == 1


def test_seeds_that_differ_are_told(numbers: Numbers) -> None:
    none = rows("single", [])
    found = compared(numbers, rows("single", LOW), none, none, rows("adv", HIGH))
    assert [one.note for one in found] == ["seeds 1 and 0"]
