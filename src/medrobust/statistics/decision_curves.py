"""Is acting on a model's probabilities worth more than treating all, or none?

Vickers and Elkin 2006, "Decision curve analysis", Med. Decis. Making 26:565. Who treats from
probability t on holds t / (1 - t) needless treatments worth one that is needed; net benefit is
true positives minus false positives at that rate, per image. Treating none has net benefit 0.
It presumes that images are as often positive as where the model would be used.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medrobust.statistics.decisions import weighted_mean
from medrobust.statistics.inputs import Floats, Statistic, checked_probabilities, whole
from medrobust.statistics.resampling import REDRAWS, bootstrap, percentile_interval


class DecisionCurve(NamedTuple):
    """Net benefit over threshold probabilities; each array (k,), NaN without known labels."""

    thresholds: Floats
    net_benefit: Floats
    low: Floats
    """Ends of the 95 % intervals, each of its threshold alone."""
    high: Floats
    treat_all: Floats
    treat_none: Floats
    """0 throughout."""


def net_benefit(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> float:
    """True positives minus false positives x t / (1 - t), per image; at most the prevalence.

    Labels (n,) are 1, 0 or NaN (left out); NaN when none is known. Raises ValueError for a
    threshold outside [0, 1).
    """
    return whole(weighted_net_benefit(labels, probabilities, threshold), np.size(labels))


def weighted_net_benefit(
    labels: ArrayLike, probabilities: ArrayLike, threshold: float
) -> Statistic:
    """`net_benefit` as a function of weights (R, n)."""
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a threshold probability in [0, 1), got {threshold:g}")
    truth, given = checked_probabilities(labels, probabilities)
    worth = np.where(truth == 1, 1.0, -threshold / (1 - threshold))
    return weighted_mean(np.where(np.isnan(truth), np.nan, worth * (given >= threshold)))


def decision_curve(
    labels: ArrayLike,
    probabilities: ArrayLike,
    thresholds: ArrayLike,
    clusters: ArrayLike,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> DecisionCurve:
    """Net benefit at thresholds (k,) in [0, 1), with a bootstrap band of the clusters (n,)."""
    chosen = np.asarray(thresholds, dtype=np.float64)
    curve = [weighted_net_benefit(labels, probabilities, t) for t in chosen]
    everyone = np.ones(np.size(labels))
    intervals = [percentile_interval(v) for v in bootstrap(curve, clusters, redraws, seed).T]
    return DecisionCurve(
        chosen,
        np.array([whole(statistic, everyone.size) for statistic in curve]),
        np.array([interval.low for interval in intervals]),
        np.array([interval.high for interval in intervals]),
        np.array([net_benefit(labels, everyone, t) for t in chosen]),
        np.zeros(chosen.shape),
    )
