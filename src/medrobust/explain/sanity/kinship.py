"""Two trainings: may their maps be compared, and what else sets them apart?"""

import json
from typing import Any

from medrobust.errors import MedrobustError
from medrobust.explain.subject import Subject

SECTIONS = ("data", "network", "attack", "augment", "train")
NOT_LEARNT = {
    *("data.store", "data.on_device", "data.shuffle_labels"),
    *("train.accelerator", "train.processes", "train.compile", "train.tensorboard"),
    *("train.keep_every", "attack.folded"),
}
"""Settings that change nothing of what is learnt, or that are told apart elsewhere."""


def unlike(subject: Subject, other: Subject, branch: str, finding: str) -> str:
    """Why a subject's maps of a finding can't be held against another's; empty if they can."""
    ours, theirs = subject.run.config().regime, other.run.config().regime
    reasons = {
        "it is the same run": other.run.path.resolve() == subject.run.path.resolve(),
        "it was opened on other images": other.store.checksum != subject.store.checksum,
        f"it has no branch {branch}": branch not in other.networks,
        f"it does not know {finding}": finding not in other.store.findings,
        f"it was trained by another regime ({theirs})": ours != theirs,
    }
    return next(
        (reason for reason, holds in reasons.items() if holds), _other_images(subject, other)
    )


def other_labels(subject: Subject, other: Subject) -> str:
    """Why two trainings did not learn the same labels; empty if they did."""
    ours, theirs = (one.run.config().data.shuffle_labels for one in (subject, other))
    if ours == theirs:
        return ""
    return f"it was trained on {'shuffled' if theirs else 'true'} labels"


def differences(subject: Subject, other: Subject) -> str:
    """Settings of two trainings that differ and matter, such as `train.epochs = 5, here 30`."""
    ours, theirs = _settings(subject), _settings(other)
    found = [
        f"{name} = {theirs[name]}, here {ours[name]}" for name in ours if theirs[name] != ours[name]
    ]
    return f"trained with {'; '.join(found)}" if found else ""


def learnt(control: Subject) -> str:
    """How far a control's training loss has fallen: one that has learnt nothing controls nothing.

    Raises:
        MedrobustError: the training's log is damaged.
    """
    told, path = f"checkpoint {control.checkpoint}", control.run.log
    if not path.is_file():
        return told
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        losses = [float(json.loads(line)["train_loss"]) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise MedrobustError(
            f"{path}: expected a JSON line with train_loss per epoch, found: {error}"
        ) from error
    if not losses:
        return told
    first, last = losses[0], losses[-1]
    return f"{told}; its training loss was {first:.3g} in the first epoch, {last:.3g} in the last"


def _other_images(subject: Subject, other: Subject) -> str:
    ours, theirs = (one.run.provenance()["store"] for one in (subject, other))
    if not (ours["checksum"] and theirs["checksum"]):
        return "it is not known that both were trained on the same images"
    if ours["checksum"] == theirs["checksum"]:
        return ""
    return f"it was trained on other images ({theirs['name']}, {theirs['checksum'][:8]})"


def _settings(subject: Subject) -> dict[str, Any]:
    dumped = subject.run.config().model_dump(mode="json", include=set(SECTIONS))
    return {
        f"{section}.{name}": value
        for section in SECTIONS
        for name, value in dumped[section].items()
        if f"{section}.{name}" not in NOT_LEARNT
    }
