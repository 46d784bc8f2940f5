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
from medrobust.statistics.decision_curves import (
    DecisionCurve,
    decision_curve,
    net_benefit,
    weighted_net_benefit,
)
from medrobust.statistics.decisions import (
    McNemar,
    accuracy,
    mcnemar,
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
from medrobust.statistics.multiplicity import holm
from medrobust.statistics.noninferiority import (
    NonInferiority,
    bootstrap_non_inferiority,
    delong_non_inferiority,
)
from medrobust.statistics.operating_points import (
    threshold_at_sensitivity,
    threshold_at_specificity,
    youden_threshold,
)
from medrobust.statistics.ranking import (
    RocCurve,
    auprc,
    auroc,
    roc_curve,
    weighted_auprc,
    weighted_auroc,
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
    "DecisionCurve",
    "Difference",
    "Interval",
    "McNemar",
    "NonInferiority",
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
    "bootstrap_non_inferiority",
    "bootstrap_p",
    "brier",
    "decision_curve",
    "delong_covariance",
    "delong_interval",
    "delong_non_inferiority",
    "delong_test",
    "expected_calibration_error",
    "holm",
    "mcnemar",
    "net_benefit",
    "percentile_interval",
    "redrawn_weights",
    "reliability",
    "roc_curve",
    "sensitivity",
    "specificity",
    "threshold_at_sensitivity",
    "threshold_at_specificity",
    "weighted_accuracy",
    "weighted_auprc",
    "weighted_auroc",
    "weighted_brier",
    "weighted_expected_calibration_error",
    "weighted_mean",
    "weighted_net_benefit",
    "weighted_sensitivity",
    "weighted_specificity",
    "whole",
    "youden_threshold",
]
