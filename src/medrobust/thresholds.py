"""The thresholds of a run's decisions, for images that come after its evaluation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from medrobust import statistics
from medrobust.data.store import Store, open_store
from medrobust.errors import MedrobustError
from medrobust.inference import Cases, logits_of
from medrobust.losses import rank_scores
from medrobust.metrics import DEFAULT_THRESHOLD, read_metrics
from medrobust.models import Restored
from medrobust.rundir import RunDir, check_same_store


@dataclass(frozen=True)
class Home:
    """The training store, or why it can't be had."""

    store: Store | None
    problem: str = ""
    """Empty also for a run that was imported without a store."""


@dataclass(frozen=True)
class Thresholds:
    """From which probability on a finding counts as positive."""

    values: Mapping[str, float]
    origin: str
    """Where they come from, in words."""
    warnings: tuple[str, ...] = ()


def training_store_of(run: RunDir) -> Home:
    """The store a run was trained on, of which the images are not verified."""
    if not run.provenance()["store"]["checksum"]:
        return Home(None)
    try:
        store = open_store(run.config().data.store)
        check_same_store(run, store)
    except MedrobustError as error:
        return Home(None, str(error))
    return Home(store)


def thresholds_for(
    run: RunDir, restored: Restored, branch: str, checkpoint: str, home: Home
) -> Thresholds:
    """Youden's thresholds of the validation split: those of `evaluate`, else found now.

    Where neither is possible, 0.5, with a warning.
    """
    findings = restored.known["findings"]
    recorded = _recorded(run, restored, branch, checkpoint)
    if recorded is not None:
        return recorded
    if home.store is not None:
        values = _chosen(restored, branch, home.store, run.config().evaluate.batch_size)
        return Thresholds(values, f"split val of {home.store.path}, predicted now")
    why = home.problem or "it was imported without a training store"
    return Thresholds(
        dict.fromkeys(findings, DEFAULT_THRESHOLD),
        "none were chosen",
        (
            f"{run.path}: no thresholds were chosen, so {DEFAULT_THRESHOLD} is used ({why}); "
            "`medrobust evaluate` with a store that has a split val chooses them",
        ),
    )


def _recorded(run: RunDir, restored: Restored, branch: str, checkpoint: str) -> Thresholds | None:
    """The thresholds that `evaluate` chose with these weights; the training store's go first."""
    if not run.metrics.is_file():
        return None
    rows = read_metrics(run.metrics)
    rows = rows[rows["metric"] == "threshold"]
    rows = rows[(rows["branch"] == branch) & (rows["checkpoint"] == checkpoint)]
    own = run.provenance()["store"]["name"]
    for stem, part in sorted(rows.groupby("predictions"), key=lambda p: own not in set(p[1].store)):
        values = dict(zip(part["finding"], part["value"], strict=True))
        complete = values.keys() >= {*restored.known["findings"]}
        if complete and _weights_of(run, str(stem)) == restored.weights:
            return Thresholds(values, f"split val of store {part['store'].iloc[0]} (metrics.csv)")
    return None


def _weights_of(run: RunDir, stem: str) -> str:
    """The hash of the weights that made a file of predictions; empty where it is not known."""
    try:
        text = (run.predictions / f"{stem}.json").read_text(encoding="utf-8")
        return str(json.loads(text)["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _chosen(restored: Restored, branch: str, store: Store, batch_size: int) -> dict[str, float]:
    network = restored.model.branch(branch)
    device = network.get_buffer("input_mean").device
    rows = store.rows("val")
    logits = logits_of({branch: network}, Cases(store, rows, batch_size, device))[branch]
    shares = expit(rank_scores(logits, restored.known["task"]).numpy())
    labels = pd.DataFrame(store.labels[rows], columns=store.findings)
    found = {
        finding: statistics.youden_threshold(labels[finding], shares[:, column])
        for column, finding in enumerate(restored.known["findings"])
    }
    return {f: DEFAULT_THRESHOLD if np.isnan(value) else value for f, value in found.items()}
