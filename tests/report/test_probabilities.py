from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medrobust.report.material import Material
from medrobust.report.probabilities import (
    GRID,
    TOLD,
    _benefit,
    _reliability,
    _treat_all,
    decision_figures,
    reliability_figures,
)

FRAME = pd.DataFrame({"a": [0.05, 0.15, 0.95, 0.95], "b": [0.05, 0.05, 0.95, 0.15]})
LABELS = pd.DataFrame({"a": [0.0, 1.0, 1.0, 1.0], "b": [0.0, np.nan, 0.0, 0.0]})


def test_findings_are_pooled() -> None:
    x, y = _reliability(FRAME, LABELS, ["a", "b"])
    assert x == pytest.approx([0.05, 0.15, 0.95])
    assert y == pytest.approx([0.0, 0.5, 2 / 3])


def test_net_benefit_is_averaged() -> None:
    x, y = _benefit(FRAME, LABELS, ["a", "b"])
    at = int(np.flatnonzero(np.isclose(x, 0.5))[0])
    assert y[at] == pytest.approx((2 / 4 - 1 / 3) / 2)  # two hits of 4; one false alarm of 3


def test_treating_all_depends_on_the_prevalence_alone() -> None:
    x, y = _treat_all(FRAME, LABELS, ["a"])
    assert y == pytest.approx(3 / 4 - 1 / 4 * x / (1 - x))


def test_told_thresholds() -> None:
    assert GRID[TOLD] == pytest.approx([0.1, 0.3, 0.5, 0.7])


def test_all_findings_first_then_each(material: Material) -> None:
    for figures, what in (
        (reliability_figures(material), "Reliability"),
        (decision_figures(material), "Net benefit"),
    ):
        assert [figure.alt.partition(", by")[0].partition(", at")[0] for figure in figures] == [
            f"{what}, All findings on clean images",
            f"{what}, All findings on strong attack, ε = 4/255",
            *(f"{what}, {finding} on clean images" for finding in material.numbers.findings),
        ]


def test_nothing_without_labels(material: Material) -> None:
    lost = replace(material, table=None)
    assert reliability_figures(lost) == decision_figures(lost) == []
