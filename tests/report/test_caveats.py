from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from fake_runs import EPS, Workplace

from medrobust.report.caveats import caveats
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers, evaluations
from medrobust.report.read import Run


def warned(runs: list[Run], store: Any) -> list[str]:
    return caveats(runs, Numbers(runs, evaluations(runs)[0]), store, "")


def changed(run: Run, rows: "pd.Series[bool]", **values: Any) -> Run:
    metrics = run.metrics.copy()
    for column, value in values.items():
        metrics.loc[rows, column] = value
    return replace(run, metrics=metrics)


def macro(run: Run, attack: str, eps: float = EPS) -> "pd.Series[bool]":
    rows = run.metrics
    here = (rows["attack"] == attack) & (rows["eps"] - (eps if attack else 0)).abs().lt(1e-6)
    return here & (rows["finding"] == "macro") & (rows["metric"] == "auroc")


def test_nothing_to_warn_of(found: list[Run], workplace: Workplace) -> None:
    assert warned(found, workplace.store) == []


def test_unfinished_and_dirty(found: list[Run], workplace: Workplace) -> None:
    run = found[0]
    bad = replace(run, finished=False, provenance={**run.provenance, "dirty": True})
    assert warned([bad], workplace.store) == [
        "Training has not finished (no DONE): standard, seed 0.",
        "The code had uncommitted changes, so that its commit does not identify it: standard, "
        "seed 0.",
    ]


def test_runs_that_differ_in_more_than_the_regime(found: list[Run], workplace: Workplace) -> None:
    first, second = found[1], found[2]
    store = {"name": "other", "checksum": "1" * 64}
    odd = replace(
        second,
        provenance={**second.provenance, "commit": "fedcba9876", "store": store},
        config={**second.config, "network": {"name": "vit"}, "attack": {"norm": "l2", "eps": 1}},
    )
    assert warned([first, odd], workplace.store) == [
        "The runs were trained on different stores (blobs and other; the checksums differ).",
        "The runs come from different commits: 01234567 and fedcba98.",
        "The runs have different networks; differences are not those of the regime alone.",
        "The runs were trained with different attacks; robustness is compared at one radius.",
    ]


def test_what_the_store_says(found: list[Run], workplace: Workplace) -> None:
    store = workplace.store
    counts = store.info.counts | {"duplicate_groups": 2}
    info = store.info.model_copy(
        update={"patients": "unknown", "warnings": ["it is odd"], "counts": counts}
    )
    assert warned(found, SimpleNamespace(info=info, checksum=store.checksum)) == [
        "Patients are not known: every interval is per image, and too narrow where a patient has "
        "several images.",
        "The store has 2 groups of duplicate images.",
        "Data: it is odd",
    ]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"value": float("nan"), "n_positive": 0, "n": 80},
            "Nodule cannot be scored: 0 positive of 80 test images with a known label. The macro "
            "average leaves it out.",
        ),
        (
            {"n_positive": 3, "n": 80},
            "Nodule: only 3 positive of 80 test images; its intervals are rough.",
        ),
        (
            {"n_positive": 76, "n": 80},
            "Nodule: only 76 positive of 80 test images; its intervals are rough.",
        ),
        (
            {"value": 1.0},
            "Nodule is separated without error on clean images (standard, seed 0): the interval "
            "has no width, which does not mean certainty.",
        ),
    ],
)
def test_findings_with_too_few(
    found: list[Run], workplace: Workplace, values: dict[str, float], text: str
) -> None:
    run = found[0]
    rows = (run.metrics["finding"] == "Nodule") & (run.metrics["metric"] == "auroc")
    assert warned([changed(run, rows, **values)], workplace.store) == [text]


def test_an_attack_that_helps(found: list[Run], workplace: Workplace) -> None:
    run = changed(found[0], macro(found[0], "pgd", 2 / 255), value=0.999)
    assert warned([run], workplace.store) == [
        "standard, seed 0: AUROC under PGD, ε = 2/255 is higher than on clean images; the attack "
        "does not work as it should."
    ]


def test_an_attack_that_weakens_with_its_radius(found: list[Run], workplace: Workplace) -> None:
    run = changed(found[0], macro(found[0], "pgd", 8 / 255), value=0.7)
    assert warned([run], workplace.store) == [
        "standard, seed 0: AUROC rises with a larger ε; the attack is not doing its best."
    ]


def test_a_strong_attack_that_is_weaker(material: Material, workplace: Workplace) -> None:
    run = material.numbers.runs[0]
    run = changed(run, macro(run, "strong"), value=0.8)
    run = changed(run, macro(run, "fast"), value=0.7)
    assert warned([run], workplace.store) == [
        "standard, seed 0: AUROC is higher under the strong attack, ε = 4/255 (0.800) than under "
        "the weaker fast attack, ε = 4/255 (0.700); the attack is not doing its best."
    ]


def test_noise_that_hurts_as_much(found: list[Run], workplace: Workplace) -> None:
    run = changed(found[0], macro(found[0], ""), value=0.9)
    run = changed(run, macro(run, "pgd", 2 / 255), value=0.8)
    run = changed(run, macro(run, "pgd"), value=0.7)
    run = changed(run, macro(run, "noise-control"), value=0.69)
    assert warned([run], workplace.store) == [
        "standard, seed 0: random noise of ε = 4/255 costs as much AUROC (0.210) as the attack "
        "(0.200); the loss is not a matter of adversarial robustness."
    ]


def test_no_store_and_no_metrics(found: list[Run]) -> None:
    run = replace(found[0], metrics=found[0].metrics[:0])
    assert caveats([run], None, None, "gone") == [
        "The store of the runs could not be opened (gone): there is no data card, no ROC curve, "
        "no paired comparison and no gallery.",
        "Not evaluated yet, run `medrobust evaluate`: standard, seed 0.",
    ]
