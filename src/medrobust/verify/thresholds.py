"""Thresholds: were they chosen on validation images, by the network that is scored?"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from medrobust.findings import Finding, judged
from medrobust.metrics import choose_thresholds, cuts_of
from medrobust.scoring import Record
from medrobust.verify.evidence import Evidence
from medrobust.verify.related import is_clean

SHARED = ("branch", "checkpoint", "weights", "task")
"""What the predictions that chose the thresholds share with those that are scored."""
PRECISION = 1e-6
"""Of a cut, absolute and relative: it is kept as a float32 number."""


def check_thresholds(evidence: Evidence, stem: str) -> list[Finding]:
    """The predictions that chose the thresholds; of attacks also the cuts."""
    record = evidence.record or Record()
    how = record.scores.get(stem)
    chosen = [] if how is None else [how.thresholds]
    if stem in record.thresholds:
        chosen.append(stem)
    return judged("thresholds", stem, partial(_chosen, evidence, stem, chosen)) if chosen else []


def _chosen(evidence: Evidence, stem: str, chosen: list[str]) -> Iterator[str]:
    for origin in chosen:
        if origin not in evidence.predictions:
            yield f"predictions/{origin}.csv, which chose them, is missing or can't be read"
            return
        yield from _of_validation(evidence, stem, origin)
    if evidence.told(stem).sidecar["attack"].get("attacked_branch"):
        yield from _cuts(evidence, stem, chosen[0])


def _of_validation(evidence: Evidence, stem: str, origin: str) -> Iterator[str]:
    sidecar, own = evidence.told(origin).sidecar, evidence.told(stem).sidecar
    if sidecar["split"] != "val" or not is_clean(sidecar):
        yield f"they were chosen by {origin}: expected clean predictions of split val"
    for name in SHARED:
        if sidecar.get(name) != own.get(name):
            yield f"they were chosen by {origin}, whose {name} is another"
    home = evidence.run.provenance()["store"]["checksum"]
    if sidecar.get("store_checksum") not in (home, own.get("store_checksum")):
        yield f"they were chosen by {origin}, whose store is another"


def _cuts(evidence: Evidence, stem: str, origin: str) -> Iterator[str]:
    frame, table = evidence.told(origin).frame, evidence.seen(origin).store.table
    expected = cuts_of(choose_thresholds(frame, table))
    found: Mapping[str, Any] = evidence.told(stem).sidecar["attack"].get("cuts", {})
    if found.keys() != expected.keys():
        yield f"the attack has cuts of {', '.join(found) or 'nothing'}"
        return
    for finding, cut in expected.items():
        if not np.isclose(float(found[finding]), cut, rtol=PRECISION, atol=PRECISION):
            yield f"the attack's cut of {finding} is {found[finding]:.6g}, chosen was {cut:.6g}"
