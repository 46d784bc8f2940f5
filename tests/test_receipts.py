"""Receipts: that what they say can be checked, and is right."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust import __version__
from medrobust.data.store import Store
from medrobust.predictions import LOGIT, read_predictions
from medrobust.receipts import outcome
from medrobust.rundir import RunDir

STEM = "phantom-test-best-adv-pgd-linf-0.00784314-on-adv"


def receipt_of(run: RunDir, stem: str) -> dict[str, object]:
    return dict(json.loads((run.receipts / f"{stem}.json").read_text()))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_there_is_one_for_every_attack(evaluated_run: RunDir) -> None:
    assert {path.name for path in evaluated_run.receipts.iterdir()} == {
        f"phantom-test-best-{name}-pgd-linf-0.00784314-on-{name}.json" for name in ("clean", "adv")
    }


def test_what_it_says(evaluated_run: RunDir, tiny_store: Store) -> None:
    receipt = receipt_of(evaluated_run, STEM)
    frame, sidecar = read_predictions(evaluated_run.predictions / f"{STEM}.csv")
    assert receipt["predictions"] == STEM
    assert receipt["sha256"] == sha256(evaluated_run.predictions / f"{STEM}.csv")
    assert receipt["adversarial_sha256"] == sha256(evaluated_run.adversarial / f"{STEM}.npz")
    for name in ("weights", "store", "store_checksum", "attack"):
        assert receipt[name] == sidecar[name]
    assert receipt["store_checksum"] == tiny_store.checksum
    assert receipt["images"] == len(frame) == 16
    # each image once as it is, twice for the steps, and once as it was attacked
    assert receipt["passes"] == 16 * 4
    assert receipt["device"] == "cpu"
    assert receipt["software"]["medrobust"] == __version__  # type: ignore[index]
    assert receipt["seconds"] >= 0  # type: ignore[operator]


@pytest.mark.parametrize("branch", ["clean", "adv"])
def test_the_outcome_is_that_of_the_predictions(
    evaluated_run: RunDir, tiny_store: Store, branch: str
) -> None:
    stem = STEM.replace("adv", branch)
    found = receipt_of(evaluated_run, stem)["outcome"]
    frame, _ = read_predictions(evaluated_run.predictions / f"{stem}.csv")
    metrics = pd.read_csv(evaluated_run.metrics)
    chosen = metrics[(metrics["metric"] == "threshold") & (metrics["branch"] == branch)]
    thresholds = chosen.set_index("finding")["value"]
    labels = tiny_store.labels[tiny_store.rows("test")]
    assert list(found) == tiny_store.findings  # type: ignore[call-overload]
    for column, finding in enumerate(tiny_store.findings):
        right = (frame[finding] >= thresholds[finding]) == (labels[:, column] == 1)
        assert found[finding] == "".join("1" if one else "0" for one in right)  # type: ignore[index]
        accuracy = metrics[(metrics["predictions"] == stem) & (metrics["finding"] == finding)]
        accuracy = accuracy[(accuracy["metric"] == "accuracy") & (accuracy["group"] == "all")]
        share = found[finding].count("1") / 16  # type: ignore[index]
        assert accuracy["value"].item() == pytest.approx(share)


def test_letters() -> None:
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d"],
            "patient_id": ["p"] * 4,
            "label:x": [1.0, 0.0, np.nan, 0.0],
        }
    )
    frame = table[["image_id", "patient_id"]].assign(
        **{"branch": "single", "x": 0.5, f"{LOGIT}x": [2.0, 2.0, 2.0, 1.9]}
    )
    sidecar = {"attack": {"cuts": {"x": 2.0}}}
    assert outcome(frame, table, sidecar) == {"x": "10-1"}
    assert outcome(frame.iloc[::-1], table, sidecar) == {"x": "1-01"}
