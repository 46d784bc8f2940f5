"""`trust.csv`: has every row a receipt, is it of the weights at hand, and what was not checked?"""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd

from medrobust.findings import Finding, UncheckedError, attempted, judged
from medrobust.trust_table import outcomes, read_trust
from medrobust.trusted import IDENTITY
from medrobust.verify.evidence import Evidence
from medrobust.verify.related import is_attacked

MADE_WITH = "made_with"
"""What tells the receipts of checks from those of predictions."""
NETWORK = ("store", "split", "checkpoint")
"""With the branch and the norm what checks are of; they are made at one radius."""


def check_trust(evidence: Evidence, receipts: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """The rows of `trust.csv` against the receipts of checks, and against the attacks."""
    path, rows, findings = evidence.run.trust, None, list[Finding]()
    if path.is_file():
        rows, findings = attempted("trust", path.name, lambda: read_trust(path))
    groups: dict[tuple[str, ...], pd.DataFrame] = {}
    if rows is not None:
        groups = {tuple(map(str, key)): part for key, part in rows.groupby(list(IDENTITY))}
    if not findings:
        findings = _untrusted(evidence, {key[:-1] for key in groups})
    for stem, receipt in receipts.items():
        made = receipt[MADE_WITH] if isinstance(receipt[MADE_WITH], dict) else {}
        part = groups.pop(tuple(str(made.get(name)) for name in IDENTITY), None)
        findings += judged("trust", stem, partial(_checked, evidence, receipt, made, part))
    for key in groups:
        what = "-".join(key)
        findings.append(Finding("trust", what, "wrong", "rows of trust.csv without a receipt"))
    return findings


def _checked(
    evidence: Evidence,
    receipt: Mapping[str, Any],
    made: Mapping[str, Any],
    rows: pd.DataFrame | None,
) -> Iterator[str]:
    if rows is None:
        yield "trust.csv has no rows of it"
        return
    images = len(receipt.get("images") or ())
    if (rows["n"] != images).any():
        yield f"trust.csv says n = {rows['n'].iloc[0]}, the receipt names {images} images"
    if outcomes(rows) != receipt.get("checks"):
        yield "trust.csv says other things than the receipt"
    name = str(made.get("checkpoint"))
    if evidence.weights(name) != made.get("weights"):
        if not evidence.run.is_done:
            raise UncheckedError(f"made with older weights of checkpoint {name}")
        yield f"checkpoint {name} does not have the weights that were checked"


def _untrusted(evidence: Evidence, checked: Collection[tuple[str, ...]]) -> list[Finding]:
    """Networks that were attacked, at radii of the image's range, and never checked."""
    attacked = {
        (*(str(sidecar[name]) for name in NETWORK), attack["attacked_branch"], attack["norm"])
        for _, sidecar in evidence.predictions.values()
        if is_attacked(sidecar) and (attack := sidecar["attack"]).get("unit") != "native"
    }
    return [
        Finding("trust", "-".join(key), "not checked", "no row of trust.csv is of this network")
        for key in sorted(attacked - set(checked))
    ]
