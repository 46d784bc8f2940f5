import numpy as np
import pytest
import torch
from altered_runs import altered

from medrobust.attacks.ball import Ball
from medrobust.data.store import Store
from medrobust.explain.saliency import gradient
from medrobust.explain.sanity.checks import Trial
from medrobust.explain.sanity.peers import Peers
from medrobust.explain.sanity.scene import Scene
from medrobust.explain.subject import Subject, open_subject
from medrobust.rundir import RunDir

BRANCH, FINDING = "adv", "effusion"


@pytest.fixture(scope="module")
def subject(dual_run: RunDir, tiny_store: Store) -> Subject:
    return open_subject(dual_run, tiny_store)


@pytest.fixture(scope="module")
def shuffled(subject: Subject) -> Subject:
    data = subject.run.config().data.model_copy(update={"shuffle_labels": True})
    return altered(subject, name="control", data=data)


@pytest.fixture(scope="module")
def trial(subject: Subject) -> Trial:
    scene = Scene(
        network=subject.networks[BRANCH],
        fresh=subject.untrained(),
        column=subject.column(FINDING),
        images=subject.images(np.arange(3)),
        keys=torch.arange(3),
        patients=["a", "b", "c"],
        task=subject.store.info.task,
        ball=Ball("linf", 0.01),
        batch_size=2,
        seed=0,
    )
    return Trial("gradient", gradient, scene)


def agreement(peers: Peers, trial: Trial) -> list[tuple[str, str, str, str]]:
    found = peers.agreement(trial, BRANCH, FINDING)
    return [(one.check, one.against, one.verdict, one.detail) for one in found]


def test_a_control_tells_how_far_it_has_come(
    subject: Subject, shuffled: Subject, trial: Trial
) -> None:
    (one,) = Peers(subject, [], shuffled).label_check(trial, BRANCH, FINDING)
    assert (one.value, one.verdict, one.against) == (pytest.approx(1), "fail", "control, seed 0")
    assert one.detail == "passes where the interval lies below 0.5; checkpoint best"


def test_a_control_has_no_control(shuffled: Subject, trial: Trial) -> None:
    another = altered(shuffled, seed=1)
    for control, reason in (
        (shuffled, "it is the same run"),
        (another, "the checked run was trained on shuffled labels itself"),
    ):
        (one,) = Peers(shuffled, [], control).label_check(trial, BRANCH, FINDING)
        assert (one.verdict, one.detail) == ("not checked", reason)


def test_shuffled_labels_are_no_repetition(
    subject: Subject, shuffled: Subject, trial: Trial
) -> None:
    assert agreement(Peers(subject, [shuffled], None), trial) == [
        (
            *("repeatability", "control, seed 0", "not checked"),
            "it was trained on shuffled labels",
        ),
        ("reproducibility", "", "not checked", "no run of another network was given"),
    ]


def test_two_seeds_share_their_references(subject: Subject, trial: Trial) -> None:
    train = subject.run.config().train.model_copy(update={"epochs": 9})
    seeds = [altered(subject, seed=1), altered(subject, seed=2, train=train)]
    rule = "passes where it is surely above that of other images and of the untrained network"
    assert agreement(Peers(subject, seeds, None), trial)[:-1] == [
        ("repeatability", "dual, seed 1", "pass", rule),
        (
            *("repeatability", "dual, seed 2", "pass"),
            f"{rule}; trained with train.epochs = 9, here 1",
        ),
        ("repeatability", "other images", "", ""),
        ("repeatability", "untrained network", "", ""),
    ]
