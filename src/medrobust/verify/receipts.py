"""Predictions and their receipts: do they belong to each other, and to the weights?"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.special import expit

from medrobust.files import sha256_of
from medrobust.findings import Finding, UncheckedError, judged
from medrobust.predictions import LOGIT, finding_names
from medrobust.receipts import outcome
from medrobust.verify.evidence import Evidence
from medrobust.verify.related import is_attacked

SHARED = ("weights", "store", "store_checksum", "attack")
"""What a receipt repeats of the predictions' sidecar."""


def check_predictions(evidence: Evidence, stem: str) -> list[Finding]:
    """Its own numbers, its images, its weights and, of attacked images, its receipt."""
    findings = judged("predictions", stem, lambda: _consistent(evidence, stem))
    findings += judged("split", stem, lambda: _whole(evidence, stem))
    findings += judged("weights", stem, lambda: _same_weights(evidence, stem))
    receipt = evidence.run.receipts / f"{stem}.json"
    attacked = evidence.told(stem).sidecar["attack"].get("attacked_branch")
    if attacked and not receipt.is_file():
        note = f"attacked predictions without receipts/{receipt.name}"
        findings.append(Finding("receipt", stem, "wrong", note))
    return findings


def check_receipt(evidence: Evidence, stem: str, receipt: Mapping[str, Any]) -> list[Finding]:
    """A receipt against the files it is of."""
    return judged("receipt", stem, lambda: _receipt(evidence, stem, receipt))


def _consistent(evidence: Evidence, stem: str) -> Iterator[str]:
    frame = evidence.told(stem).frame
    for finding in finding_names(frame):
        off = np.abs(frame[finding] - expit(frame[LOGIT + finding])) > 1e-6
        if off.any():
            image = frame["image_id"][off].iloc[0]
            yield f"{finding}: the probability of image {image!r} is not that of its logit"


def _whole(evidence: Evidence, stem: str) -> Iterator[str]:
    """Every image of the split, in the store's order, by one network."""
    frame, sidecar = evidence.told(stem)
    store, split = evidence.seen(stem).store, sidecar["split"]
    expected = store.table["image_id"].iloc[store.rows(split)].astype(str).tolist()
    found = frame["image_id"].tolist()
    if sorted(found) == sorted(expected) and found != expected:
        yield f"the images of split {split} are in another order than the store's"
    elif found != expected:
        missing, strange = set(expected) - set(found), set(found) - set(expected)
        yield (
            f"split {split} has {len(expected)} images, of which {len(missing)} are missing; "
            f"{len(strange)} others are predicted"
        )
    if (frame["branch"] != sidecar["branch"]).any():
        yield f"rows of another network than {sidecar['branch']}"


def _same_weights(evidence: Evidence, stem: str) -> Iterator[str]:
    sidecar = evidence.told(stem).sidecar
    name = sidecar["checkpoint"]
    if evidence.weights(name) == sidecar.get("weights"):
        return
    if stem not in evidence.claimed or not evidence.run.is_done:
        raise UncheckedError(f"made with older weights of checkpoint {name}; run `evaluate` again")
    yield f"checkpoint {name} does not have the weights that made it; run `evaluate` again"


def _receipt(evidence: Evidence, stem: str, receipt: Mapping[str, Any]) -> Iterator[str]:
    predictions = evidence.run.predictions / f"{stem}.csv"
    if receipt.get("predictions") != stem:
        yield f"it names the predictions {receipt.get('predictions')!r}"
    if not predictions.is_file():
        yield f"its predictions/{stem}.csv is missing"
        return
    if sha256_of(predictions) != receipt.get("sha256"):
        yield f"predictions/{stem}.csv was changed: its SHA-256 is not the receipt's"
    yield from _images(evidence, receipt, stem)
    frame, sidecar = evidence.told(stem)
    for name in SHARED:
        if receipt.get(name) != sidecar.get(name):
            yield f"{name} is not that of predictions/{stem}.json"
    if receipt.get("images") != len(frame):
        yield f"images is {receipt.get('images')!r}, the predictions have {len(frame)}"
    table = evidence.seen(stem).store.table
    if receipt.get("outcome") != outcome(frame, table, sidecar):
        yield "outcome is not that of the predictions"


def _images(evidence: Evidence, receipt: Mapping[str, Any], stem: str) -> Iterator[str]:
    path, expected = evidence.run.adversarial / f"{stem}.npz", receipt.get("adversarial_sha256")
    if not path.is_file():
        if expected is not None or _keeps_images(evidence.told(stem).sidecar):
            yield f"its adversarial/{stem}.npz is missing"
    elif expected is None:
        yield f"it does not know adversarial/{stem}.npz"
    elif sha256_of(path) != expected:
        yield f"adversarial/{stem}.npz was changed: its SHA-256 is not the receipt's"


def _keeps_images(sidecar: Mapping[str, Any]) -> bool:
    """Whether some images are kept: those of the network that was attacked."""
    return is_attacked(sidecar) and sidecar["attack"]["attacked_branch"] == sidecar["branch"]
