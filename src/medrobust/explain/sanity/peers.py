"""The checks of a run's maps against those of other trainings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medrobust.errors import MedrobustError
from medrobust.explain.sanity.checks import (
    Trial,
    check_agreement,
    check_labels,
    check_references,
)
from medrobust.explain.sanity.kinship import differences, learnt, other_labels, unlike
from medrobust.explain.sanity.table import Outcome
from medrobust.explain.sanity.verdicts import joined, unchecked
from medrobust.explain.subject import Subject

ASKED = {"repeatability": "of another seed", "reproducibility": "of another network"}


@dataclass(frozen=True)
class Peers:
    """A run, and what its maps are held against.

    Raises:
        MedrobustError: the control was not trained on shuffled labels.
    """

    subject: Subject
    others: Sequence[Subject]
    shuffled: Subject | None

    def __post_init__(self) -> None:
        if self.shuffled and not self.shuffled.run.config().data.shuffle_labels:
            raise MedrobustError(
                f"{self.shuffled.run.path}: expected a control that was trained with "
                "data.shuffle_labels=true, found one trained on true labels; give --shuffled "
                "another run"
            )

    def label_check(self, trial: Trial, branch: str, finding: str) -> list[Outcome]:
        """The check `labels`, or why there is none."""
        control = self.shuffled
        if control is None:
            return [unchecked("labels", "", "no run that was trained on shuffled labels was given")]
        title, reason = _title(control), unlike(self.subject, control, branch, finding)
        if not reason and self.subject.run.config().data.shuffle_labels:
            reason = "the checked run was trained on shuffled labels itself"
        if reason:
            return [unchecked("labels", title, reason)]
        network, column = control.networks[branch], control.column(finding)
        told = joined(learnt(control), differences(self.subject, control))
        return check_labels(trial, network, column, title, told)

    def agreement(self, trial: Trial, branch: str, finding: str) -> Iterator[Outcome]:
        """The checks `repeatability` and `reproducibility`, or why there are none."""
        for check, what in ASKED.items():
            chosen = [other for other in self.others if self._check_of(other) == check]
            if not chosen:
                yield unchecked(check, "", f"no run {what} was given")
                continue
            found = [self._agreement_with(one, check, trial, branch, finding) for one in chosen]
            yield from found
            if any(one.n for one in found):
                yield from check_references(trial, check)

    def _agreement_with(
        self, other: Subject, check: str, trial: Trial, branch: str, finding: str
    ) -> Outcome:
        title = _title(other)
        reason = unlike(self.subject, other, branch, finding) or other_labels(self.subject, other)
        if reason:
            return unchecked(check, title, reason)
        network, column = other.networks[branch], other.column(finding)
        told = differences(self.subject, other)
        return check_agreement(trial, check, network, column, title, told)

    def _check_of(self, other: Subject) -> str:
        ours, theirs = self.subject.run.config().network, other.run.config().network
        return "repeatability" if ours == theirs else "reproducibility"


def _title(subject: Subject) -> str:
    config = subject.run.config()
    return f"{config.name}, seed {config.seed}"
