"""One evaluation at work: a model, the images it is shown, and where its predictions go."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from medrobust.conditions import Condition, Evaluation, Sweep, aimed_at
from medrobust.config import Config
from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.dual import DualBN
from medrobust.errors import MedrobustError
from medrobust.files import file_name
from medrobust.folding import folded
from medrobust.inference import Cases
from medrobust.metrics import choose_thresholds, cuts_of
from medrobust.models import fit_model
from medrobust.parallel.place import here
from medrobust.predictions import CLASS_MARGIN, LOGIT, read_predictions
from medrobust.routing import deployments
from medrobust.rundir import RunDir, store_name


@dataclass(frozen=True)
class Job:
    """A model, the images it is shown, and where the predictions go."""

    run: RunDir
    store: Store
    config: Config
    what: Evaluation
    networks: Mapping[str, nn.Module]
    """What the model is deployed as, by name; its branches only, unless the matrix is asked for."""
    weights: str
    device: torch.device
    missing: tuple[str, ...]
    """The model's findings that the store has no labels of."""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, run: RunDir, store: Store, config: Config, what: Evaluation) -> "Job":
        """Load the model and see the store through its findings.

        Raises:
            MedrobustError: the store does not fit, or has no labels at all.
        """
        fitted = fit_model(run, store, what.checkpoint)
        device, aligned = choose_device(what.device), fitted.aligned
        _check_labels(aligned.store, what.split)
        notes = _fold_branches(fitted.model, aligned.store)
        networks = deployments(fitted.model.to(device), aligned.store.info.task)
        if not what.matrix:
            networks = {name: networks[name] for name in fitted.model.branches}
        return cls(
            *(run, aligned.store, config, what, networks, fitted.weights, device),
            missing=aligned.missing,
            notes=(*(f"{store.path}: {note}" for note in aligned.notes), *notes),
        )

    def home(self, store: Store) -> "Job":
        """The same on the training store."""
        return replace(self, store=store, missing=())

    def cases(self, split: str) -> Cases:
        """The images of a split."""
        batch = self.what.batch_size or self.config.evaluate.batch_size
        return Cases(self.store, self.store.rows(split), batch, self.device, self.config.seed)

    def seeing(self, condition: Condition) -> tuple[str, ...]:
        """The networks whose predictions are wanted."""
        if condition.attacked and not self.what.matrix:
            return (condition.attacked,)
        return tuple(self.networks)

    def stem(self, split: str, network: str, condition: Condition, norm: str = "") -> str:
        """Store, split, checkpoint, network, and how the images were shown."""
        name = store_name(self.run, self.store)
        start = f"{name}-{split}-{self.what.checkpoint}-{network}"
        if not condition.name:
            return f"{start}-clean"
        kind = condition.name.replace(":", "-").replace("/", "-")
        if condition.name.startswith("corruption:"):
            return f"{start}-{kind}-{condition.eps:g}"
        goal = self.what.goal.replace(":", "-")
        aim = f"-{file_name(goal)}" if condition.attacked and goal != "total" else ""
        shown = f"{kind}-{norm or self.config.attack.norm}-{condition.eps:.6g}{aim}"
        return f"{start}-{shown}" + (f"-on-{condition.attacked}" if condition.attacked else "")

    def path(self, split: str, network: str, condition: Condition, norm: str = "") -> Path:
        """The predictions' file."""
        return self.run.predictions / f"{self.stem(split, network, condition, norm)}.csv"

    def identity(self, split: str, network: str) -> dict[str, Any]:
        """What a sidecar says of model and images."""
        return {
            "store": store_name(self.run, self.store),
            "store_checksum": self.store.checksum,
            "split": split,
            "checkpoint": self.what.checkpoint,
            "branch": network,
            "weights": self.weights,
            "task": self.store.info.task,
        }

    def norm_name(self, sweep: Sweep) -> str:
        """The norm as files and tables call it: native radii are not those of the image's range."""
        return sweep.norm if self.what.unit == "image" else f"{sweep.norm}-native"

    def frame(
        self, rows: NDArray[np.int64], network: str, scores: Any, margin: Any = None
    ) -> pd.DataFrame:
        """Predictions (N, K) of these rows of the store."""
        scores, findings = np.asarray(scores), self.store.findings
        frame = self.store.table[["image_id", "patient_id"]].iloc[rows].reset_index(drop=True)
        columns = {"branch": np.full(len(rows), network, dtype=object)}
        columns |= {finding: expit(scores[:, j]) for j, finding in enumerate(findings)}
        columns |= {LOGIT + finding: scores[:, j] for j, finding in enumerate(findings)}
        if margin is not None and self.store.info.task == "exclusive":
            columns[CLASS_MARGIN] = np.asarray(margin)
        return pd.concat([frame, pd.DataFrame(columns)], axis=1)

    def aim(self) -> dict[str, str]:
        """The one finding that is attacked, for sidecars."""
        name = aimed_at(self.what.goal)
        return {"finding": name} if name else {}

    def thresholds(self, network: str, table: pd.DataFrame) -> dict[str, float]:
        """Youden's, from the clean predictions of split val, whose store's table this is."""
        path = self.path("val", network, Condition())
        return choose_thresholds(read_predictions(path).frame, table)

    def cuts(self, network: str, table: pd.DataFrame) -> Tensor:
        """(K,) the thresholds as scores."""
        cuts = cuts_of(self.thresholds(network, table))
        ordered = [cuts[finding] for finding in self.store.findings]
        return torch.tensor(ordered, dtype=torch.float32, device=self.device)

    def is_there(self, path: Path, sidecar: Mapping[str, Any]) -> bool:
        """Whether predictions of exactly these settings were written before."""
        try:
            text = path.with_suffix(".json").read_text(encoding="utf-8")
            return path.is_file() and bool(json.loads(text) == sidecar)
        except (OSError, ValueError):
            return False

    def has_weights_of(self, stem: str) -> bool:
        """Whether these predictions are of the weights at hand."""
        try:
            text = (self.run.predictions / f"{stem}.json").read_text(encoding="utf-8")
            return bool(json.loads(text)["weights"] == self.weights)
        except (OSError, ValueError, KeyError):
            return False


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one; of several processes each takes its own.

    Raises:
        MedrobustError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    name = here().device(name)
    try:
        torch.zeros(1, device=name).item()  # some devices have a name but can't compute
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise MedrobustError(
            f"device: expected auto, cpu or another device of this machine, found {name!r}, "
            f"which can't be used here ({reason})"
        ) from error
    return torch.device(name)


def _fold_branches(model: DualBN, store: Store) -> list[str]:
    """Make each branch as fast as it can be; what is said of those that stay as they are."""
    images, notes = load_images(store, np.arange(min(2, len(store.table))), "cpu"), []
    for name in model.branches:
        try:
            model.add_module(name, folded(model.branch(name), images))
        except MedrobustError as error:
            notes.append(f"branch {name}: {error}; it is attacked as it is, which takes longer")
    return notes


def _check_labels(store: Store, split: str) -> None:
    if np.isnan(store.labels[store.rows(split)]).all():
        raise MedrobustError(
            f"{store.path}: expected labels in split {split}, found none; an evaluation needs "
            "them. `medrobust predict` takes images without labels"
        )
