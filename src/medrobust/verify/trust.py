"""`trust.csv`: has every row a receipt, and is it of the weights at hand?"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd

from medrobust.trust_table import outcomes, read_trust
from medrobust.trusted import IDENTITY
from medrobust.verify.evidence import Evidence
from medrobust.verify.finding import Finding, UncheckedError, attempted, judged

MADE_WITH = "made_with"
"""What tells the receipts of checks from those of predictions."""


def check_trust(evidence: Evidence, receipts: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """The rows of `trust.csv` against the receipts of checks."""
    path, findings = evidence.run.trust, list[Finding]()
    groups: dict[tuple[str, ...], pd.DataFrame] = {}
    if path.is_file():
        rows, findings = attempted("trust", path.name, lambda: read_trust(path))
        if rows is not None:
            groups = {tuple(map(str, key)): part for key, part in rows.groupby(list(IDENTITY))}
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
