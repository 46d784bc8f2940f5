from dataclasses import replace

import numpy as np

from medrobust.report.corruptions import (
    corruption_figures,
    corruption_names,
    corruption_sentence,
    corruption_table,
)
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.results import every_condition_table
from medrobust.report.text import number


def value_of(material: Material, corruption: str, severity: int) -> float:
    rows = material.numbers.runs[0].metrics
    row = rows[(rows["attack"] == f"corruption:{corruption}") & (rows["eps"] == severity)]
    return float(row["value"].iloc[0])


def test_the_sentence_quotes_the_mean_of_severity_3(material: Material) -> None:
    assert corruption_names(material.numbers) == ["blur", "gaussian noise"]
    mean = np.mean([value_of(material, name, 3) for name in ("blur", "gaussian noise")])
    sentence = corruption_sentence(material.numbers)
    assert sentence.startswith(
        f"Averaged over 2 corruptions of severity 3 of 5, the macro AUROC is: standard "
        f"{number(mean, 2)} (clean 0."
    )


def test_a_figure_each_and_one_of_all(material: Material) -> None:
    figures = corruption_figures(material)
    titles = [figure.alt.partition(":")[0] for figure in figures]
    assert titles == ["Mean of all corruptions", "Blur", "Gaussian noise"]
    told = ", ".join(number(value_of(material, "blur", s), 2) for s in range(1, 6))
    assert figures[1].alt.startswith("Blur: macro AUROC at severities 0 to 5. standard 0.")
    assert f", {told};" in figures[1].alt


def test_the_table_has_a_column_per_severity(material: Material) -> None:
    table = corruption_table(material)
    assert table.columns[1:] == ["Clean", *(f"Severity {s}" for s in range(1, 6))]
    assert [group.head for group in table.groups] == ["Blur", "Gaussian noise"]
    assert table.groups[0].rows[0].cells[5].main == number(value_of(material, "blur", 5))


def test_corruptions_stand_nowhere_else(material: Material) -> None:
    table = every_condition_table(material.numbers, material.looks)
    assert table is not None
    assert [group.head for group in table.groups] == [f"PGD, ε = {k}/255" for k in (2, 4, 8)]


def test_what_was_not_measured_everywhere_has_no_mean(material: Material) -> None:
    runs = [
        replace(run, metrics=run.metrics[run.metrics["attack"] != "corruption:blur"])
        if run.name == "standard"
        else run
        for run in material.numbers.runs
    ]
    sentence = corruption_sentence(Numbers(runs, material.numbers.evaluation))
    assert "the macro AUROC is: adversarial 0." in sentence


def test_no_corruption(plain: Material) -> None:
    assert corruption_figures(plain) == []
    assert corruption_sentence(plain.numbers) == ""


def test_one_corruption_needs_no_mean(material: Material) -> None:
    runs = [
        replace(r, metrics=r.metrics[r.metrics["attack"] != "corruption:gaussian noise"])
        for r in material.numbers.runs
    ]
    alone = replace(material, numbers=Numbers(runs, material.numbers.evaluation))
    (figure,) = corruption_figures(alone)
    assert figure.alt.startswith("Blur: ")
