import pandas as pd
import pytest
from fake_runs import Workplace

from medrobust.comparison import paired_comparison
from medrobust.report.comparisons import (
    REDRAWS,
    Difference,
    comparison_table,
    differences,
    finding_comparison_table,
    sentence,
)
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.predicted import Predicted
from medrobust.report.terms import CLEAN, Arm, Condition
from medrobust.report.text import p_value, signed
from medrobust.statistics import holm

STANDARD, DUAL = Arm("standard", "single", "standard"), Arm("dual", "clean", "dual")


def made_up(low: float, high: float, condition: Condition = CLEAN) -> Difference:
    middle = (low + high) / 2
    row = {"finding": "macro", "difference": middle, "low": low, "high": high, "p_bootstrap": 0.02}
    return Difference(condition, DUAL, STANDARD, (0, 0), pd.DataFrame([row]))


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (
            made_up(-0.038, -0.004),
            "On clean images, the clean branch of dual is worse than standard by 0.021 (95 % "
            "interval 0.004–0.038, p = 0.020).",
        ),
        (
            made_up(0.004, 0.038, Condition("pgd", "linf", 4 / 255, "total")),
            "Under PGD, ε = 4/255, the clean branch of dual is better than standard by 0.021 (95 % "
            "interval 0.004–0.038, p = 0.020).",
        ),
        (
            made_up(-0.02, 0.01),
            "On clean images, no difference can be seen between the clean branch of dual and "
            "standard (difference −0.005, 95 % interval −0.020 to +0.010, p = 0.020).",
        ),
    ],
)
def test_sentences_say_what_the_interval_allows(difference: Difference, text: str) -> None:
    assert sentence(difference) == text


def test_every_pair_is_compared_with_the_same_seed(numbers: Numbers, workplace: Workplace) -> None:
    predicted = Predicted(numbers)
    found = differences(numbers, predicted, workplace.store.table)
    assert len(found) == 12
    assert {d.seeds for d in found} == {(0, 0)}
    first = found[0]
    assert (first.first.label, first.second.label) == ("adversarial", "standard")
    frames = [predicted.frame(numbers.runs[i], "single", CLEAN) for i in (1, 0)]
    assert frames[0] is not None
    assert frames[1] is not None
    expected = paired_comparison(frames[0], frames[1], workplace.store.table, REDRAWS)
    pd.testing.assert_frame_equal(first.rows, expected)


def test_the_table_holds_the_differences(numbers: Numbers, workplace: Workplace) -> None:
    found = differences(numbers, Predicted(numbers), workplace.store.table)
    table = comparison_table(found)
    assert [group.head for group in table.groups] == ["Clean images", "PGD, ε = 4/255"]
    assert table.groups[0].rows[0].head == "adversarial − standard"
    assert table.groups[0].rows[0].cells[2].main == signed(found[0].macro.difference)


def test_p_values_are_corrected_for_their_number(numbers: Numbers, workplace: Workplace) -> None:
    found = differences(numbers, Predicted(numbers), workplace.store.table)
    table = comparison_table(found)
    rows = [row for group in table.groups for row in group.rows]
    macros = holm([d.macro.p_bootstrap for d in found])
    assert [row.cells[-1].main for row in rows] == [p_value(p) for p in macros]
    assert table.caption.endswith("p (Holm) is corrected for the number of comparisons (12).")
    per_finding = finding_comparison_table(found)
    part = found[0].rows[found[0].rows["finding"] != "macro"]
    corrected = [p_value(p) for p in holm(part["p_delong"])]
    assert [row.cells[-1].main for row in per_finding.groups[0].rows] == corrected


def test_flagged_models_are_marked_under_attack_only(material: Material) -> None:
    assert material.table is not None
    found = differences(material.numbers, material.predicted, material.table)
    marks = {(d.first.name, d.second.name, d.condition.attack): d.marks for d in found}
    assert marks["adversarial", "standard", "strong"] == ("", "\N{BLACK FLAG} flagged")
    assert marks["adversarial", "standard", ""] == ("", "")
    attacked = next(d for d in found if d.condition.attack and d.second.name == "standard")
    assert "standard (\N{BLACK FLAG} flagged) by" in sentence(attacked)
