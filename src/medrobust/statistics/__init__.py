"""Metrics of binary findings with intervals and paired tests: numpy and scipy only.

Labels are 1, 0 or NaN (unknown, left out). A metric is NaN, not an error, where it is undefined.
`weighted_<metric>(labels, ...)` gives the metric as a function of weights per image, which the
bootstrap of patients evaluates on all its redraws.
"""

from medrobust.statistics.calibration import (
    Reliability,
    brier,
    expected_calibration_error,
    reliability,
    weighted_brier,
    weighted_expected_calibration_error,
)
from medrobust.statistics.decisions import (
    accuracy,
    sensitivity,
    specificity,
    weighted_accuracy,
    weighted_mean,
    weighted_sensitivity,
    weighted_specificity,
)
from medrobust.statistics.delong import (
    DeLongInterval,
    PairedTest,
    delong_covariance,
    delong_interval,
    delong_test,
)
from medrobust.statistics.inputs import Statistic, whole
from medrobust.statistics.ranking import (
    RocCurve,
    auprc,
    auroc,
    roc_curve,
    weighted_auprc,
    weighted_auroc,
    youden_threshold,
)
from medrobust.statistics.resampling import (
    Difference,
    Interval,
    bootstrap,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_p,
    percentile_interval,
    redrawn_weights,
)
from medrobust.statistics.seeds import AcrossSeeds, across_seeds

__all__ = [
    "AcrossSeeds",
    "DeLongInterval",
    "Difference",
    "Interval",
    "PairedTest",
    "Reliability",
    "RocCurve",
    "Statistic",
    "accuracy",
    "across_seeds",
    "auprc",
    "auroc",
    "bootstrap",
    "bootstrap_difference",
    "bootstrap_interval",
    "bootstrap_p",
    "brier",
    "delong_covariance",
    "delong_interval",
    "delong_test",
    "expected_calibration_error",
    "percentile_interval",
    "redrawn_weights",
    "reliability",
    "roc_curve",
    "sensitivity",
    "specificity",
    "weighted_accuracy",
    "weighted_auprc",
    "weighted_auroc",
    "weighted_brier",
    "weighted_expected_calibration_error",
    "weighted_mean",
    "weighted_sensitivity",
    "weighted_specificity",
    "whole",
    "youden_threshold",
]
