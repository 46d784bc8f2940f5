"""Does a model work as well for everyone? Rows of `metrics.csv` for groups of images.

Every group is scored at the thresholds of all images: sensitivity and specificity are then the
true-positive rate and one minus the false-positive rate that equalised odds compares (Hardt,
Price and Srebro 2016, "Equality of opportunity in supervised learning"; in chest radiographs
Seyyed-Kalantari et al. 2021, Nat. Med. 27:2176). A gap is a group minus all other images.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medrobust import statistics
from medrobust.data.table import LABEL
from medrobust.errors import MedrobustError
from medrobust.metrics import (
    COLUMNS,
    MACRO,
    Estimate,
    Scores,
    bootstrap_rows,
    check_thresholds,
    covered_findings,
    estimated,
    identity,
    mean_estimate,
)
from medrobust.predictions import LOGIT, labels_of
from medrobust.statistics import Statistic
from medrobust.statistics.inputs import Flags
from medrobust.statistics.resampling import REDRAWS

METRICS = ("auroc", "sensitivity", "specificity")
GAP = "_gap"
USUAL_COLUMNS = ("sex", "age", "view", "site")
AGE_BANDS = {"<18": 18.0, "18-39": 40.0, "40-59": 60.0, "60-79": 80.0, "80+": np.inf}
"""Names of the bands, each with the age in years at which the next begins."""
UNKNOWN = "unknown"
MOST_VALUES = 20

Estimates = dict[tuple[str, str], Estimate]
"""By finding and metric."""


def subgroup_rows(
    predictions: pd.DataFrame,
    sidecar: Mapping[str, Any],
    table: pd.DataFrame,
    thresholds: Mapping[str, float],
    stem: str,
    columns: Sequence[str] | None = None,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> Scores:
    """AUROC, sensitivity, specificity and their gaps for every group, finding and macro.

    Arguments are those of `score_predictions`, whose redraws of the patients are used. `columns`
    of the store's table define the groups: `sex=F`, `age=40-59`, and `sex=unknown` for images
    with an empty cell. None takes those of sex, age, view and site that have 2 to 20 values. A
    row's n counts the images of its group. Macro is the mean over the findings that have both
    classes in the group; of a gap, also among all other images. Raises MedrobustError for a
    column that the table lacks or that has more than 20 values.
    """
    labels = labels_of(predictions, table)
    check_thresholds(labels, thresholds, stem)
    chosen = _usual(table) if columns is None else check_columns(columns, table)
    groups = _groups(predictions["image_id"], table, chosen)
    parts = [part for inside in groups.values() for part in (inside, ~inside)]
    measures = _measures(predictions, labels, thresholds, parts)
    estimates = estimated(measures, predictions["patient_id"], redraws, seed)
    rows, warnings = [], []
    for group, inside in groups.items():
        of_group = _restricted(labels, inside)
        covered = covered_findings(of_group)
        found = _with_gaps_and_macro(_of(estimates, inside), _of(estimates, ~inside))
        shared = identity(sidecar, stem) | {"group": group}
        metrics = [metric + kind for metric in METRICS for kind in ("", GAP)]
        rows += [shared | row for row in bootstrap_rows(found, of_group, covered, metrics)]
        warnings += _warnings(labels, covered, f"{stem} ({sidecar['split']}), group {group}")
    return Scores(pd.DataFrame(rows, columns=list(COLUMNS)), warnings)


def _usual(table: pd.DataFrame) -> list[str]:
    return [
        column
        for column in USUAL_COLUMNS
        if column in table.columns and 2 <= len(_known(_values(table, column))) <= MOST_VALUES
    ]


def check_columns(columns: Sequence[str], table: pd.DataFrame) -> list[str]:
    """The columns, each once.

    Raises:
        MedrobustError: the table lacks one, or it has too many values.
    """
    for column in columns:
        if column not in table.columns:
            there = [name for name in table.columns if not name.startswith(LABEL)]
            raise MedrobustError(
                f"expected columns of the store's table to group images by, found {column!r}, "
                f"which it lacks; it has {', '.join(there)}"
            )
        number = len(_known(_values(table, column)))
        if number > MOST_VALUES:
            raise MedrobustError(
                f"expected columns of at most {MOST_VALUES} values to group images by, found "
                f"{number} in {column!r}; group by another column"
            )
    return list(dict.fromkeys(columns))


def _values(table: pd.DataFrame, column: str) -> pd.Series:
    """A column as words, ages as bands, empty cells as `unknown`."""
    if column == "age":
        ages = pd.to_numeric(table[column], errors="coerce")
        edges = [-np.inf, *AGE_BANDS.values()]
        words = pd.cut(ages, edges, right=False, labels=list(AGE_BANDS)).astype(object)
    else:
        words = table[column].astype(object)
    return words.where(words.notna() & (words != ""), UNKNOWN).astype(str)


def _known(values: Iterable[str]) -> list[str]:
    """The distinct values but `unknown`, ages in their order."""
    distinct = set(values) - {UNKNOWN}
    return [band for band in AGE_BANDS if band in distinct] + sorted(distinct - set(AGE_BANDS))


def _groups(images: pd.Series, table: pd.DataFrame, columns: Sequence[str]) -> dict[str, Flags]:
    """Which of the predicted images (n,) are in each group that has any."""
    rows = pd.Index(table["image_id"].astype(str)).get_indexer(pd.Index(images))
    groups = {}
    for column in columns:
        values = _values(table, column).to_numpy(str)[rows]
        for value in [*_known(values), UNKNOWN]:
            if (values == value).any():
                groups[f"{column}={value}"] = values == value
    return groups


def _restricted(labels: pd.DataFrame, inside: Flags) -> pd.DataFrame:
    """The labels of some of the images; those of all others are unknown."""
    return labels.where(np.broadcast_to(inside[:, None], labels.shape))


def _measures(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    thresholds: Mapping[str, float],
    parts: Sequence[Flags],
) -> dict[tuple[bytes, str, str], Statistic]:
    """The statistic of every (images, finding, metric), once where groups are the same images."""
    measures = {}
    for inside in {part.tobytes(): part for part in parts}.values():
        limited = _restricted(labels, inside)
        for finding in covered_findings(limited):
            truth, p, cut = limited[finding], predictions[finding], thresholds[finding]
            of = (inside.tobytes(), finding)
            measures[*of, "auroc"] = statistics.weighted_auroc(truth, predictions[LOGIT + finding])
            measures[*of, "sensitivity"] = statistics.weighted_sensitivity(truth, p, cut)
            measures[*of, "specificity"] = statistics.weighted_specificity(truth, p, cut)
    return measures


def _of(estimates: Mapping[tuple[bytes, str, str], Estimate], inside: Flags) -> Estimates:
    """The estimates of some of the images."""
    key = inside.tobytes()
    return {
        (finding, metric): estimate
        for (images, finding, metric), estimate in estimates.items()
        if images == key
    }


def _with_gaps_and_macro(group: Estimates, others: Estimates) -> Estimates:
    gaps = {
        (finding, metric + GAP): Estimate(
            given.value - others[finding, metric].value,
            given.redrawn - others[finding, metric].redrawn,
        )
        for (finding, metric), given in group.items()
        if (finding, metric) in others
    }
    found = group | gaps
    by_metric: dict[str, list[Estimate]] = {}
    for (_, metric), estimate in found.items():
        by_metric.setdefault(metric, []).append(estimate)
    return found | {(MACRO, metric): mean_estimate(given) for metric, given in by_metric.items()}


def _warnings(labels: pd.DataFrame, covered: Sequence[str], where: str) -> list[str]:
    """Findings that can be scored among all images and not in the group."""
    lacking = [finding for finding in covered_findings(labels) if finding not in covered]
    if not lacking:
        return []
    return [
        f"{where}: cannot be scored without images of both classes: {', '.join(lacking)}; macro "
        f"covers: {', '.join(covered) or 'nothing'}"
    ]
