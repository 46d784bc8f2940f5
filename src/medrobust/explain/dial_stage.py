"""AUROC along the dial between the branches of a dual run, clean and attacked: `dial.csv`."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from medrobust.attacks import Ball
from medrobust.errors import MedrobustError
from medrobust.evaluate import Track
from medrobust.explain.dial import clean_and_attacked, dialled
from medrobust.explain.geometry_stage import radius
from medrobust.explain.subject import Subject, open_subject
from medrobust.explain.tables import replace_rows
from medrobust.metrics import MACRO, Estimate, covered_findings, estimated, mean_estimate
from medrobust.progress import Count
from medrobust.statistics import percentile_interval, weighted_auroc

DIAL = [
    *("store", "split", "norm", "eps", "share", "condition", "finding", "value", "low", "high"),
    "chosen",
]
CONDITIONS = ("clean", "attacked")


def write_dial(
    subject: Subject,
    *,
    eps: float | None = None,
    points: int = 11,
    redraws: int = 1000,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write `dial.csv`: AUROC of every finding and their mean, with 95 % intervals.

    Each share of the adversarial branch's batch norms gives a network, which is attacked itself
    (suite `fast`). The share to be used is chosen on the training store's validation split: highest
    mean of clean and attacked macro AUROC, of equal ones the smallest. Its rows are marked with 1
    in `chosen`; the rows it was chosen by are in the file, too.

    Args:
        subject: a dual run, and which images.
        eps: of the attack, in the training's norm; that of the training if not given.
        points: shares from 0 to 1, both included.
        redraws: of the patients; the same for every share.
        track: makes a progress callback.

    Returns:
        What to be warned of.

    Raises:
        MedrobustError: a run without two branches, split val, fewer than two points, ε not above
            0, a split without a finding of both classes, or no training store.
    """
    _check(subject, points)
    norm = subject.run.config().attack.norm
    ball, home = Ball(norm, radius(subject, eps, norm)), _home(subject)
    places = [_Place(home, "val"), _Place(subject, subject.split)]
    images = sum(len(place.subject.store.rows(place.split)) for place in places)
    done = track(points * images, subject.title("dial"))
    shares = [point / (points - 1) for point in range(points)]
    by_validation, table = (
        pd.concat([place.scored(share, ball, redraws, done) for share in shares])
        for place in places
    )
    table = pd.concat([by_validation, table], ignore_index=True)
    chosen = _best(by_validation)
    table["chosen"] = (table["share"] == chosen).astype(int)
    table = table.assign(norm=norm, eps=ball.radius)
    replace_rows(subject.folder / "dial.csv", table[DIAL], DIAL[:4])
    return list(subject.notes)


@dataclass(frozen=True)
class _Place:
    """Where the dial is tried: a split of a store."""

    subject: Subject
    split: str

    def scored(self, share: float, ball: Ball, redraws: int, done: Count) -> pd.DataFrame:
        """AUROC of the network at one share."""
        branches = self.subject.networks
        network = self.subject.fast(dialled(branches["clean"], branches["adv"], share))
        task = self.subject.store.info.task
        scores = clean_and_attacked(network, self._batches(), ball, task, done)
        lines = [
            (self.subject.name, self.split, share, condition, finding, *values)
            for condition, logits in zip(CONDITIONS, scores, strict=True)
            for finding, *values in self._aurocs(logits, redraws)
        ]
        columns = [*("store", "split", "share", "condition", "finding", "value", "low", "high")]
        return pd.DataFrame(lines, columns=columns)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        rows = self.subject.store.rows(self.split)
        for _, images, labels, keys in self.subject.batches(rows, "dial"):
            yield images, labels, keys

    def _aurocs(self, scores: Tensor, redraws: int) -> Iterator[tuple[str, float, float, float]]:
        """Every finding's and their mean."""
        store = self.subject.store
        rows = store.rows(self.split)
        labels = pd.DataFrame(store.labels[rows], columns=store.findings)
        measures = {
            finding: weighted_auroc(labels[finding], scores[:, store.findings.index(finding)])
            for finding in covered_findings(labels)
        }
        if not measures:
            raise MedrobustError(
                f"dial: expected a finding with positive and negative images in split "
                f"{self.split} of {store.path}, found none"
            )
        patients = store.table["patient_id"].iloc[rows]
        found: dict[str, Estimate] = estimated(measures, patients, redraws, self.subject.seed)
        for finding, one in {**found, MACRO: mean_estimate(list(found.values()))}.items():
            low, high, _ = percentile_interval(one.redrawn)
            yield finding, one.value, low, high


def _best(validation: pd.DataFrame) -> float:
    """The share of the highest mean of clean and attacked macro AUROC."""
    macro = validation[validation["finding"] == MACRO]
    means = macro.groupby("share")["value"].mean()
    return float(means.index.to_numpy(float)[means.to_numpy().argmax()])


def _home(subject: Subject) -> Subject:
    """The same run with the training store, whose validation split chooses."""
    if subject.store.checksum == subject.run.provenance()["store"]["checksum"]:
        return subject
    return open_subject(
        subject.run,
        split="val",
        checkpoint=subject.checkpoint,
        batch_size=subject.batch_size,
        device=str(subject.device),
    )


def _check(subject: Subject, points: int) -> None:
    if not {"clean", "adv"} <= set(subject.networks):
        raise MedrobustError(
            f"dial: expected a dual run, with branches clean and adv, found {subject.run.path} "
            f"with {', '.join(subject.networks)}"
        )
    if subject.split == "val":
        raise MedrobustError(
            "dial: expected a split whose images do not choose the share, found val; use test"
        )
    if points < 2:
        raise MedrobustError(f"dial: expected at least 2 points, found {points}")
