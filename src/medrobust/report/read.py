"""Run directories as plain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from safetensors import safe_open

from medrobust.errors import MedrobustError
from medrobust.metrics import COLUMNS, read_metrics
from medrobust.rundir import find_runs
from medrobust.trust_table import TRUST_COLUMNS, read_trust

SCORE_COLUMNS = [*("store", "split", "branch", "method", "finding", "image_id", "score", "value")]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "input_mean", "input_spread")


@dataclass(frozen=True)
class Epoch:
    """One line of `log.jsonl`: the loss, and macro AUROC per branch on the validation split."""

    epoch: int
    train_loss: float
    clean: Mapping[str, float]
    attacked: Mapping[str, float]
    best: bool


@dataclass(frozen=True, eq=False)
class Run:
    """What the stages have written into one run directory; a run is equal only to itself."""

    path: Path
    name: str
    seed: int
    regime: str
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    epochs: tuple[Epoch, ...]
    metrics: pd.DataFrame
    """`metrics.csv`; no rows where the run has not been evaluated."""
    scores: pd.DataFrame
    """`explain/scores.csv`; no rows where the run has not been explained."""
    trust: pd.DataFrame
    """`trust.csv`; no rows where the attacks have not been checked."""
    finished: bool

    @property
    def label(self) -> str:
        """How a reader tells this run from the others."""
        return f"{self.name}, seed {self.seed}"

    @property
    def store_name(self) -> str:
        """The name of the store the run was trained on."""
        return str(self.provenance.get("store", {}).get("name", ""))

    @property
    def branches(self) -> list[str]:
        """Branches in reading order: those of the regime, then any other that was evaluated."""
        own = ["clean", "adv"] if self.regime == "dual" else ["single"]
        found = dict.fromkeys(self.metrics["branch"].astype(str))
        return own + [branch for branch in found if branch not in own]

    @property
    def selected(self) -> Epoch | None:
        """The epoch whose weights are in `checkpoints/best`."""
        return next((e for e in reversed(self.epochs) if e.best), None)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Load run directories; a folder of seeds stands for all its runs.

    Raises `MedrobustError` if there is no path, a path is no run, or a file cannot be read.
    """
    if not paths:
        raise MedrobustError(
            "expected at least one run directory, found none; give paths such as runs/dual/0"
        )
    folders = dict.fromkeys(found.path.resolve() for found in find_runs(paths))
    runs = _with_distinct_names([read_run(folder) for folder in folders])
    order = list(dict.fromkeys(run.name for run in runs))
    return sorted(runs, key=lambda run: (order.index(run.name), run.seed))


def read_run(folder: Path) -> Run:
    """Load one run directory; stages that have not run leave empty tables."""
    config = _mapping(folder / "config.yaml", yaml.safe_load)
    seed = config.get("seed", folder.name)
    return Run(
        path=folder,
        name=str(config.get("name") or folder.parent.name),
        seed=int(seed) if str(seed).isdigit() else 0,
        regime=str(config.get("regime", "")),
        config=config,
        provenance=_mapping(folder / "provenance.json", json.loads),
        epochs=_read_log(folder / "log.jsonl"),
        metrics=_read_metrics(folder / "metrics.csv"),
        scores=_read_scores(folder / "explain" / "scores.csv"),
        trust=_read_trust(folder / "trust.csv"),
        finished=(folder / "DONE").exists(),
    )


def count_parameters(folder: Path) -> int | None:
    """Learnt numbers in `checkpoints/best` (running statistics left out); None without one.

    Weights that branches share stand in the file once, so they count once.
    """
    file = folder / "checkpoints" / "best.safetensors"
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as tensors:
            sizes = [
                int(np.prod(tensors.get_slice(key).get_shape()))
                for key in tensors.keys()  # noqa: SIM118 (it is no dictionary)
                if not key.endswith(STATISTICS)
            ]
    except Exception as error:  # whatever a damaged file brings the reader to raise
        raise _unreadable(file, str(error).splitlines()[0]) from error
    return sum(sizes)


def _with_distinct_names(runs: list[Run]) -> list[Run]:
    seen: dict[tuple[str, int], int] = {}
    distinct = []
    for run in runs:
        times = seen[run.name, run.seed] = seen.get((run.name, run.seed), 0) + 1
        distinct.append(run if times == 1 else replace(run, name=f"{run.name} ({times})"))
    return distinct


def _mapping(file: Path, parse: Any) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise _unreadable(file, str(error).splitlines()[0]) from error
    if not isinstance(content, dict):
        raise _unreadable(file, f"a {type(content).__name__} instead of a mapping")
    return content


def _read_log(file: Path) -> tuple[Epoch, ...]:
    if not file.is_file():
        return ()
    lines = file.read_text(encoding="utf-8").splitlines()
    try:
        return tuple(_epoch(json.loads(line)) for line in lines if line.strip())
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(file, str(error)) from error


def _epoch(line: Mapping[str, Any]) -> Epoch:
    validation = line.get("validation") or {}
    return Epoch(
        epoch=int(line["epoch"]),
        train_loss=float(line["train_loss"]),
        clean=validation.get("clean") or {},
        attacked=validation.get("pgd") or {},
        best=bool(line.get("best")),
    )


def _read_metrics(file: Path) -> pd.DataFrame:
    return read_metrics(file) if file.is_file() else pd.DataFrame(columns=list(COLUMNS))


def _read_trust(file: Path) -> pd.DataFrame:
    return read_trust(file) if file.is_file() else pd.DataFrame(columns=list(TRUST_COLUMNS))


def _read_scores(file: Path) -> pd.DataFrame:
    if not file.is_file():
        return pd.DataFrame(columns=SCORE_COLUMNS)
    kinds = {name: float if name == "value" else str for name in SCORE_COLUMNS}
    try:
        table = pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values={"value": [""]})
    except ValueError as error:
        raise _unreadable(file, str(error).splitlines()[0]) from error
    missing = [column for column in SCORE_COLUMNS if column not in table]
    if missing:
        raise _unreadable(file, f"no column {', '.join(missing)}")
    return table


def _unreadable(file: Path, reason: str) -> MedrobustError:
    return MedrobustError(
        f"expected a readable {file.name}, found {reason} in {file}; "
        "run the command that writes it again"
    )
