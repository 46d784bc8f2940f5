import numpy as np
import pandas as pd
import pytest
from fake_runs import Workplace

from medrobust.report.curves import (
    _points,
    learning_figures,
    roc_figures,
    sweep_figure,
)
from medrobust.report.figures import styles
from medrobust.report.numbers import Numbers
from medrobust.report.predicted import Predicted
from medrobust.statistics import roc_curve


def test_one_panel_per_finding_and_condition(numbers: Numbers, workplace: Workplace) -> None:
    figures = roc_figures(numbers, Predicted(numbers), styles(numbers.arms), workplace.store.table)
    assert len(figures) == 2 * (1 + 3)
    assert figures[0].alt.startswith(
        "ROC of Macro average on clean images. AUROC: standard, seed 0 0."
    )
    assert "dual · adversarial branch, seed 1 0." in figures[0].alt
    assert figures[3].alt.startswith("ROC of Effusion on PGD, ε = 4/255.")


def test_the_macro_curve_has_the_macro_area() -> None:
    generator = np.random.default_rng(0)
    truth = (generator.random((400, 2)) < 0.4).astype(float)
    scores = truth + generator.normal(size=truth.shape)
    curves = {name: roc_curve(truth[:, k], scores[:, k]) for k, name in enumerate("ab")}
    areas = [np.trapezoid(c.true_positive_rate, c.false_positive_rate) for c in curves.values()]
    points = _points(curves, "macro")
    assert points is not None
    assert np.trapezoid(points[1], points[0]) == pytest.approx(np.mean(areas), abs=0.005)
    assert _points(curves, "c") is None
    assert _points({}, "macro") is None


def test_findings_that_cannot_be_scored_have_no_curve(
    numbers: Numbers, workplace: Workplace
) -> None:
    table = workplace.store.table.assign(**{"label:Nodule": 0.0})
    figures = roc_figures(numbers, Predicted(numbers), styles(numbers.arms), table)
    assert len(figures) == 8


def test_sweep_and_learning(numbers: Numbers) -> None:
    looks = styles(numbers.arms)
    figure = sweep_figure(numbers, looks)
    assert figure is not None
    assert figure.alt.startswith("Macro AUROC at ε = 0, 2/255, 4/255, 8/255. standard: 0.")
    assert len(learning_figures(numbers.runs, looks)) == 4
    clean_only = numbers.runs[0].metrics
    clean_only = pd.DataFrame(clean_only[clean_only["attack"] == ""])
    from dataclasses import replace

    run = replace(numbers.runs[0], metrics=clean_only, epochs=())
    assert sweep_figure(Numbers([run], numbers.evaluation), looks) is None
    assert learning_figures([run], looks) == []
