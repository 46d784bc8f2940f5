from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_runs import EPS, RADII

from medrobust.report.material import Material
from medrobust.report.numbers import Numbers, evaluations
from medrobust.report.read import Run
from medrobust.report.terms import CLEAN, Arm, Condition, Evaluation

PGD = Condition("pgd", "linf", round(EPS, 9), "total")


def test_arms_conditions_and_findings(numbers: Numbers) -> None:
    assert [arm.label for arm in numbers.arms] == [
        "standard",
        "adversarial",
        "dual · clean branch",
        "dual · adversarial branch",
    ]
    assert [c.eps for c in numbers.sweep] == pytest.approx(RADII)
    assert numbers.training == PGD
    assert numbers.findings == ["Effusion", "Nodule", "Mass <b>&co"]
    assert numbers.noise_at(PGD) == Condition("noise-control", "linf", round(EPS, 9))
    assert [run.seed for run in numbers.runs_of(numbers.arms[3])] == [0, 1]


def test_numbers_are_those_of_the_file(numbers: Numbers) -> None:
    run = numbers.runs[2]
    rows = run.metrics
    for branch in ("clean", "adv"):
        row = rows[
            (rows["branch"] == branch)
            & (rows["attack"] == "pgd")
            & np.isclose(rows["eps"], EPS)
            & (rows["finding"] == "Nodule")
            & (rows["metric"] == "auroc")
        ].set_index("interval")
        for interval in ("bootstrap", "delong"):
            found = numbers.get(run, branch, PGD, "Nodule", interval=interval)
            assert found is not None
            assert (found.value, found.low) == (row["value"][interval], row["low"][interval])
            assert found.predictions == row["predictions"][interval]
    assert numbers.stem(run, "adv", PGD).endswith("on-adv")


def test_what_was_not_measured_is_none(numbers: Numbers) -> None:
    assert numbers.get(numbers.runs[0], "clean") is None
    assert numbers.get(numbers.runs[0], "single", Condition("apgd", "linf", 0.1)) is None
    assert numbers.stem(numbers.runs[0], "clean") == ""


def test_transfer_attacks_subgroups_and_other_checkpoints_stay_out(found: list[Run]) -> None:
    run = found[2]
    rows = run.metrics
    foreign = rows.assign(
        value=0.123, attacked_branch=np.where(rows["attack"] == "pgd", "adv", ""), branch="clean"
    )[rows["attack"] == "pgd"]
    women = rows.assign(value=0.123, group="sex=F")
    early = rows.assign(value=0.123, checkpoint="epoch-0001")
    mixed = replace(run, metrics=pd.concat([rows, foreign, women, early], ignore_index=True))
    values = [e.value for e in Numbers([mixed], Evaluation("blobs"))._found.values()]
    assert 0.123 not in values
    assert evaluations([mixed]) == [Evaluation("blobs")]


def test_the_home_test_split_comes_first(found: list[Run]) -> None:
    run = found[0]
    external = run.metrics.assign(store="abroad")
    mixed = replace(run, metrics=pd.concat([external, run.metrics], ignore_index=True))
    assert evaluations([mixed]) == [Evaluation("blobs"), Evaluation("abroad")]
    assert evaluations([replace(run, metrics=run.metrics[:0])]) == []


@pytest.mark.parametrize(
    ("condition", "label"),
    [
        (CLEAN, "clean images"),
        (PGD, "PGD, ε = 4/255"),
        (Condition("noise-control", "linf", EPS), "noise control, ε = 4/255"),
        (Condition("apgd", "l2", 0.5, "vanish"), "APGD (vanish), ε = 0.5 (l2)"),
        (Condition("corruption:blur", "", 3), "blur, severity 3"),
    ],
)
def test_labels_of_conditions(condition: Condition, label: str) -> None:
    assert condition.label == label


def test_names_of_arms() -> None:
    assert Arm("a", "single", "standard").phrase == "a"
    assert Arm("a", "clean", "dual").phrase == "the clean branch of a"


def test_the_attack_of_most_radii_is_the_sweep_and_the_strongest_is_quoted(
    material: Material,
) -> None:
    numbers = material.numbers
    assert {c.attack for c in numbers.sweep} == {"fast"}
    assert [c.eps for c in numbers.sweep] == pytest.approx([EPS * k / 2 for k in range(1, 5)])
    assert numbers.training == Condition("strong", "linf", round(EPS, 9), "total")
    assert numbers.swept == Condition("fast", "linf", round(EPS, 9), "total")
    assert [c.attack for c in numbers.shown] == [
        "",
        "noise-control",
        *["fast"] * 4,
        *["strong"] * 2,
    ]
    assert [arm.branch for arm in numbers.arms] == ["single", "single", "clean", "adv"]


def test_an_attack_on_more_routes_is_not_one_on_more_models(material: Material) -> None:
    routes = ["mean", "router"]  # `fast` attacks branches, `strong` with the matrix also these

    def without(run: Run) -> Run:
        rows = run.metrics
        fast = (rows["attack"] == "fast") & rows["branch"].isin(routes)
        return replace(run, metrics=rows[~fast])

    numbers = Numbers([without(run) for run in material.numbers.runs], Evaluation("blobs"))
    assert {c.attack for c in numbers.sweep} == {"fast"}


def test_an_attack_on_fewer_models_is_not_quoted(found: list[Run]) -> None:
    run = found[0]
    pgd = run.metrics[run.metrics["attack"] == "pgd"]
    strong = pd.concat([run.metrics, pgd.assign(attack="strong")], ignore_index=True)
    numbers = Numbers([replace(run, metrics=strong), *found[1:]], Evaluation("blobs"))
    assert numbers.training == PGD
    assert {c.attack for c in numbers.sweep} == {"pgd"}


def test_a_long_sweep_has_three_columns(found: list[Run]) -> None:
    run = found[0]
    pgd = run.metrics[np.isclose(run.metrics["eps"], EPS) & (run.metrics["attack"] == "pgd")]
    radii = [EPS * k / 10 for k in range(1, 21)]
    parts = [pgd.assign(attack="fast", eps=eps) for eps in radii]
    long = replace(run, metrics=pd.concat([run.metrics, *parts], ignore_index=True))
    numbers = Numbers([long], Evaluation("blobs"))
    assert len(numbers.sweep) == 20
    shown = [c.eps for c in numbers.shown if c.attack == "fast"]
    assert shown == pytest.approx([EPS / 2, EPS, 2 * EPS])


def test_groups_have_numbers_of_their_own(material: Material) -> None:
    home = material.numbers
    women = Numbers(home.runs, replace(home.evaluation, group="sex=F"))
    run = home.runs[0]
    rows = run.metrics
    row = rows[(rows["group"] == "sex=F") & (rows["metric"] == "auroc_gap")]
    row = row[(row["finding"] == "macro") & (row["attack"] == "")].iloc[0]
    found = women.get(run, "single", metric="auroc_gap")
    assert found is not None
    assert (found.value, found.low) == (row["value"], row["low"])
