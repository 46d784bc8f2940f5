"""Counterfactuals of a run's model in files: the pictures, and what can be measured of them."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrobust.attacks.frank_wolfe import STEPS, check_ball
from medrobust.attacks.gradient import check_budget, frozen, full_precision
from medrobust.data.cases import first_cases
from medrobust.errors import MedrobustError
from medrobust.evaluate import Track
from medrobust.explain.counterfactual import (
    LEVEL,
    Counterfactual,
    counterfactual,
    crossed,
    radius_for,
    sizes,
    wanted_labels,
)
from medrobust.explain.robust_branch import judged_robust
from medrobust.explain.subject import Rows, Subject
from medrobust.explain.tables import replace_rows
from medrobust.files import file_name, write_atomically
from medrobust.losses import rank_scores
from medrobust.models import restore_model
from medrobust.progress import Count
from medrobust.thresholds import thresholds_for, training_store_of

Direction = Literal["auto", "towards", "away"]
COLUMNS = [
    *("store", "split", "branch", "finding", "direction", "image_id"),
    *("p", "level", "radius", "steps", "probability_before", "probability_after", "threshold"),
    *("valid", "valid_on_other", "other", "l1", "l2", "linf", "lp", "changed", "top"),
    *("robust", "other_robust", "reason"),
]


def make_counterfactuals(
    subject: Subject,
    finding: str,
    *,
    direction: Direction = "auto",
    other: Subject | None = None,
    images: int = 8,
    level: float = LEVEL,
    p: float = 1.5,
    steps: int = STEPS,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write counterfactuals of one finding for every branch; return what to be warned of.

    `counterfactuals/<store>/<split>/<branch>/<finding>.npz` has `image_id` (n,), `steps` (S,), and
    after that many steps the images, `path` (n, S, C, ...) in float16, and their logits, `scores`
    (n, S) (log-odds of exclusive classes); `start` and `end` are the first and the last image in
    float32. `counterfactuals.csv` has a row per image: whether the decision at the threshold
    chosen on validation images changed (`valid`; empty where it was already as wanted), here and
    on the other model, and how large and sparse the change is, see `sizes`.

    Args:
        subject: whose branches, and which images.
        finding: that appears or vanishes.
        direction: `towards` images labelled without it, `away` those with it, `auto` half each.
        other: an independently trained model that judges, too; its last branch does. It should
            be robust, since what misleads one network that is not misleads others.
        images: how many; the first by a hash of their ids.
        level: mean change per pixel that the radius is made from, see `radius_for`.
        p: the norm, 1 ≤ p ≤ ∞.
        steps: of the search.
        track: makes a progress callback.

    Raises:
        MedrobustError: unknown finding or direction, no labelled images, settings that cannot be,
            or another model that is the same one or sees other images.
    """
    shape = subject.store.images.shape[1:]
    check_budget(steps, 1, random_start=True)
    check_ball(0.0, p)
    search = {"p": p, "level": level, "radius": radius_for(shape, p, level), "steps": steps}
    subject.chosen([finding])
    rows = _cases(subject, finding, direction, images)
    judge, notes = _judge(subject, other, finding)
    notes += _own_thresholds(subject)
    done = track(len(rows) * len(subject.networks) * steps, f"{subject.run.path}: counterfactuals")
    tables = []
    for branch in subject.networks:
        reader, said = _reader(subject, branch, finding)
        task = _Task(subject, branch, finding, reader, judge, search, done)
        tables.append(task.done_for(rows))
        notes += said
        if not reader.robust:
            notes.append(
                f"{subject.run.path}: branch {branch} is not robust ({reader.reason}), so its "
                "counterfactuals mean little: what changes its decision need not be anything "
                "that a person can see"
            )
    table = pd.concat(tables, ignore_index=True)[COLUMNS]
    path = subject.folder / "counterfactuals.csv"
    replace_rows(path, table, ["store", "split", "finding"])
    return list(dict.fromkeys(notes))


@dataclass(frozen=True)
class _Reader:
    """A network that decides about one finding."""

    name: str
    network: nn.Module
    task: str
    column: int
    threshold: float
    robust: bool
    reason: str
    """Why it is said to be robust or not."""

    def probabilities(self, images: Tensor) -> Tensor:
        """(N,)."""
        with frozen(self.network):
            scores = rank_scores(full_precision(self.network(images)), self.task)
        return scores[:, self.column].sigmoid()


@dataclass(frozen=True)
class _Task:
    """The counterfactuals of one branch."""

    subject: Subject
    branch: str
    finding: str
    reader: _Reader
    judge: _Reader | None
    search: dict[str, Any]
    done: Count

    def done_for(self, rows: Rows) -> pd.DataFrame:
        """Write the pictures of these images; return their rows of the table."""
        parts, tables = [], []
        for some, shown, labels, keys in self.subject.batches(rows, "counterfactual"):
            towards = labels[:, self.reader.column] == 0
            found = self._made(shown, towards, keys)
            tables.append(self._table(self.subject.ids(some), found, towards))
            parts.append(found)
        self._write(rows, parts)
        return pd.concat(tables, ignore_index=True)

    def _made(self, images: Tensor, towards: Tensor, keys: Tensor) -> Counterfactual:
        wanted = wanted_labels(len(self.subject.store.findings), self.reader.column, towards)
        return counterfactual(
            *(self.reader.network, images, wanted, keys),
            task=self.reader.task,
            radius=self.search["radius"],
            p=self.search["p"],
            steps=self.search["steps"],
            watch=lambda step, best: self.done(len(best)),
        )

    def _table(self, ids: list[str], found: Counterfactual, towards: Tensor) -> pd.DataFrame:
        reader, judge = self.reader, self.judge
        before, after = (reader.probabilities(shown) for shown in (found.start, found.end))
        seen = torch.full_like(before, torch.nan)
        if judge is not None:
            here, there = (judge.probabilities(shown) for shown in (found.start, found.end))
            seen = crossed(here, there, judge.threshold, towards)
        measured = sizes(found.difference, self.search["p"])
        columns = {
            **{"probability_before": before, "probability_after": after},
            **{"valid": crossed(before, after, reader.threshold, towards), "valid_on_other": seen},
            **measured,
        }
        return pd.DataFrame(
            {
                **{"store": self.subject.name, "split": self.subject.split},
                **{"branch": self.branch, "finding": self.finding, "image_id": ids},
                "direction": np.where(towards.cpu().numpy(), "towards", "away"),
                **self.search,
                **{"threshold": reader.threshold, "other": judge.name if judge else ""},
                **{"robust": int(reader.robust), "reason": reader.reason},
                "other_robust": int(judge.robust) if judge else "",
                **{name: values.double().cpu().numpy() for name, values in columns.items()},
            }
        )

    def _write(self, rows: Rows, parts: list[Counterfactual]) -> None:
        path = torch.cat([part.path for part in parts]).cpu().numpy()
        scores = torch.cat([part.scores for part in parts])[..., self.reader.column]
        folder = self.subject.folder / "counterfactuals" / self.subject.name / self.subject.split
        file = folder / self.branch / f"{file_name(self.finding)}.npz"
        with write_atomically(file) as temporary:
            np.savez_compressed(
                temporary,
                image_id=np.array(self.subject.ids(rows), dtype=str),
                steps=np.array(parts[0].steps),
                path=path.astype(np.float16),
                start=path[:, 0],
                end=path[:, -1],
                scores=scores.cpu().numpy(),
            )


def _cases(subject: Subject, finding: str, direction: str, images: int) -> Rows:
    """Images to change, before any result is known: those that have and those that lack it."""
    if direction not in get_args(Direction):
        raise MedrobustError(
            f"direction: expected one of {', '.join(get_args(Direction))}, found {direction!r}"
        )
    if images < 1:
        raise MedrobustError(f"images: expected at least 1, found {images}")
    inside = subject.store.rows(subject.split)
    labels = subject.store.labels[inside, subject.column(finding)]
    counts = {"towards": {0: images}, "away": {1: images}}.get(
        direction, {0: (images + 1) // 2, 1: images // 2}
    )
    chosen = [
        row
        for label, count in counts.items()
        for row in first_cases(subject.store, inside[labels == label], count)
    ]
    if not chosen:
        which = {"towards": "without", "away": "with"}.get(direction, "with or without")
        raise MedrobustError(
            f"{subject.store.path}: expected images of split {subject.split} labelled {which} "
            f"{finding}, found none"
        )
    return np.array(chosen, dtype=np.int64)


def _own_thresholds(subject: Subject) -> list[str]:
    """What to say where thresholds were chosen on the very images that are changed."""
    if subject.split != "val" or subject.name != subject.run.provenance()["store"]["name"]:
        return []
    return [
        f"{subject.run.path}: thresholds of decisions were chosen on split val itself, so how many "
        "decisions change there says nothing of other images; look at the pictures, and count on "
        "split test"
    ]


def _reader(subject: Subject, branch: str, finding: str) -> tuple[_Reader, list[str]]:
    """The branch with its threshold, and what was said of that."""
    restored = restore_model(subject.run, subject.checkpoint)
    restored.model.to(subject.device)
    home = training_store_of(subject.run)
    thresholds = thresholds_for(subject.run, restored, branch, subject.checkpoint, home)
    config = subject.run.config()
    reader = _Reader(
        f"{config.name}/{config.seed}/{branch}",
        subject.networks[branch],
        subject.store.info.task,
        subject.column(finding),
        thresholds.values[finding],
        *judged_robust(subject, branch),
    )
    return reader, list(thresholds.warnings)


def _judge(
    subject: Subject, other: Subject | None, finding: str
) -> tuple[_Reader | None, list[str]]:
    """The last branch of another model."""
    if other is None:
        return None, []
    if other.run.path.resolve() == subject.run.path.resolve():
        raise MedrobustError(
            f"other run: expected an independently trained one, found {other.run.path} itself"
        )
    sizes_of = [list(one.store.images.shape[1:]) for one in (subject, other)]
    if sizes_of[0] != sizes_of[1]:
        raise MedrobustError(
            f"{other.run.path}: expected a model of images {sizes_of[0]}, as {subject.run.path} "
            f"was trained on, found {sizes_of[1]}"
        )
    if finding not in other.store.findings:
        known = ", ".join(other.store.findings)
        raise MedrobustError(
            f"{other.run.path}: expected a model of {finding}, found one of {known}"
        )
    reader, notes = _reader(other, list(other.networks)[-1], finding)
    if not reader.robust:
        notes.append(
            f"{other.run.path}: it is not robust ({reader.reason}), so that it agrees shows "
            "little: noise that misleads one network misleads others like it; name a robust one"
        )
    return reader, notes
