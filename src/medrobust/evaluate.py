"""Evaluation: predictions of every branch, clean and attacked, and the numbers they give."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from medrobust.attacks import Attack, gaussian_noise, pgd
from medrobust.conditions import Condition, Evaluation, conditions_of
from medrobust.config import Config
from medrobust.data.cases import gallery_rows
from medrobust.data.store import Store
from medrobust.dual import DualBN
from medrobust.errors import MedrobustError
from medrobust.files import write_atomically
from medrobust.inference import Cases, logits_of, probabilities, rank_scores
from medrobust.metrics import (
    choose_thresholds,
    read_metrics,
    score_predictions,
    threshold_rows,
    write_metrics,
)
from medrobust.models import ball_of, fit_model, loss_for
from medrobust.predictions import read_predictions, write_predictions
from medrobust.progress import Count
from medrobust.rundir import RunDir, store_name

Track = Callable[[int, str], Count]
"""(number of images, title) -> what is called with the number of images done."""


def evaluate(
    run: RunDir,
    store: Store | None = None,
    what: Evaluation | None = None,
    *,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write `predictions/*`, `adversarial/*` and `metrics.csv`; return what to be warned of.

    Predictions that are there already, of the same weights, store and attack, are kept.

    Args:
        run: a training's directory.
        store: other images than the training's; the training store if not given.
        what: which split, attacks and branches.
        track: makes a progress callback.

    Raises:
        MedrobustError: the store does not fit the model or was changed since the training, the
            split is empty, an attack is not valid.
    """
    what, config = what or Evaluation(), run.config()
    job = _Job.of(run, store or run.training_store(), config, what)
    conditions = list(conditions_of(config, what, job.model.branches))
    for condition in conditions:
        job.predict(what.split, condition, track)
    validation, notes = _validation(job)
    validation.predict("val", Condition(), track)
    rows, warnings = _score(job, validation, conditions)
    _merge_metrics(run, rows, job)
    return [*job.notes, *notes, *warnings]


@dataclass(frozen=True)
class _Job:
    """A model, the images it is shown, and where the predictions go."""

    run: RunDir
    store: Store
    config: Config
    what: Evaluation
    model: DualBN
    weights: str
    device: torch.device
    missing: tuple[str, ...]
    """The model's findings that the store has no labels of."""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, run: RunDir, store: Store, config: Config, what: Evaluation) -> "_Job":
        fitted = fit_model(run, store, what.checkpoint)
        device, aligned = choose_device(what.device), fitted.aligned
        model, notes = fitted.model.to(device), [f"{store.path}: {n}" for n in aligned.notes]
        return cls(
            *(run, aligned.store, config, what, model, fitted.weights, device),
            missing=aligned.missing,
            notes=tuple(notes),
        )

    def scored(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predictions of the findings that the store has labels of."""
        columns = [name for f in self.missing for name in (f, f"logit:{f}")]
        return frame.drop(columns=columns)

    def predict(self, split: str, condition: Condition, track: Track) -> None:
        """Write the predictions of one condition, unless they are there."""
        branches = self._seeing(condition)
        wanted = {b: self._sidecar(split, b, condition) for b in branches}
        missing = {
            b: s for b, s in wanted.items() if not _is_there(self.path(split, b, condition), s)
        }
        if not missing:
            return
        rows = self.store.rows(split)
        batch = self.what.batch_size or self.config.evaluate.batch_size
        cases = Cases(self.store, rows, batch, self.device, self.config.seed)
        keep = _Kept(gallery_rows(self.store, split) if condition.name == "pgd" else rows[:0])
        found = logits_of(
            {branch: self.model.branch(branch) for branch in missing},
            cases,
            attack=self._attack(condition),
            attacked=self.model.branch(condition.attacked or self.model.branches[0]),
            name=condition.name,
            progress=track(len(rows), f"{self.run.path}: {self.stem(split, 'all', condition)}"),
            keep=keep,
        )
        for branch, logits in found.items():
            path = self.path(split, branch, condition)
            keep.write(self.run.adversarial / f"{path.stem}.npz", self.store)
            write_predictions(path, self._frame(rows, branch, logits), missing[branch])

    def has_weights_of(self, stem: str) -> bool:
        """Whether these predictions are of the weights at hand."""
        try:
            text = (self.run.predictions / f"{stem}.json").read_text(encoding="utf-8")
            return bool(json.loads(text)["weights"] == self.weights)
        except (OSError, ValueError, KeyError):
            return False

    def stem(self, split: str, branch: str, condition: Condition) -> str:
        """Store, split, checkpoint, branch, and how the images were shown."""
        name = store_name(self.run, self.store)
        start = f"{name}-{split}-{self.what.checkpoint}-{branch}"
        if not condition.name:
            return f"{start}-clean"
        shown = f"{condition.name}-{self.config.attack.norm}-{condition.eps:.6g}"
        return f"{start}-{shown}" + (f"-on-{condition.attacked}" if condition.attacked else "")

    def path(self, split: str, branch: str, condition: Condition) -> Path:
        """The predictions' file."""
        return self.run.predictions / f"{self.stem(split, branch, condition)}.csv"

    def _seeing(self, condition: Condition) -> tuple[str, ...]:
        """The branches whose predictions are wanted."""
        if condition.attacked and not self.what.matrix:
            return (condition.attacked,)
        return self.model.branches

    def _attack(self, condition: Condition) -> Attack | None:
        ball = ball_of(self.config.attack, condition.eps)
        if condition.name == "noise-control":
            return partial(gaussian_noise, ball=ball)
        if condition.name == "pgd":
            return partial(
                pgd,
                ball=ball,
                loss=loss_for(self.store.info.task),
                steps=condition.steps,
                restarts=condition.restarts,
            )
        return None

    def _frame(self, rows: NDArray[np.int64], branch: str, logits: Tensor) -> pd.DataFrame:
        task, findings = self.store.info.task, self.store.findings
        frame = self.store.table[["image_id", "patient_id"]].iloc[rows].reset_index(drop=True)
        frame["branch"] = branch
        for column, finding in enumerate(findings):
            frame[finding] = probabilities(logits, task)[:, column].numpy()
        for column, finding in enumerate(findings):
            frame[f"logit:{finding}"] = rank_scores(logits, task)[:, column].numpy()
        return frame

    def _sidecar(self, split: str, branch: str, condition: Condition) -> dict[str, Any]:
        return {
            "store": store_name(self.run, self.store),
            "store_checksum": self.store.checksum,
            "split": split,
            "checkpoint": self.what.checkpoint,
            "branch": branch,
            "weights": self.weights,
            "task": self.store.info.task,
            "attack": {
                "name": condition.name,
                "goal": "total" if condition.attacked else "",
                "norm": self.config.attack.norm if condition.name else "",
                "eps": condition.eps,
                "steps": condition.steps,
                "step_size": 2.5 * condition.eps / condition.steps if condition.steps else None,
                "restarts": condition.restarts,
                "attacked_branch": condition.attacked,
                "seed": self.config.seed,
            },
        }


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one.

    Raises:
        MedrobustError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()  # some devices have a name but can't compute
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise MedrobustError(
            f"device: expected auto, cpu or another device of this machine, found {name!r}, "
            f"which can't be used here ({reason})"
        ) from error
    return torch.device(name)


class _Kept:
    """The attacked versions of a few images, for the gallery."""

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self.rows = rows
        self.images: dict[int, NDArray[np.float32]] = {}

    def __call__(self, rows: NDArray[np.int64], images: Tensor) -> None:
        for place in np.flatnonzero(np.isin(rows, self.rows)):
            self.images[int(rows[place])] = images[place].cpu().numpy().astype(np.float32)

    def write(self, path: Path, store: Store) -> None:
        """Write `image_id` and `image`, if there are any."""
        if not self.images:
            return
        ids = store.table["image_id"].iloc[list(self.images)].to_numpy(str)
        with write_atomically(path) as temporary:
            np.savez_compressed(temporary, image_id=ids, image=np.stack(list(self.images.values())))


def _is_there(path: Path, sidecar: dict[str, Any]) -> bool:
    """Whether predictions of exactly these settings were written before."""
    if not path.is_file():
        return False
    try:
        return bool(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == sidecar)
    except (OSError, ValueError):
        return False


def _validation(job: _Job) -> tuple[_Job, list[str]]:
    """The job whose validation split gives the thresholds: that of the training store."""
    if job.store.checksum == job.run.provenance()["store"]["checksum"]:
        return job, []
    try:
        home = job.run.training_store()
    except MedrobustError as error:
        if "val" not in set(job.store.table["split"]):
            raise MedrobustError(f"thresholds can't be chosen: {error}") from error
        return job, [f"thresholds come from split val of {job.store.path}, because {error}"]
    return replace(job, store=home, missing=()), []


def _score(
    job: _Job, validation: _Job, conditions: Sequence[Condition]
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of `metrics.csv` of one evaluation, and the warnings, each once."""
    rows, warnings = [], []
    redraws = job.what.redraws or job.config.evaluate.redraws
    for branch in job.model.branches:
        path = validation.path("val", branch, Condition())
        frame, sidecar = read_predictions(path)
        thresholds = choose_thresholds(frame, validation.store.table)
        rows.append(threshold_rows(thresholds, frame, sidecar, validation.store.table, path.stem))
        for condition in conditions:
            if branch not in job._seeing(condition):
                continue
            path = job.path(job.what.split, branch, condition)
            frame, sidecar = read_predictions(path)
            frame, table = job.scored(frame), job.store.table
            scores = score_predictions(
                frame, sidecar, table, thresholds, path.stem, redraws, job.config.seed
            )
            rows.append(scores.rows)
            warnings += scores.warnings
    return pd.concat(rows, ignore_index=True), _each_once(warnings)


def _each_once(warnings: Sequence[str]) -> list[str]:
    """Of warnings about several predictions the first, with the number of the others."""
    places: dict[str, list[str]] = {}
    for warning in warnings:
        place, _, what = warning.partition(": ")
        places.setdefault(what, []).append(place)
    return [
        f"{first}{f' and {len(others)} more' if others else ''}: {what}"
        for what, (first, *others) in places.items()
    ]


def _merge_metrics(run: RunDir, rows: pd.DataFrame, job: _Job) -> None:
    """Replace the rows of the same predictions; drop those of older weights; keep the others.

    Predictions of split val have thresholds, and metrics too where that split was evaluated.
    """

    def origin(table: pd.DataFrame) -> "pd.Series[str]":
        stem = table["predictions"]
        return stem.where(table["metric"] != "threshold", stem + "/thresholds")

    if run.metrics.is_file():
        older = read_metrics(run.metrics)
        older = older[~origin(older).isin(set(origin(rows)))]
        same = {stem: job.has_weights_of(stem) for stem in set(older["predictions"])}
        current = np.array([same[stem] for stem in older["predictions"]], dtype=bool)
        older = older[(older["checkpoint"] != job.what.checkpoint) | current]
        rows = pd.concat([older, rows], ignore_index=True) if len(older) else rows
    write_metrics(run.metrics, rows)
