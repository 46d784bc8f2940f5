"""Files of predictions: `<stem>.csv` with a row per image, `<stem>.json` with what made them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medrobust.data.table import LABEL, findings_of
from medrobust.errors import MedrobustError
from medrobust.files import write_csv, write_json

NAMES = ("image_id", "patient_id", "branch")
LOGIT = "logit:"
CLASS_MARGIN = "class_margin"
"""Of exclusive classes: the smallest logit of the own class minus the largest other."""
SIDECAR_KEYS = ("store", "split", "checkpoint", "branch", "attack", "task")


class Predictions(NamedTuple):
    """One file of predictions and its sidecar."""

    frame: pd.DataFrame
    """`image_id, patient_id, branch` (str), then `<finding>` and `logit:<finding>` (float)."""
    sidecar: dict[str, Any]


def finding_names(frame: pd.DataFrame) -> list[str]:
    """The findings that a frame of predictions has logits of, in its order."""
    return [name.removeprefix(LOGIT) for name in frame.columns if name.startswith(LOGIT)]


def write_predictions(path: Path, frame: pd.DataFrame, sidecar: Mapping[str, Any]) -> None:
    """Write `path` (.csv) and its sidecar (.json); digits round-trip in the columns' own dtype.

    A file that is replaced is removed first, so that no CSV ever stands beside the sidecar of
    another. Raises MedrobustError, and writes nothing, for predictions that could not be read.
    """
    _check_frame(frame, path)
    _check_sidecar(dict(sidecar), path)
    path.unlink(missing_ok=True)
    write_json(_sidecar_path(path), dict(sidecar))
    write_csv(path, frame)


def read_predictions(path: Path) -> Predictions:
    """Read a file of predictions and its sidecar.

    Raises MedrobustError for a missing file or sidecar, missing columns, text where a number is
    expected, probabilities outside [0, 1], duplicated images.
    """
    sidecar = _read_sidecar(path)
    try:
        text = pd.read_csv(path, dtype="str", keep_default_na=False)
        # Python's own parsing round-trips in every version of pandas.
        numbers = {
            name: text[name]
            .replace({"": "nan"} if name == CLASS_MARGIN else {})
            .to_numpy(object)
            .astype(np.float64)
            for name in text.columns
            if name not in NAMES
        }
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MedrobustError(
            f"{path}: expected a table of predictions, found: {reason}; run `evaluate` again"
        ) from error
    frame = text.assign(**numbers)
    _check_frame(frame, path)
    return Predictions(frame, sidecar)


def labels_of(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The store's labels of the predicted images: a row per prediction, a column per finding.

    1, 0 or NaN (unknown, or a finding that the store has no labels of). Raises MedrobustError
    when the table lacks an image, has another patient for it, or knows none of the findings.
    """
    rows = pd.Index(table["image_id"].astype(str)).get_indexer(pd.Index(frame["image_id"]))
    unknown = frame["image_id"][rows < 0]
    if len(unknown):
        raise MedrobustError(
            f"expected predictions of images in the store, found {len(unknown)} images that it "
            f"does not have, first {unknown.iloc[0]!r}; give the store that was evaluated"
        )
    _check_patients(frame, table.iloc[rows])
    findings = finding_names(frame)
    labelled = findings_of(table)
    if not set(findings) & set(labelled):
        raise MedrobustError(
            f"expected labels of {', '.join(findings)}, found labels of "
            f"{', '.join(labelled) or 'nothing'}; give the store that was evaluated"
        )
    columns = {
        finding: table[LABEL + finding].to_numpy(float)[rows]
        if finding in labelled
        else np.full(len(rows), np.nan)
        for finding in findings
    }
    return pd.DataFrame(columns, index=frame.index)


def _sidecar_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".csv") + ".json")


def _read_sidecar(path: Path) -> dict[str, Any]:
    beside = _sidecar_path(path)
    try:
        sidecar = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MedrobustError(
            f"{path}: expected its settings in {beside.name}, which is missing or not JSON; "
            "run `evaluate` again"
        ) from error
    _check_sidecar(sidecar, path)
    return dict(sidecar)


def _check_sidecar(sidecar: Any, path: Path) -> None:
    given = sidecar if isinstance(sidecar, dict) else {}
    missing = [key for key in SIDECAR_KEYS if key not in given]
    if missing or not isinstance(given["attack"], dict):
        raise MedrobustError(
            f"{path}: expected {', '.join(SIDECAR_KEYS)} in {_sidecar_path(path).name}, found "
            f"{f'no {missing[0]}' if missing else 'an attack without settings'}; run `evaluate` "
            "again"
        )


def _check_frame(frame: pd.DataFrame, path: Path) -> None:
    ranked = finding_names(frame)
    other = (*NAMES, CLASS_MARGIN)
    given = [name for name in frame.columns if name not in other and not name.startswith(LOGIT)]
    wanted = [*NAMES, *ranked, *(LOGIT + finding for finding in given or ["<finding>"])]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise MedrobustError(
            f"{path}: expected columns {', '.join(NAMES)}, <finding> and {LOGIT}<finding>, found "
            f"no {missing[0]}; run `evaluate` again"
        )
    repeated = frame["image_id"][frame["image_id"].duplicated()]
    if len(repeated):
        raise MedrobustError(
            f"{path}: expected one row per image, found image {repeated.iloc[0]!r} twice; run "
            "`evaluate` again"
        )
    for finding in ranked:
        _check_numbers(frame, finding, path)


def _check_numbers(frame: pd.DataFrame, finding: str, path: Path) -> None:
    probability = frame[finding].to_numpy(float)
    usable = (probability >= 0) & (probability <= 1) & np.isfinite(frame[LOGIT + finding])
    if not usable.all():
        worst = frame[~usable].iloc[0]
        raise MedrobustError(
            f"{path}: expected probabilities in [0, 1] and finite logits, found {finding} = "
            f"{worst[finding]} with logit {worst[LOGIT + finding]} for image "
            f"{worst['image_id']!r}; has training diverged?"
        )


def _check_patients(frame: pd.DataFrame, images: pd.DataFrame) -> None:
    different = frame["patient_id"].to_numpy(str) != images["patient_id"].to_numpy(str)
    if different.any():
        image = frame["image_id"][different].iloc[0]
        raise MedrobustError(
            f"expected the store's patients in the predictions, found another patient for image "
            f"{image!r}; give the store that was evaluated"
        )
