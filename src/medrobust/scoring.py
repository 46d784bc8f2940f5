"""From files of predictions to rows of `metrics.csv`, and `metrics.json`: how they were computed.

With the record every row can be computed again from the predictions; see `verify`.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, ValidationError

from medrobust.errors import MedrobustError
from medrobust.files import write_json
from medrobust.metrics import Scores, choose_thresholds, score_predictions, threshold_rows
from medrobust.operating import Points, choose_points, operating_rows, point_rows
from medrobust.predictions import LOGIT, NAMES, read_predictions
from medrobust.rundir import RunDir
from medrobust.subgroups import subgroup_rows

RECORD = "metrics.json"
THRESHOLDS = "/thresholds"
"""Behind a stem: its rows of thresholds, apart from those that score the same predictions."""


class How(BaseModel, frozen=True, extra="forbid"):
    """How one file of predictions was scored."""

    thresholds: str
    """The stem of the predictions that chose the thresholds."""
    redraws: int
    seed: int
    points: bool
    """Also at the operating points."""
    groups: tuple[str, ...] | None
    """Columns whose values are scored apart; None: the usual ones."""


class Record(BaseModel, frozen=True, extra="forbid"):
    """What `metrics.json` holds."""

    thresholds: tuple[str, ...] = ()
    """Stems of the predictions of which there are rows of thresholds."""
    scores: dict[str, How] = {}
    """By the stem of the predictions that are scored."""

    def with_newer(self, newer: "Record") -> "Record":
        """Both; what the newer one says holds."""
        return Record(
            thresholds=tuple(sorted({*self.thresholds, *newer.thresholds})),
            scores=dict(sorted({**self.scores, **newer.scores}.items())),
        )


class Chosen(NamedTuple):
    """What predictions of validation images decide."""

    thresholds: dict[str, float]
    points: Points
    rows: pd.DataFrame
    """The same as rows of `metrics.csv`."""


def choose(path: Path, table: pd.DataFrame) -> Chosen:
    """Thresholds and operating points from a file of predictions and its store's table.

    Raises:
        MedrobustError: the predictions can't be read or are not of this store.
    """
    frame, sidecar = read_predictions(path)
    thresholds, points = choose_thresholds(frame, table), choose_points(frame, table)
    given = (frame, sidecar, table, path.stem)
    rows = [threshold_rows(thresholds, *given), point_rows(points, *given)]
    return Chosen(thresholds, points, pd.concat(rows, ignore_index=True))


def score(
    path: Path, table: pd.DataFrame, missing: Sequence[str], chosen: Chosen, how: How
) -> Scores:
    """All rows of one file of predictions.

    Args:
        path: the predictions.
        table: their store's, in the model's words; see `data.aligned`.
        missing: findings that the store has no labels of.
        chosen: what the predictions `how.thresholds` chose.
        how: what else is wanted.

    Raises:
        MedrobustError: the predictions can't be read or are not of this store; no such group.
    """
    frame, sidecar = read_predictions(path)
    frame = _scored(frame, sidecar["attack"], missing)
    given, drawn = (frame, sidecar, table), (how.redraws, how.seed)
    rows, warnings = score_predictions(*given, chosen.thresholds, path.stem, *drawn)
    parts = [rows]
    if how.points:
        parts.append(operating_rows(chosen.points, *given, path.stem, *drawn))
    if how.groups != ():
        found = subgroup_rows(*given, chosen.thresholds, path.stem, how.groups, *drawn)
        parts.append(found.rows)
        warnings = warnings + found.warnings
    return Scores(pd.concat(parts, ignore_index=True), warnings)


def origins(rows: pd.DataFrame) -> "pd.Series[str]":
    """What the rows of `metrics.csv` were computed from: a stem, `<stem>/thresholds` for those.

    Predictions of split val have thresholds, and scores too where that split was evaluated.
    """
    stem = rows["predictions"]
    return stem.where(~rows["metric"].str.startswith("threshold"), stem + THRESHOLDS)


def older_record(run: RunDir, kept: Collection[str]) -> Record:
    """What `metrics.json` says of the rows of these origins; nothing where it can't be read."""
    try:
        record = read_record(run)
    except MedrobustError:
        return Record()
    return Record(
        thresholds=tuple(stem for stem in record.thresholds if stem + THRESHOLDS in kept),
        scores={stem: how for stem, how in record.scores.items() if stem in kept},
    )


def write_record(run: RunDir, record: Record) -> None:
    """Write `metrics.json`, whole or not at all."""
    write_json(run.path / RECORD, record.model_dump(mode="json"))


def read_record(run: RunDir) -> Record:
    """Read `metrics.json`.

    Raises:
        MedrobustError: it is missing or damaged.
    """
    path = run.path / RECORD
    try:
        return Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        found = "no such file" if isinstance(error, OSError) else "something else"
        raise MedrobustError(
            f"{path}: expected how the numbers of metrics.csv were computed, found {found}; "
            "run `evaluate` again"
        ) from error


def _scored(frame: pd.DataFrame, attack: Mapping[str, Any], missing: Sequence[str]) -> pd.DataFrame:
    """Predictions of the findings that the store has labels of, and the attack is after."""
    only = attack.get("finding")
    if only:
        return frame[[*NAMES, only, LOGIT + only]]
    return frame.drop(columns=[name for f in missing for name in (f, LOGIT + f)])
