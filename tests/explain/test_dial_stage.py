import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.conditions import Evaluation
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.evaluate import evaluate
from medrobust.explain.dial_stage import DIAL, write_dial
from medrobust.explain.subject import open_subject
from medrobust.metrics import read_metrics
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]
EPS = 2 / 255


def table(run: RunDir) -> pd.DataFrame:
    found = pd.read_csv(run.explain / "dial.csv")
    assert list(found) == DIAL
    return found


@pytest.fixture(scope="module")
def dial(dual_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The dual run with a dial of three points, and an evaluation to compare it with."""
    run = RunDir(
        Path(shutil.copytree(dual_run.path, tmp_path_factory.mktemp("dial") / "dual" / "0"))
    )
    told: list[tuple[int, str]] = []
    counted: list[int] = []

    def track(total: int, title: str) -> Callable[[int], None]:
        told.append((total, title))
        return counted.append

    assert write_dial(open_subject(run, device="cpu"), points=3, redraws=50, track=track) == []
    assert told == [(3 * (10 + 16), f"{run.path}: dial")]
    assert sum(counted) == 3 * (10 + 16)
    evaluate(run, what=Evaluation(suite="fast", eps=(EPS,), redraws=50, device="cpu"))
    return run


@pytest.mark.parametrize(("share", "branch"), [(0, "clean"), (1, "adv")])
def test_its_ends_are_the_branches_as_evaluated(dial: RunDir, share: float, branch: str) -> None:
    found, metrics = table(dial), read_metrics(dial.metrics)
    found = found[(found["split"] == "test") & (found["share"] == share)]
    metrics = metrics[(metrics["metric"] == "auroc") & (metrics["interval"] == "bootstrap")]
    metrics = metrics[(metrics["branch"] == branch) & (metrics["group"] == "all")]
    for condition, attack in (("clean", ""), ("attacked", "fast")):
        ours = found[found["condition"] == condition].set_index("finding")
        theirs = metrics[(metrics["attack"] == attack) & (metrics["split"] == "test")]
        theirs = theirs.set_index("finding").loc[ours.index]
        for column in ("value", "low", "high"):
            np.testing.assert_allclose(ours[column], theirs[column], atol=1e-9)


def test_the_share_is_chosen_on_validation_images(dial: RunDir) -> None:
    found = table(dial)
    assert set(found["split"]) == {"val", "test"}
    assert set(found["share"]) == {0, 0.5, 1}
    macro = found[(found["split"] == "val") & (found["finding"] == "macro")]
    means = macro.groupby("share")["value"].mean()
    chosen = set(found[found["chosen"] == 1]["share"])
    assert chosen == {means.idxmax()}
    assert len(found[found["chosen"] == 1]) == len(found) / 3
    findings = set(found[found["split"] == "test"]["finding"])
    single = found[(found["split"] == "test") & (found["finding"] != "macro")]
    both = found[(found["split"] == "test") & (found["finding"] == "macro")]
    assert len(findings) > 2
    np.testing.assert_allclose(
        single.groupby(["share", "condition"])["value"].mean(),
        both.set_index(["share", "condition"])["value"].sort_index(),
    )


def test_asking_again_replaces_and_another_radius_adds(dial: RunDir, copy_of: Copy) -> None:
    run = copy_of(dial)
    before = table(run)
    subject = open_subject(run, device="cpu")
    write_dial(subject, points=2, redraws=10)
    again = table(run)
    assert set(again["share"]) == {0, 1}
    write_dial(subject, points=2, redraws=10, eps=0.001)
    added = table(run)
    assert len(added) == 2 * len(again) < 2 * len(before)
    pd.testing.assert_frame_equal(added[: len(again)], again)


def test_elsewhere_the_share_is_still_chosen_at_home(
    dual_run: RunDir, copy_of: Copy, other_store: Store
) -> None:
    run = copy_of(dual_run)
    write_dial(open_subject(run, other_store, device="cpu"), points=2, redraws=10)
    found = table(run)
    places = list(dict.fromkeys(zip(found["store"], found["split"], strict=True)))
    assert places == [("phantom", "val"), (f"phantom-{other_store.checksum[:8]}", "test")]


def test_bad_input(dual_run: RunDir, standard_run: RunDir) -> None:
    with pytest.raises(MedrobustError) as caught:
        write_dial(open_subject(standard_run, device="cpu"))
    assert str(caught.value) == (
        f"dial: expected a dual run, with branches clean and adv, found {standard_run.path} with "
        "single"
    )
    with pytest.raises(MedrobustError) as caught:
        write_dial(open_subject(dual_run, split="val", device="cpu"))
    assert str(caught.value) == (
        "dial: expected a split whose images do not choose the share, found val; use test"
    )
    subject = open_subject(dual_run, device="cpu")
    with pytest.raises(MedrobustError) as caught:
        write_dial(subject, points=1)
    assert str(caught.value) == "dial: expected at least 2 points, found 1"
    with pytest.raises(MedrobustError) as caught:
        write_dial(subject, eps=-1)
    assert str(caught.value) == (
        "eps: expected a number above 0, found -1: a ball of no size has nothing in it to measure"
    )


def test_labels_that_cannot_be_scored(dual_run: RunDir, copy_of: Copy) -> None:
    subject = open_subject(copy_of(dual_run), device="cpu")
    subject.store.table.loc[:, [f"label:{f}" for f in subject.store.findings]] = 0.0
    with pytest.raises(MedrobustError) as caught:
        write_dial(subject, points=2)
    assert str(caught.value) == (
        "dial: expected a finding with positive and negative images in split val of "
        f"{subject.store.path}, found none"
    )
