"""Attacked scores: an attacker may leave an image alone, so no attack makes a score better.

For the same reason no larger radius does, since the worst case of a smaller one is carried on.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.findings import Finding, judged
from medrobust.predictions import CLASS_MARGIN, LOGIT, finding_names, labels_of
from medrobust.verify.evidence import Evidence
from medrobust.verify.related import clean_of, is_attacked, smaller_of

Scores = NDArray[np.float64]


def check_worst(evidence: Evidence, stem: str, tolerance: float) -> list[Finding]:
    """Attacked predictions against those of unchanged images and of smaller radii."""
    if not is_attacked(evidence.told(stem).sidecar):
        return []
    return judged("worst case", stem, partial(_no_better, evidence, stem, tolerance))


def _no_better(evidence: Evidence, stem: str, tolerance: float) -> Iterator[str]:
    frame = evidence.told(stem).frame
    labels = labels_of(frame, evidence.seen(stem).store.table)
    for radius, other in smaller_of(evidence, stem):
        if other is not None:
            where = f"at radius {radius:.6g}"
            yield from _better(frame, other.frame, labels, tolerance, where)
    clean = clean_of(evidence, stem).frame
    yield from _better(frame, clean, labels, tolerance, "of the unchanged image")


def _better(
    frame: pd.DataFrame, other: pd.DataFrame, labels: pd.DataFrame, tolerance: float, where: str
) -> Iterator[str]:
    columns = [LOGIT + finding for finding in finding_names(frame)]
    for name in [*columns, *(frame.columns.intersection([CLASS_MARGIN]))]:
        found, reference = frame[name].to_numpy(float), other[name].to_numpy(float)
        gained = found - reference
        if name != CLASS_MARGIN:
            gained = _towards(labels[name.removeprefix(LOGIT)].to_numpy(float), gained)
        unknown = np.isnan(found) & np.isnan(reference)  # the margin of an unknown class
        off = ~(gained <= tolerance * (1 + np.abs(reference))) & ~unknown
        if off.any():
            first = int(off.argmax())
            yield (
                f"{name}: image {frame['image_id'].iloc[first]!r} has {found[first]:.6g}, better "
                f"than the {reference[first]:.6g} {where} ({int(off.sum())} of {len(off)} images)"
            )


def _towards(labels: Scores, change: Scores) -> Scores:
    """(n,) how far scores moved to their labels' side; without a label nothing may move."""
    return np.where(np.isnan(labels), np.abs(change), np.where(labels == 1, change, -change))
