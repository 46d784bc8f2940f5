import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.counterfactual import radius_for, sizes
from medrobust.explain.counterfactual_stage import COLUMNS, make_counterfactuals
from medrobust.explain.robust_branch import judged_robust
from medrobust.explain.subject import Subject, open_subject
from medrobust.metrics import read_metrics, write_metrics
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]
FINDING = "nodule"
QUICK = {"steps": 3, "images": 5}


@pytest.fixture(scope="module")
def subject(evaluated_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The evaluated dual run with counterfactuals, judged by the standard run."""
    target = tmp_path_factory.mktemp("counterfactuals") / "dual" / "0"
    return open_subject(RunDir(Path(shutil.copytree(evaluated_run.path, target))), batch_size=3)


@pytest.fixture(scope="module")
def other(standard_run: RunDir) -> Subject:
    return open_subject(standard_run)


@pytest.fixture(scope="module")
def notes(subject: Subject, other: Subject) -> list[str]:
    return make_counterfactuals(subject, FINDING, other=other, **QUICK)


@pytest.fixture
def table(subject: Subject, notes: list[str]) -> pd.DataFrame:
    return read(subject)


def read(subject: Subject) -> pd.DataFrame:
    return pd.read_csv(subject.folder / "counterfactuals.csv", dtype={"image_id": str})


def arrays(subject: Subject, branch: str) -> dict[str, np.ndarray]:
    folder = subject.folder / "counterfactuals" / "phantom" / "test" / branch
    with np.load(folder / f"{FINDING}.npz", allow_pickle=False) as found:
        return dict(found)


def test_there_is_a_row_per_branch_and_image(table: pd.DataFrame, tiny_store: Store) -> None:
    assert list(table) == COLUMNS
    assert list(table["branch"]) == ["clean"] * 5 + ["adv"] * 5
    assert list(table["direction"]) == (["towards"] * 3 + ["away"] * 2) * 2
    labels = tiny_store.table.set_index("image_id")[f"label:{FINDING}"][table["image_id"]]
    assert list(labels) == [0, 0, 0, 1, 1] * 2
    splits = tiny_store.table.set_index("image_id")["split"][table["image_id"]]
    assert set(splits) == {"test"}
    assert set(table["other"]) == {"standard/0/single"}
    assert set(table["radius"]) == {radius_for((1, 32, 32))}


def test_a_judge_that_is_not_robust_is_warned_of(
    subject: Subject, other: Subject, notes: list[str], table: pd.DataFrame
) -> None:
    assert (
        f"{other.run.path}: it is not robust (regime standard; no attack on this branch was "
        "evaluated), so that it agrees shows little: noise that misleads one network misleads "
        "others like it; name a robust one"
    ) in notes
    assert set(table["other_robust"]) == {0}


def test_decisions_on_validation_images_are_not_to_be_counted(
    dual_run: RunDir, copy_of: Copy, notes: list[str]
) -> None:
    subject = open_subject(copy_of(dual_run), split="val")
    told = (
        f"{subject.run.path}: thresholds of decisions were chosen on split val itself, so how many "
        "decisions change there says nothing of other images; look at the pictures, and count on "
        "split test"
    )
    assert told in make_counterfactuals(subject, FINDING, steps=1, images=2)
    assert "split val itself" not in " ".join(notes)
    elsewhere = replace(subject, name="elsewhere")
    assert "split val itself" not in " ".join(
        make_counterfactuals(elsewhere, FINDING, steps=1, images=2)
    )


@pytest.mark.parametrize("branch", ["clean", "adv"])
def test_the_arrays_are_what_the_table_tells(
    subject: Subject, table: pd.DataFrame, branch: str
) -> None:
    found, rows = arrays(subject, branch), table[table["branch"] == branch]
    assert list(found["image_id"]) == list(rows["image_id"])
    assert list(found["steps"]) == [0, 1, 2, 3]
    assert found["path"].shape == (5, 4, 1, 32, 32)
    assert found["path"].dtype == np.float16
    assert found["start"].dtype == found["end"].dtype == np.float32
    np.testing.assert_allclose(found["path"][:, 0], found["start"], atol=1e-3)
    np.testing.assert_allclose(found["path"][:, -1], found["end"], atol=1e-3)
    change = torch.from_numpy(found["end"] - found["start"])
    for name, values in sizes(change, 1.5).items():
        np.testing.assert_allclose(rows[name], values, rtol=1e-6)
    assert (rows["lp"] <= rows["radius"] * (1 + 1e-5)).all()
    with torch.no_grad():
        logits = subject.networks[branch](torch.from_numpy(found["end"]))
    column = subject.column(FINDING)
    np.testing.assert_allclose(found["scores"][:, -1], logits[:, column], atol=1e-4)
    probabilities = 1 / (1 + np.exp(-found["scores"]))
    np.testing.assert_allclose(rows["probability_before"], probabilities[:, 0], atol=1e-5)
    np.testing.assert_allclose(rows["probability_after"], probabilities[:, -1], atol=1e-5)
    rises = probabilities[:, -1] - probabilities[:, 0]
    assert ((rises > 0) == (rows["direction"] == "towards").to_numpy()).all()


def test_the_images_are_the_stores(subject: Subject, notes: list[str], tiny_store: Store) -> None:
    found = arrays(subject, "adv")
    ids = tiny_store.table["image_id"].tolist()
    rows = np.array([ids.index(name) for name in found["image_id"]])
    np.testing.assert_allclose(found["start"], subject.images(rows), atol=1e-7)


def test_thresholds_are_those_of_the_evaluation_and_decide(
    subject: Subject, table: pd.DataFrame
) -> None:
    rows = read_metrics(subject.run.metrics)
    rows = rows[(rows["metric"] == "threshold") & (rows["finding"] == FINDING)]
    recorded = dict(zip(rows["branch"], rows["value"], strict=True))
    for branch, part in table.groupby("branch"):
        assert set(part["threshold"]) == {recorded[branch]}
    towards = table["direction"] == "towards"
    stood = (table["probability_before"] >= table["threshold"]) == towards
    stands = (table["probability_after"] >= table["threshold"]) == towards
    assert (table["valid"].isna() == stood).all()
    assert (table["valid"][~stood] == stands[~stood]).all()


def test_the_other_model_judges_with_its_own_threshold(
    subject: Subject, other: Subject, table: pd.DataFrame
) -> None:
    found = arrays(subject, "clean")
    network, column = other.networks["single"], other.column(FINDING)
    with torch.no_grad():
        before, after = (
            network(torch.from_numpy(found[name]))[:, column].sigmoid().numpy()
            for name in ("start", "end")
        )
    cut = youden(other)
    rows = table[table["branch"] == "clean"]
    towards = (rows["direction"] == "towards").to_numpy()
    stood = (before >= cut) == towards
    assert (rows["valid_on_other"].isna() == stood).all()
    expected = ((after >= cut) == towards)[~stood]
    assert (rows["valid_on_other"][~stood] == expected).all()


def youden(other: Subject) -> float:
    """What a run that was not evaluated takes for its threshold, found anew."""
    from medrobust.statistics import youden_threshold

    rows = other.store.rows("val")
    with torch.no_grad():
        logits = other.networks["single"](other.images(rows))[:, other.column(FINDING)]
    labels = other.store.labels[rows, other.column(FINDING)]
    return float(youden_threshold(labels, logits.sigmoid().numpy()))


def test_batches_do_not_matter(subject: Subject, notes: list[str], copy_of: Copy) -> None:
    again = replace(subject, run=copy_of(subject.run), batch_size=64)
    make_counterfactuals(again, FINDING, **QUICK)
    for branch in subject.networks:
        here, there = arrays(subject, branch), arrays(again, branch)
        np.testing.assert_allclose(here["end"], there["end"], atol=1e-4)


def test_progress_counts_every_step_of_every_image(subject: Subject, copy_of: Copy) -> None:
    totals, counts = [], []

    def track(total: int, title: str) -> Callable[[int], None]:
        totals.append(total)
        return counts.append

    own = replace(subject, run=copy_of(subject.run))
    make_counterfactuals(own, FINDING, **QUICK, track=track)
    assert totals == [5 * 2 * 3] == [sum(counts)]


def test_another_call_replaces_the_rows_of_its_finding_only(
    subject: Subject, notes: list[str], copy_of: Copy
) -> None:
    own = replace(subject, run=copy_of(subject.run))
    before = read(own)
    second = next(name for name in own.store.findings if name != FINDING)
    make_counterfactuals(own, second, steps=1, images=2)
    after = read(own)
    pd.testing.assert_frame_equal(after[after["finding"] == FINDING], before, check_dtype=False)
    make_counterfactuals(own, FINDING, steps=1, images=3, direction="away")
    last = read(own)
    assert list(last["finding"]) == [second] * 4 + [FINDING] * 6
    assert set(last["direction"][last["finding"] == FINDING]) == {"away"}
    assert last["other"].isna().all()
    assert last[["valid_on_other", "other_robust"]].isna().all().all()


@pytest.mark.parametrize(("direction", "label"), [("towards", 0), ("away", 1)])
def test_one_direction_takes_images_of_one_label(
    subject: Subject, copy_of: Copy, direction: str, label: int
) -> None:
    own = replace(subject, run=copy_of(subject.run))
    make_counterfactuals(own, FINDING, direction=direction, images=3, steps=1)
    table = read(own)
    labels = own.store.table.set_index("image_id")[f"label:{FINDING}"][table["image_id"]]
    assert list(labels) == [label] * 6


def set_aurocs(run: RunDir, values: dict[str, tuple[float, float]]) -> None:
    """Let every macro AUROC of a branch be this, clean and attacked at the training radius."""
    rows = read_metrics(run.metrics)
    of_interest = (rows["metric"] == "auroc") & (rows["finding"] == "macro")
    for branch, (clean, attacked) in values.items():
        same = of_interest & (rows["branch"] == branch)
        rows.loc[same & (rows["attack"] == ""), "value"] = clean
        rows.loc[same & (rows["attacked_branch"] == branch), "value"] = attacked
    write_metrics(run.metrics, rows)


def test_robust_is_who_keeps_half_of_its_lead(subject: Subject, copy_of: Copy) -> None:
    run = copy_of(subject.run)
    own = replace(subject, run=run)
    set_aurocs(run, {"clean": (0.9, 0.6), "adv": (0.8, 0.7)})
    why = "AUROC 0.900 clean, 0.600 attacked with linf ε = 2/255"
    assert judged_robust(own, "clean") == (False, why)
    assert judged_robust(own, "adv")[0]
    assert make_counterfactuals(own, FINDING, steps=1, images=2) == [
        f"{run.path}: branch clean is not robust ({why}), so its counterfactuals mean little: "
        "what changes its decision need not be anything that a person can see"
    ]
    table = read(own)
    assert dict(zip(table["branch"], table["robust"], strict=True)) == {"clean": 0, "adv": 1}
    assert set(table["reason"][table["branch"] == "clean"]) == {why}
    set_aurocs(run, {"clean": (0.9, 0.71), "adv": (0.4, 0.5)})
    assert judged_robust(own, "clean")[0]
    assert not judged_robust(own, "adv")[0]


def test_without_an_evaluation_the_regime_tells(dual_run: RunDir, standard_run: RunDir) -> None:
    dual, standard = open_subject(dual_run), open_subject(standard_run)
    assert judged_robust(dual, "adv") == (
        True,
        "regime dual; no attack on this branch was evaluated",
    )
    assert not judged_robust(dual, "clean")[0]
    assert not judged_robust(standard, "single")[0]


def test_bad_requests(subject: Subject, other: Subject) -> None:
    def refused(*arguments: object, **settings: object) -> str:
        with pytest.raises(MedrobustError) as error:
            make_counterfactuals(*arguments, **{"images": 2, "steps": 1} | settings)
        return str(error.value)

    known = ", ".join(subject.store.findings)
    assert refused(subject, "Gout") == f"finding: expected some of {known}, found 'Gout'"
    assert refused(subject, FINDING, level=0) == (
        "level: expected a mean change per pixel above 0 up to 1, such as 9/255, found 0"
    )
    assert refused(subject, FINDING, p=0.5) == "p: expected a norm's number ≥ 1, found 0.5"
    assert refused(subject, FINDING, direction="up") == (
        "direction: expected one of auto, towards, away, found 'up'"
    )
    assert refused(subject, FINDING, images=0) == "images: expected at least 1, found 0"
    assert refused(subject, FINDING, steps=0) == (
        "attack: expected at least 1 step and 1 restart, found 0 and 1"
    )
    assert refused(subject, FINDING, other=subject) == (
        f"other run: expected an independently trained one, found {subject.run.path} itself"
    )


def test_without_images_of_the_label(subject: Subject) -> None:
    table = subject.store.table.assign(**{f"label:{FINDING}": 1.0})
    own = replace(subject, store=replace(subject.store, table=table, aligned=True))
    with pytest.raises(MedrobustError) as refused:
        make_counterfactuals(own, FINDING, direction="towards", images=2, steps=1)
    assert str(refused.value) == (
        f"{subject.store.path}: expected images of split test labelled without {FINDING}, "
        "found none"
    )


def test_another_model_must_see_the_same_images(subject: Subject, other: Subject) -> None:
    class Larger:
        images = np.zeros((1, 1, 64, 64), np.uint8)
        findings = subject.store.findings

    strange = replace(other, store=Larger())
    with pytest.raises(MedrobustError) as refused:
        make_counterfactuals(subject, FINDING, other=strange, images=2, steps=1)
    assert str(refused.value) == (
        f"{other.run.path}: expected a model of images [1, 32, 32], as {subject.run.path} was "
        "trained on, found [1, 64, 64]"
    )
    renamed = replace(other.store, aligned=True, table=other.store.table[["image_id"]])
    with pytest.raises(MedrobustError) as refused:
        make_counterfactuals(
            subject, FINDING, other=replace(other, store=renamed), images=2, steps=1
        )
    assert str(refused.value).startswith(f"{other.run.path}: expected a model of nodule, found")
