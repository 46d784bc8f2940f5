"""Operating points beside Youden's: chosen on validation images, reported on test images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from medrobust import statistics
from medrobust.metrics import (
    COLUMNS,
    EMPTY,
    MACRO,
    bootstrap_rows,
    counts,
    covered_findings,
    estimated,
    identity,
    mean_estimate,
)
from medrobust.predictions import labels_of
from medrobust.statistics.resampling import REDRAWS

WANTED = 0.95
SENSITIVE, SPECIFIC = f"sensitivity={WANTED}", f"specificity={WANTED}"
"""What a point promises on validation images."""

Points = dict[str, dict[str, float]]
"""By promise and finding: a threshold; NaN where it can't be chosen."""


def choose_points(predictions: pd.DataFrame, table: pd.DataFrame) -> Points:
    """The thresholds of both points, from predictions of the validation split."""
    labels = labels_of(predictions, table)
    choices = {
        SENSITIVE: statistics.threshold_at_sensitivity,
        SPECIFIC: statistics.threshold_at_specificity,
    }
    return {
        name: {f: choose(labels[f], predictions[f], WANTED) for f in map(str, labels.columns)}
        for name, choose in choices.items()
    }


def point_rows(
    points: Points,
    predictions: pd.DataFrame,
    sidecar: Mapping[str, Any],
    table: pd.DataFrame,
    stem: str,
) -> pd.DataFrame:
    """The thresholds as rows `threshold@…` of `metrics.csv`; arguments are those of the choice."""
    labels = labels_of(predictions, table)
    rows = [
        identity(sidecar, stem)
        | EMPTY
        | {"finding": finding, "metric": f"threshold@{name}", "value": threshold}
        | counts(labels, [finding])
        for name, thresholds in points.items()
        for finding, threshold in thresholds.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def operating_rows(
    points: Points,
    predictions: pd.DataFrame,
    sidecar: Mapping[str, Any],
    table: pd.DataFrame,
    stem: str,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Sensitivity and specificity of other images at the points: rows `sensitivity@…`, … .

    With patient-bootstrap intervals; macro is the mean over the findings that can be scored.
    """
    labels = labels_of(predictions, table)
    usable = [
        f for f in covered_findings(labels) if not any(np.isnan(p[f]) for p in points.values())
    ]
    measures: dict[Any, statistics.Statistic] = {}
    for name, thresholds in points.items():
        for finding in usable:
            given = labels[finding], predictions[finding], thresholds[finding]
            measures[finding, f"sensitivity@{name}"] = statistics.weighted_sensitivity(*given)
            measures[finding, f"specificity@{name}"] = statistics.weighted_specificity(*given)
    metrics = list(dict.fromkeys(metric for _, metric in measures))
    estimates = estimated(measures, predictions["patient_id"], redraws, seed)
    for metric in metrics:
        estimates[MACRO, metric] = mean_estimate([estimates[f, metric] for f in usable])
    rows = bootstrap_rows(estimates, labels, usable, metrics)
    shared = identity(sidecar, stem)
    return pd.DataFrame([shared | row for row in rows], columns=list(COLUMNS))
