from dataclasses import replace

import pytest

from medrobust.comparison import paired_comparison
from medrobust.report.comparisons import REDRAWS
from medrobust.report.material import Material
from medrobust.report.noninferiority import (
    inferiority_sentences,
    inferiority_table,
    judged,
)
from medrobust.report.numbers import Numbers
from medrobust.report.terms import CLEAN
from medrobust.statistics import delong_test


def test_limits_are_those_of_the_paired_comparison(material: Material) -> None:
    (clean, adv) = judged(material, 0.02)
    assert [one.first.branch for one in (clean, adv)] == ["clean", "adv"]
    arms, runs = material.numbers.arms, material.numbers.runs
    ours, theirs = (
        material.labelled(*pair, CLEAN) for pair in ((runs[2], arms[3]), (runs[0], arms[0]))
    )
    assert ours is not None
    assert theirs is not None
    assert material.table is not None
    rows = paired_comparison(ours[0], theirs[0], material.table, REDRAWS).set_index("finding")
    test = adv.by_finding["macro"]
    assert test.difference == pytest.approx(rows["difference"]["macro"])
    assert test.low == pytest.approx(rows["low"]["macro"])
    labels, logit = ours[1]["Nodule"], "logit:Nodule"
    expected = delong_test(labels, ours[0][logit], theirs[0][logit], ours[0]["patient_id"])
    assert adv.by_finding["Nodule"].low == pytest.approx(expected.low)


def test_the_margin_decides(material: Material) -> None:
    (narrow, *_), (wide, *_) = judged(material, 1e-4), judged(material, 0.5)
    assert not narrow.by_finding["macro"].not_inferior
    assert wide.by_finding["macro"].not_inferior
    assert inferiority_sentences([narrow], 1e-4)[0].startswith(
        "On clean images, it is not shown that the clean branch of dual is as good as standard ("
    )
    (sentence,) = inferiority_sentences([wide], 0.5)
    assert sentence.startswith(
        "On clean images, the clean branch of dual is not worse than standard by more than the "
        "margin (difference "
    )
    assert sentence.endswith(", margin 0.500).")
    group = inferiority_table([wide], 0.5).groups[0]
    assert group.rows[0].head == "Macro"
    assert group.rows[0].cells[-1].main == "\N{CHECK MARK} shown"
    assert inferiority_table([narrow], 1e-4).groups[0].rows[0].cells[-1].main == "not shown"


def test_it_takes_a_standard_model_and_labels(material: Material) -> None:
    dual = Numbers(material.numbers.runs[2:], material.numbers.evaluation)
    assert judged(replace(material, numbers=dual), 0.02) == []
    assert judged(replace(material, table=None), 0.02) == []
