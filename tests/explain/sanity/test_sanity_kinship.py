from dataclasses import replace
from pathlib import Path

import pytest
from altered_runs import altered

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.sanity.kinship import differences, learnt, other_labels, unlike
from medrobust.explain.subject import Subject, open_subject
from medrobust.rundir import RunDir

FINDING = "effusion"


@pytest.fixture(scope="module")
def subject(dual_run: RunDir, tiny_store: Store) -> Subject:
    return open_subject(dual_run, tiny_store)


def test_maps_of_the_same_training_on_the_same_images_are_comparable(subject: Subject) -> None:
    assert unlike(subject, altered(subject, seed=7), "adv", FINDING) == ""


def test_why_maps_are_not_comparable(subject: Subject, other_store: Store) -> None:
    path = subject.run.path
    detour = replace(subject, run=RunDir(path / ".." / path.name))
    elsewhere = altered(subject, {"name": "blobs", "checksum": "0123456789ab"})
    for other, reason in (
        (subject, "it is the same run"),
        (detour, "it is the same run"),
        (replace(altered(subject), store=other_store), "it was opened on other images"),
        (replace(altered(subject), networks={}), "it has no branch adv"),
        (altered(subject, regime="noise"), "it was trained by another regime (noise)"),
        (elsewhere, "it was trained on other images (blobs, 01234567)"),
        (
            altered(subject, {"name": "", "checksum": ""}),
            "it is not known that both were trained on the same images",
        ),
    ):
        assert unlike(subject, other, "adv", FINDING) == reason
    assert unlike(subject, altered(subject), "adv", "mumps") == "it does not know mumps"


def test_labels_are_told_apart(subject: Subject) -> None:
    data = subject.run.config().data.model_copy(update={"shuffle_labels": True})
    shuffled = altered(subject, data=data)
    assert other_labels(subject, altered(subject)) == ""
    assert other_labels(shuffled, shuffled) == ""
    assert other_labels(subject, shuffled) == "it was trained on shuffled labels"
    assert other_labels(shuffled, subject) == "it was trained on true labels"
    assert differences(subject, shuffled) == ""


def test_settings_that_differ_are_named(subject: Subject) -> None:
    config = subject.run.config()
    longer = altered(
        subject,
        seed=3,
        name="longer",
        attack=config.attack.model_copy(update={"eps": 0.25}),
        train=config.train.model_copy(update={"epochs": 9, "patience": 2, "accelerator": "cuda"}),
        data=config.data.model_copy(update={"store": Path("elsewhere")}),
    )
    assert differences(subject, altered(subject, seed=3)) == ""
    assert differences(subject, longer) == (
        f"trained with attack.eps = 0.25, here {config.attack.eps}; train.epochs = 9, here 1; "
        "train.patience = 2, here None"
    )


def test_how_far_a_control_has_come(subject: Subject, tmp_path: Path) -> None:
    control = replace(subject, run=RunDir(tmp_path), checkpoint="last")
    assert learnt(control) == "checkpoint last"
    control.run.log.write_text("")
    assert learnt(control) == "checkpoint last"
    control.run.log.write_text(
        '{"train_loss": 0.69314}\n{"train_loss": 1}\n{"train_loss": 0.0204}\n'
    )
    assert learnt(control) == (
        "checkpoint last; its training loss was 0.693 in the first epoch, 0.0204 in the last"
    )
    control.run.log.write_text('{"loss": 1}\n')
    text = (
        f"^{control.run.log}: expected a JSON line with train_loss per epoch, found: 'train_loss'$"
    )
    with pytest.raises(MedrobustError, match=text):
        learnt(control)
