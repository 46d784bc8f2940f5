import pytest
from fake_runs import EPS

from medrobust.report.flags import MARK, rows_of, verdicts, worst
from medrobust.report.material import Material
from medrobust.report.results import auroc_table
from medrobust.report.summary import chance_table
from medrobust.report.tables import Table
from medrobust.report.terms import CLEAN, Condition, Evaluation

STRONG = Condition("strong", "linf", round(EPS, 9), "total")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (["pass", "flag", "pass"], "flag"),
        (["not checked", "pass"], "pass"),
        (["not checked"], "not checked"),
        ([], "not checked"),
    ],
)
def test_the_worst_verdict_counts(found: list[str], verdict: str) -> None:
    assert worst(found) == verdict


def test_checks_of_other_images_do_not_count(material: Material) -> None:
    trust = material.numbers.runs[1].trust  # standard: the runs stand in the order given
    standard = material.numbers.runs[0].trust
    assert verdicts(rows_of(standard, Evaluation("blobs"))) == {("single", "linf"): "flag"}
    assert verdicts(rows_of(standard, Evaluation("blobs", checkpoint="last"))) == {}
    assert verdicts(rows_of(trust, Evaluation("blobs"))) == {}


def test_only_robust_numbers_of_a_flagged_model_are_marked(material: Material) -> None:
    numbers = material.numbers
    flagged = {
        (arm.label, condition.label): numbers.get(run, arm.branch, condition)
        for arm, run in material.models()
        for condition in numbers.shown
    }
    marked = {key for key, found in flagged.items() if found is not None and found.flagged}
    assert marked == {("standard", c.label) for c in numbers.shown if c.robust}
    assert numbers.mark(numbers.runs[0], "single", STRONG) == MARK
    assert numbers.mark(numbers.runs[0], "single", CLEAN) == ""


def marks_of(table: Table) -> dict[str, list[str]]:
    rows = (row for group in table.groups for row in group.rows)
    return {f"{row.head}, {row.note}": [cell.mark for cell in row.cells] for row in rows}


def test_tables_show_the_mark_and_say_what_was_not_checked(material: Material) -> None:
    marks = marks_of(auroc_table(material.numbers, material.looks))
    assert marks["standard, seed 0"] == ["", "", *[MARK] * 6]
    assert marks["adversarial, seed 0, attack not checked"] == [""] * 8
    marks = marks_of(chance_table(material.numbers, material.looks))
    assert marks["standard, seed 0"] == ["", "", "", MARK]
