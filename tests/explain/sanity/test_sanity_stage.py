from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from altered_runs import altered
from torch import Tensor, nn

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.saliency import gradient
from medrobust.explain.sanity import scene
from medrobust.explain.sanity.map_attack import MapAttack
from medrobust.explain.sanity.randomisation import cascade
from medrobust.explain.sanity.reference import edge
from medrobust.explain.sanity.similarity import rank_similarity
from medrobust.explain.sanity.stage import CHECKS, check_maps, checked_rows
from medrobust.explain.sanity.table import COLUMNS, WHOLE, read_sanity
from medrobust.explain.subject import Subject, open_subject
from medrobust.rundir import RunDir

FINDING, EPS = "effusion", 8 / 255
METHODS = {"gradient": gradient}


def constant(network: nn.Module, images: Tensor, finding: int) -> Tensor:
    return torch.zeros_like(images[:, 0])


@pytest.fixture(scope="module")
def subject(
    dual_run: RunDir, tiny_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Subject:
    """The dual run, which writes to a folder of its own."""
    opened = open_subject(dual_run, tiny_store)
    return within(opened, tmp_path_factory.mktemp("sanity"))


def within(subject: Subject, folder: Path) -> Subject:
    class Moved(Subject):
        @property
        def folder(self) -> Path:
            return folder

    return Moved(**vars(subject))


@pytest.fixture(scope="module")
def found(subject: Subject, standard_run: RunDir, tiny_store: Store) -> pd.DataFrame:
    """Everything at once: another seed, another network, another regime, shuffled labels."""
    data = subject.run.config().data.model_copy(update={"shuffle_labels": True})
    network = subject.run.config().network.model_copy(update={"width": 5})
    others = [
        altered(subject, seed=7),
        altered(subject, network=network, name="wider"),
        open_subject(standard_run, tiny_store),
    ]
    notes = check_maps(
        subject,
        METHODS,
        [FINDING],
        others=others,
        shuffled=altered(subject, name="shuffled", data=data),
        eps=EPS,
        images=4,
    )
    assert [note for note in notes if "gradient" in note] == []
    return read_sanity(subject.folder / "sanity.csv")


def row(found: pd.DataFrame, method: str, check: str, against: str) -> Any:
    (one,) = found[
        (found["branch"] == "adv")
        & (found["method"] == method)
        & (found["check"] == check)
        & (found["against"] == against)
    ].itertuples(index=False)
    return one


def test_every_check_of_every_branch_has_a_row(found: pd.DataFrame) -> None:
    assert list(found) == list(COLUMNS)
    assert not found.duplicated(list(COLUMNS[:7])).any()
    assert set(found["store"]) == {"phantom"}
    assert set(found["split"]) == {"test"}
    for branch in ("clean", "adv"):
        for method in ("gradient", "edge"):
            own = found[(found["branch"] == branch) & (found["method"] == method)]
            assert set(own["check"]) == set(CHECKS)


def test_the_edge_detector_is_caught(found: pd.DataFrame) -> None:
    caught = row(found, "edge", "randomisation", WHOLE)
    assert (caught.value, caught.verdict) == (pytest.approx(1), "fail")
    assert row(found, "edge", "labels", "shuffled, seed 0").verdict == "fail"
    assert row(found, "edge", "repeatability", "dual, seed 7").verdict == "fail"
    untrained = row(found, "edge", "repeatability", "untrained network")
    assert untrained.value == pytest.approx(1)
    assert row(found, "gradient", "randomisation", WHOLE).verdict == "pass"


def test_numbers_are_those_of_the_functions(found: pd.DataFrame, subject: Subject) -> None:
    rows = checked_rows(subject, FINDING, 4)
    images, column = subject.images(rows), subject.column(FINDING)
    network = subject.networks["adv"]
    maps = gradient(network, images, column)
    for layer, fresh in cascade(network, gradient, images, column, seed=subject.seed):
        expected = rank_similarity(maps, fresh).mean()
        written = row(found, "gradient", "randomisation", layer)
        assert (written.value, written.verdict) == (pytest.approx(expected), "")
        assert written.n == 4
    itself = row(found, "gradient", "labels", "shuffled, seed 0")
    assert (itself.value, itself.verdict) == (pytest.approx(1), "fail")
    again = row(found, "gradient", "reproducibility", "wider, seed 0")
    assert (again.value, again.verdict) == (pytest.approx(1), "pass")
    assert again.detail.endswith("; trained with network.width = 5, here 4")
    untrained = rank_similarity(maps, gradient(subject.untrained(), images, column)).mean()
    written = row(found, "gradient", "reproducibility", "untrained network")
    assert written.value == pytest.approx(untrained)


def test_an_attack_changes_more_than_chance(found: pd.DataFrame) -> None:
    worst = row(found, "gradient", "attack", "worst change found")
    assert worst.value < row(found, "gradient", "attack", "random change").value
    assert worst.detail.endswith("; l∞ radius eps = 0.03137")
    assert 0 < row(found, "gradient", "attack", "prediction kept").value <= 1
    assert (
        "the attack was made on the gradient"
        in row(found, "edge", "attack", "worst change found").detail
    )


def test_curves_of_a_network_that_has_learnt_nothing_say_nothing(found: pd.DataFrame) -> None:
    gain = row(found, "gradient", "deletion", "gain over random order")
    areas = [row(found, "gradient", "deletion", a).value for a in ("area of random order", "area")]
    assert gain.value == pytest.approx(areas[0] - areas[1])
    assert gain.verdict == "not checked"
    assert gain.detail.startswith("blurring the whole image changes the mean probability by ")


def test_another_regime_is_no_repetition(found: pd.DataFrame) -> None:
    refused = row(found, "gradient", "repeatability", "standard, seed 0")
    assert refused.verdict == "not checked"
    assert refused.detail == "it has no branch adv"


def test_what_cannot_be_checked_says_why(subject: Subject, tmp_path: Path) -> None:
    where = within(subject, tmp_path)
    others = [altered(where, regime="noise")]
    check_maps(where, {"constant": constant}, [FINDING], others=others, eps=EPS, images=3)
    found = read_sanity(tmp_path / "sanity.csv")
    no_maps = "expected values of at least 2 patients, found 0: elsewhere the maps are constant or "
    for check, against, reason in (
        ("randomisation", WHOLE, f"{no_maps}not finite"),
        ("labels", "", "no run that was trained on shuffled labels was given"),
        ("repeatability", "dual, seed 0", "it was trained by another regime (noise)"),
        ("reproducibility", "", "no run of another network was given"),
        ("noise", "noise of standard deviation 0.01", f"{no_maps}not finite"),
    ):
        one = row(found, "constant", check, against)
        assert (one.verdict, one.detail, one.n) == ("not checked", reason, 0)
        assert np.isnan(one.value)
    assert "untrained network" not in set(found["against"])


def test_references_are_written_once(found: pd.DataFrame) -> None:
    for check in ("repeatability", "reproducibility"):
        for name in ("other images", "untrained network"):
            assert row(found, "gradient", check, name).verdict == ""


def test_too_few_patients(subject: Subject, tmp_path: Path) -> None:
    where = within(subject, tmp_path)
    assert check_maps(where, METHODS, [FINDING], eps=EPS, images=1) == []
    found = read_sanity(tmp_path / "sanity.csv")
    assert found["check"].tolist() == [*CHECKS] * 4
    reason = "expected positives of at least 2 patients in the split, found 1"
    assert set(found["detail"]) == {reason}
    assert set(found["verdict"]) == {"not checked"}


def test_a_method_that_fails_is_warned_of(subject: Subject, tmp_path: Path) -> None:
    where = within(subject, tmp_path)
    notes = check_maps(where, {"brightness": edge}, [FINDING], eps=EPS, images=3)
    assert notes == [
        f"{subject.run.path}: brightness maps of effusion stay alike when all weights are drawn "
        "anew: they show the image, not what was learnt"
    ]


def test_where_no_change_keeps_the_prediction_nothing_is_said(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left then is the image itself, whose map is alike of course."""

    def in_vain(network: nn.Module, images: Tensor, *_: Any, **settings: Any) -> MapAttack:
        return MapAttack(images, torch.zeros(len(images), dtype=torch.bool))

    monkeypatch.setattr(scene, "attack_maps", in_vain)
    check_maps(within(subject, tmp_path), {}, [FINDING], eps=EPS, images=3)
    found = read_sanity(tmp_path / "sanity.csv")
    worst = row(found, "edge", "attack", "worst change found")
    assert (worst.verdict, worst.detail) == (
        "not checked",
        "expected values of at least 2 patients, found 0: elsewhere no change was found that keeps "
        "the prediction, or the maps are constant or not finite",
    )
    assert row(found, "edge", "attack", "prediction kept").value == 0


def test_bad_input(subject: Subject) -> None:
    with pytest.raises(MedrobustError, match=r"^eps: expected a number above 0, found 0:"):
        check_maps(subject, METHODS, [FINDING], eps=0.0)
    with pytest.raises(MedrobustError, match=r"^finding: expected some of .*, found 'mumps'$"):
        check_maps(subject, METHODS, ["mumps"], eps=EPS)
    other = altered(subject, seed=7)
    text = (
        f"^{other.run.path}: expected a control that was trained with data.shuffle_labels=true, "
        "found one trained on true labels; give --shuffled another run$"
    )
    with pytest.raises(MedrobustError, match=text):
        check_maps(subject, METHODS, [FINDING], shuffled=other, eps=EPS)


def test_the_edges_are_those_of_the_image() -> None:
    images = torch.rand(2, 3, 6, 5)
    maps = edge(nn.Identity(), images, 0)
    assert maps.shape == (2, 6, 5)
    torch.testing.assert_close(edge(nn.Identity(), images.flip(3), 1), maps.flip(2))
    assert (edge(nn.Identity(), torch.ones(1, 1, 2, 4, 4), 0) == 0).all()
