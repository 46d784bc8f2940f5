"""Two networks on the same images: is one AUROC larger than the other?"""

from typing import Any

import numpy as np
import pandas as pd

from medrobust import statistics
from medrobust.errors import MedrobustError
from medrobust.metrics import MACRO, Estimate, counts, covered_findings, estimated, mean_estimate
from medrobust.predictions import LOGIT, finding_names, labels_of
from medrobust.statistics.resampling import REDRAWS

COLUMNS = (
    *("finding", "auroc_a", "auroc_b", "difference", "low", "high", "p_bootstrap", "p_delong"),
    *("n", "n_positive"),
)


def paired_comparison(
    predictions_a: pd.DataFrame,
    predictions_b: pd.DataFrame,
    table: pd.DataFrame,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """AUROC of a minus AUROC of b on the same images: a row per finding, then `macro`.

    Columns are `COLUMNS`: percentile interval and two-sided p of the bootstrap of patients (a,
    b and all findings on the same redraws), and p of DeLong's clustered test (NaN for macro).
    Findings without both classes are NaN and left out of macro. Raises MedrobustError unless
    images and findings agree.
    """
    labels = labels_of(predictions_a, table)
    other = _in_order_of(predictions_a, predictions_b)
    covered = covered_findings(labels)
    first, second = (
        _aurocs(given, labels[covered], redraws, seed) for given in (predictions_a, other)
    )
    rows = []
    for finding in [*labels.columns, MACRO]:
        row: dict[str, Any] = {"finding": finding}
        if finding in first:
            row |= _difference(first[finding], second[finding])
        if finding in covered:
            row["p_delong"] = _delong_p(labels[finding], predictions_a, other, finding)
        rows.append(row | counts(labels, covered if finding == MACRO else [finding]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _aurocs(
    predictions: pd.DataFrame, labels: pd.DataFrame, redraws: int, seed: int
) -> dict[str, Estimate]:
    """AUROC of each finding and of macro; the same patients and seed give the same redraws."""
    measures = {
        finding: statistics.weighted_auroc(labels[finding], predictions[LOGIT + finding])
        for finding in labels.columns
    }
    aurocs = estimated(measures, predictions["patient_id"], redraws, seed)
    return aurocs | {MACRO: mean_estimate(list(aurocs.values()))} if aurocs else {}


def _difference(first: Estimate, second: Estimate) -> dict[str, float]:
    redrawn = first.redrawn - second.redrawn
    low, high, _ = statistics.percentile_interval(redrawn)
    return {
        "auroc_a": first.value,
        "auroc_b": second.value,
        "difference": first.value - second.value,
        "low": low,
        "high": high,
        "p_bootstrap": statistics.bootstrap_p(redrawn),
        "p_delong": np.nan,
    }


def _delong_p(labels: pd.Series, first: pd.DataFrame, second: pd.DataFrame, finding: str) -> float:
    a, b = (given[LOGIT + finding] for given in (first, second))
    return statistics.delong_test(labels, a, b, first["patient_id"]).p


def _in_order_of(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The second predictions, row by row of the images of the first."""
    rows = pd.Index(second["image_id"]).get_indexer(pd.Index(first["image_id"]))
    if (rows < 0).any() or len(first) != len(second):
        raise MedrobustError(
            f"expected two predictions of the same images, found {len(first)} and {len(second)} "
            f"images of which {int((rows >= 0).sum())} are shared; compare predictions of one "
            "store and split"
        )
    names = finding_names(first), finding_names(second)
    if set(names[0]) != set(names[1]):
        raise MedrobustError(
            f"expected two predictions of the same findings, found {', '.join(names[0])} and "
            f"{', '.join(names[1])}; compare networks trained on the same findings"
        )
    ordered: pd.DataFrame = second.iloc[rows].reset_index(drop=True)
    return ordered
