"""Receipts: what a robust number was made of, so that it can be checked later; see `verify`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medrobust.files import sha256_of, write_json
from medrobust.job import Job
from medrobust.predictions import LOGIT, finding_names, labels_of
from medrobust.software import software


@dataclass(frozen=True)
class Cost:
    """What a sweep took, all radii together."""

    seconds: float
    passes: int
    """Images shown to the attacked network by the attacks."""


def write_receipt(
    job: Job, path: Path, frame: pd.DataFrame, sidecar: Mapping[str, Any], cost: Cost
) -> None:
    """Write `receipts/<stem>.json` beside the predictions at `path`."""
    adversarial = job.run.adversarial / f"{path.stem}.npz"
    receipt = {
        "predictions": path.stem,
        "sha256": sha256_of(path),
        "adversarial_sha256": sha256_of(adversarial) if adversarial.is_file() else None,
        **{name: sidecar[name] for name in ("weights", "store", "store_checksum", "attack")},
        "software": software(),
        "device": str(job.device),
        "seconds": round(cost.seconds, 3),
        "passes": cost.passes,
        "images": len(frame),
        "outcome": outcome(frame, job.store.table, sidecar),
    }
    write_json(job.run.receipts / f"{path.stem}.json", receipt)


def has_receipt(job: Job, path: Path) -> bool:
    """Whether the predictions at `path` have a receipt, and their images are there, if any."""
    try:
        receipt = json.loads((job.run.receipts / f"{path.stem}.json").read_text(encoding="utf-8"))
        images = job.run.adversarial / f"{path.stem}.npz"
        return bool(
            receipt["sha256"] == sha256_of(path)
            and (receipt["adversarial_sha256"] is None or images.is_file())
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def outcome(frame: pd.DataFrame, table: pd.DataFrame, sidecar: Mapping[str, Any]) -> dict[str, str]:
    """Per finding a letter an image, in the order of the predictions.

    1: the score is on the label's side of the cut; 0: it is not; -: the label is unknown.
    """
    labels = labels_of(frame, table)
    cuts = sidecar["attack"]["cuts"]
    found = {}
    for finding in finding_names(frame):
        # in float32, as networks give scores: the same before and after they were written
        scores = frame[LOGIT + finding].to_numpy(np.float32)
        right = (scores >= np.float32(cuts[finding])) == (labels[finding] == 1)
        letters = np.where(labels[finding].isna(), "-", np.where(right, "1", "0"))
        found[finding] = "".join(letters)
    return found
