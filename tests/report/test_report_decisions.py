from dataclasses import replace

import numpy as np

from medrobust.report.decisions import finding_operating_table, mcnemar_table, operating_table
from medrobust.report.material import Material
from medrobust.report.terms import CLEAN
from medrobust.report.text import number, p_value
from medrobust.statistics import holm, mcnemar


def test_every_kind_of_threshold_has_two_columns(material: Material, plain: Material) -> None:
    table = operating_table(material)
    assert table.columns == [
        "Condition and model",
        "Youden's index: sensitivity",
        "Youden's index: specificity",
        "95 % sensitivity wanted: sensitivity",
        "95 % sensitivity wanted: specificity",
        "95 % specificity wanted: sensitivity",
        "95 % specificity wanted: specificity",
    ]
    assert [group.head for group in table.groups] == ["Clean", "Strong attack, ε = 4/255"]
    clean, attacked = (group.rows[0].cells for group in table.groups)
    assert [cell.main for cell in clean[2:]] == ["0.940", "0.600", "0.550", "0.950"]
    assert [cell.main for cell in attacked[2:]] == ["0.740", "0.400", "0.350", "0.750"]
    assert [bool(cell.mark) for cell in (clean[0], attacked[0])] == [False, True]
    assert len(operating_table(plain).columns) == 3


def test_thresholds_stand_beside_what_they_give(material: Material) -> None:
    table = finding_operating_table(material)
    rows = material.numbers.runs[0].metrics
    chosen = rows[(rows["metric"] == "threshold") & (rows["finding"] == "Nodule")]["value"].iloc[0]
    (row,) = [row for row in table.groups[0].rows if row.head == "Nodule"]
    assert row.cells[0].main == number(chosen)
    assert row.cells[3].main == "0.300"


def test_decisions_are_compared_at_the_chosen_thresholds(material: Material) -> None:
    table = mcnemar_table(material)
    assert table is not None
    assert len(table.groups) == 2 * 6
    assert table.groups[0].head == "adversarial against standard, clean images"
    assert table.groups[6].head == (
        "adversarial against standard (\N{BLACK FLAG} flagged), strong attack, ε = 4/255"
    )
    tests = []
    for finding in material.numbers.findings:
        decided = []
        for run, arm in zip(
            material.numbers.runs[1::-1], material.numbers.arms[1::-1], strict=True
        ):
            pair = material.labelled(run, arm, CLEAN)
            assert pair is not None
            rows = run.metrics
            cut = rows[(rows["metric"] == "threshold") & (rows["finding"] == finding)]["value"]
            decided.append(pair[0][finding] >= cut.iloc[0])
        tests.append(mcnemar(pair[1][finding], *decided))
    adjusted = holm(np.array([test.p for test in tests]))
    for row, test, corrected in zip(table.groups[0].rows, tests, adjusted, strict=True):
        assert [cell.main for cell in row.cells] == [
            *(str(test.only_first), str(test.only_second)),
            *(p_value(test.p), p_value(corrected)),
        ]


def test_without_labels_there_is_no_test(material: Material) -> None:
    assert mcnemar_table(replace(material, table=None)) is None
