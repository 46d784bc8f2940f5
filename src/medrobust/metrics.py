"""From predictions and labels to the rows of `metrics.csv`, each with its interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logit

from medrobust import statistics
from medrobust.errors import MedrobustError
from medrobust.files import write_csv
from medrobust.predictions import CLASS_MARGIN, LOGIT, labels_of
from medrobust.statistics import Statistic
from medrobust.statistics.inputs import Floats
from medrobust.statistics.resampling import REDRAWS

COLUMNS = (
    *("store", "split", "checkpoint", "branch", "attack", "goal", "norm", "eps"),
    *("attacked_branch", "group", "finding", "metric", "value", "low", "high", "interval"),
    *("n", "n_positive", "predictions"),
)
NUMBERS = ("eps", "value", "low", "high")
COUNTS = ("n", "n_positive")
METRICS = ("auroc", "auprc", "accuracy", "sensitivity", "specificity", "brier", "ece")
MACRO = "macro"
DEFAULT_THRESHOLD = 0.5
EMPTY: dict[str, Any] = {"value": np.nan, "low": np.nan, "high": np.nan, "interval": ""}


class Scores(NamedTuple):
    """Rows of `metrics.csv`, and what their reader should be told."""

    rows: pd.DataFrame
    warnings: list[str]


class Estimate(NamedTuple):
    """A number and its values in every redraw (R,)."""

    value: float
    redrawn: Floats


def score_predictions(
    predictions: pd.DataFrame,
    sidecar: Mapping[str, Any],
    table: pd.DataFrame,
    thresholds: Mapping[str, float],
    stem: str,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> Scores:
    """Every metric of every finding and their macro average, with patient-bootstrap intervals.

    `table` is the store's, `thresholds` come from `choose_thresholds`, `stem` names the file of
    predictions. A finding's AUROC has a second row with DeLong's interval (Obuchowski's for
    several images a patient). Macro is the mean over the findings that have both classes; of
    exclusive classes its accuracy is the share of images whose class has the largest logit.
    """
    labels = labels_of(predictions, table)
    check_thresholds(labels, thresholds, stem)
    covered = covered_findings(labels)
    measures = _measures(predictions, labels[covered], thresholds)
    if covered and sidecar["task"] == "exclusive" and len(labels.columns) > 1:
        measures[MACRO, "accuracy"] = _first_choice(predictions, labels)
    estimates = estimated(measures, predictions["patient_id"], redraws, seed)
    for metric in METRICS if covered else ():
        average = mean_estimate([estimates[finding, metric] for finding in covered])
        estimates.setdefault((MACRO, metric), average)
    rows = bootstrap_rows(estimates, labels, covered)
    rows += _delong_rows(predictions, labels, covered)
    frame = pd.DataFrame([identity(sidecar, stem) | row for row in rows], columns=list(COLUMNS))
    return Scores(frame, _warnings(estimates, labels, covered, f"{stem} ({sidecar['split']})"))


def choose_thresholds(predictions: pd.DataFrame, table: pd.DataFrame) -> dict[str, float]:
    """Youden's threshold of every finding, from predictions of the validation split.

    0.5 for a finding without both classes, or whose probabilities are all equal.
    """
    labels = labels_of(predictions, table)
    chosen = {f: statistics.youden_threshold(labels[f], predictions[f]) for f in labels.columns}
    return {f: DEFAULT_THRESHOLD if np.isnan(t) else t for f, t in chosen.items()}


def cuts_of(thresholds: Mapping[str, float]) -> dict[str, float]:
    """Thresholds (probabilities) as scores; those of 0 and 1, which have no finite one, nearly."""
    edges = np.nextafter([0.0, 1.0], [1.0, 0.0])
    return {name: float(logit(np.clip(value, *edges))) for name, value in thresholds.items()}


def threshold_rows(
    thresholds: Mapping[str, float],
    predictions: pd.DataFrame,
    sidecar: Mapping[str, Any],
    table: pd.DataFrame,
    stem: str,
) -> pd.DataFrame:
    """The thresholds as rows of `metrics.csv`; arguments are those they were chosen from."""
    labels = labels_of(predictions, table)
    rows = [
        EMPTY
        | {"finding": finding, "metric": "threshold", "value": thresholds[finding]}
        | counts(labels, [finding])
        for finding in labels.columns
    ]
    return pd.DataFrame([identity(sidecar, stem) | row for row in rows], columns=list(COLUMNS))


def write_metrics(path: Path, rows: pd.DataFrame) -> None:
    """Write `metrics.csv`, whole or not at all; numbers round-trip."""
    write_csv(path, rows[list(COLUMNS)])


def read_metrics(path: Path) -> pd.DataFrame:
    """Read `metrics.csv`: text as str (empty, not NaN), numbers as float, counts as int."""
    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, "str") | dict.fromkeys(COUNTS, "int64")
    try:
        text = pd.read_csv(path, dtype=kinds, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MedrobustError(
            f"{path}: expected a table of metrics, found: {reason}; run `evaluate` again"
        ) from error
    if tuple(text.columns) != COLUMNS:
        raise MedrobustError(
            f"{path}: expected columns {', '.join(COLUMNS)}, found "
            f"{', '.join(text.columns)}; run `evaluate` again"
        )
    try:
        numbers = {name: [float(x) if x else np.nan for x in text[name]] for name in NUMBERS}
    except ValueError as error:
        raise MedrobustError(
            f"{path}: expected numbers in {', '.join(NUMBERS)}, found text; run `evaluate` again"
        ) from error
    return text.assign(**numbers)


def _measures(
    predictions: pd.DataFrame, labels: pd.DataFrame, thresholds: Mapping[str, float]
) -> dict[Any, Statistic]:
    """The statistic of every (finding, metric): logits are ranked, probabilities are decided."""
    measures: dict[Any, Statistic] = {}
    for finding in labels.columns:
        truth, logit, p = labels[finding], predictions[LOGIT + finding], predictions[finding]
        cut = thresholds[finding]
        measures[finding, "auroc"] = statistics.weighted_auroc(truth, logit)
        measures[finding, "auprc"] = statistics.weighted_auprc(truth, logit)
        measures[finding, "accuracy"] = statistics.weighted_accuracy(truth, p, cut)
        measures[finding, "sensitivity"] = statistics.weighted_sensitivity(truth, p, cut)
        measures[finding, "specificity"] = statistics.weighted_specificity(truth, p, cut)
        measures[finding, "brier"] = statistics.weighted_brier(truth, p)
        measures[finding, "ece"] = statistics.weighted_expected_calibration_error(truth, p)
    return measures


def _first_choice(predictions: pd.DataFrame, labels: pd.DataFrame) -> Statistic:
    """Share of images whose own class has the largest logit, under every attack."""
    if CLASS_MARGIN in predictions:
        margin = predictions[CLASS_MARGIN].to_numpy(float)
        return statistics.weighted_mean(np.where(np.isnan(margin), np.nan, margin > 0))
    logits = predictions[[LOGIT + finding for finding in labels.columns]].to_numpy(float)
    right = labels.to_numpy()[np.arange(len(labels)), logits.argmax(axis=1)]
    return statistics.weighted_mean(np.where(labels.isna().any(axis=1), np.nan, right))


def estimated(
    measures: Mapping[Any, Statistic], patients: pd.Series, redraws: int, seed: int
) -> dict[Any, Estimate]:
    """Every measure and its values on the same redraws of the patients."""
    if not measures:
        return {}
    redrawn = statistics.bootstrap(list(measures.values()), patients, redraws, seed)
    return {
        key: Estimate(statistics.whole(measure, len(patients)), values)
        for (key, measure), values in zip(measures.items(), redrawn.T, strict=True)
    }


def mean_estimate(estimates: list[Estimate]) -> Estimate:
    """Macro average, within each redraw."""
    value = np.mean([estimate.value for estimate in estimates])
    return Estimate(float(value), np.mean([estimate.redrawn for estimate in estimates], axis=0))


def bootstrap_rows(
    estimates: Mapping[Any, Estimate],
    labels: pd.DataFrame,
    covered: list[str],
    metrics: Sequence[str] = METRICS,
) -> list[dict[str, Any]]:
    """Rows of every finding and macro; empty where there is no estimate of (finding, metric)."""
    rows = []
    for finding in [*labels.columns, MACRO]:
        number = counts(labels, covered if finding == MACRO else [finding])
        for metric in metrics:
            row = EMPTY | {"finding": finding, "metric": metric} | number
            if (finding, metric) in estimates:
                value, redrawn = estimates[finding, metric]
                low, high, _ = statistics.percentile_interval(redrawn)
                row |= {"value": value, "low": low, "high": high, "interval": "bootstrap"}
            rows.append(row)
    return rows


def _delong_rows(
    predictions: pd.DataFrame, labels: pd.DataFrame, covered: list[str]
) -> list[dict[str, Any]]:
    rows = []
    for finding in covered:
        value, _, low, high = statistics.delong_interval(
            labels[finding], predictions[LOGIT + finding], predictions["patient_id"]
        )
        row = {"value": value, "low": low, "high": high, "interval": "delong"}
        rows.append({"finding": finding, "metric": "auroc"} | row | counts(labels, [finding]))
    return rows


def counts(labels: pd.DataFrame, findings: Sequence[str]) -> dict[str, int]:
    """Images with a known label, and with a positive one, of any of the findings."""
    given = labels[list(findings)] if findings else labels
    known, positive = given.notna().any(axis=1), (given == 1).any(axis=1)
    return {"n": int(known.sum()), "n_positive": int(positive.sum())}


def identity(sidecar: Mapping[str, Any], stem: str) -> dict[str, Any]:
    """The columns that all rows of one file of predictions share."""
    attack = sidecar["attack"]
    attacked = bool(attack.get("name"))
    return {
        **{key: sidecar[key] for key in ("store", "split", "checkpoint", "branch")},
        "attack": attack.get("name", ""),
        **{
            key: attack.get(key, "") if attacked else ""
            for key in ("goal", "norm", "attacked_branch")
        },
        "eps": float(attack.get("eps", 0.0)) if attacked else 0.0,
        "group": "all",
        "predictions": stem,
    }


def covered_findings(labels: pd.DataFrame) -> list[str]:
    """The findings with images of both classes: those that can be scored, and macro covers."""
    return [finding for finding in labels.columns if not _lacking(labels[finding])]


def _lacking(labels: pd.Series) -> str:
    """What a finding needs to be scored and lacks; empty when it has both classes."""
    if labels.isna().all():
        return "labelled"
    if not (labels == 1).any():
        return "positive"
    return "" if (labels == 0).any() else "negative"


def _warnings(
    estimates: Mapping[Any, Estimate], labels: pd.DataFrame, covered: list[str], where: str
) -> list[str]:
    covers = f"macro covers: {', '.join(covered) or 'nothing'}"
    texts = [
        f"{where}: {finding} has no {_lacking(labels[finding])} images among "
        f"{counts(labels, [finding])['n']} and cannot be scored; {covers}"
        for finding in labels.columns
        if finding not in covered
    ]
    for finding in covered:
        value, redrawn = estimates[finding, "auroc"]
        defined = statistics.percentile_interval(redrawn).defined
        if 2 * defined < redrawn.size:
            texts.append(
                f"{where}: {finding} has both classes in only {defined} of {redrawn.size} redraws "
                "of the patients; no bootstrap interval of its AUROC"
            )
        if value in (0.0, 1.0):
            texts.append(
                f"{where}: {finding} has an AUROC of exactly {value:g}; its bootstrap "
                "interval has no width and DeLong's cannot be estimated"
            )
    return texts


def check_thresholds(labels: pd.DataFrame, thresholds: Mapping[str, float], stem: str) -> None:
    """Raise MedrobustError unless every finding has a threshold."""
    missing = [finding for finding in labels.columns if finding not in thresholds]
    if missing:
        raise MedrobustError(
            f"{stem}: expected a threshold for every finding, found none for {missing[0]}; choose "
            "thresholds from the validation predictions of the same run"
        )
