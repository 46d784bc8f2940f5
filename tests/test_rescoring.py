"""What is left of an attack once its images are saved."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medrobust.attacks.suite import Budget
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.evaluate import Evaluation, evaluate
from medrobust.metrics import read_metrics
from medrobust.models import load_model
from medrobust.predictions import LOGIT, read_predictions
from medrobust.quantised import read_images
from medrobust.rescoring import rescored_name
from medrobust.rundir import RunDir, run_directory
from medrobust.train import train

Copy = Callable[[RunDir], RunDir]
EPS = 0.02
FAST = "phantom-test-best-single-fast-linf-0.02-on-single"


def what(save: Any) -> Evaluation:
    return Evaluation(
        suite="fast", eps=(EPS,), save=save, budget=Budget(steps=2), redraws=20, groups=()
    )


def logits(run: RunDir, store: Store, stem: str) -> np.ndarray:
    frame, _ = read_predictions(run.predictions / f"{stem}.csv")
    return frame[[LOGIT + finding for finding in store.findings]].to_numpy()


def test_a_depth_that_can_not_be_written_is_refused_before_any_attack(
    standard_run: RunDir, copy_of: Copy, tiny_store: Store
) -> None:
    run = copy_of(standard_run)
    store = replace(tiny_store, table=tiny_store.table.assign(native_low=5.0, native_high=5.0))
    with pytest.raises(MedrobustError, match=r"^native: expected finite values that are 1 to"):
        evaluate(run, store, what("stored"))
    assert not run.predictions.exists()


@pytest.mark.parametrize(("save", "step"), [("8", 1 / 255), ("16", 1 / 65535), ("stored", 1 / 500)])
def test_scores_are_those_of_the_files(
    standard_run: RunDir, copy_of: Copy, tiny_store: Store, save: Any, step: float
) -> None:
    run = copy_of(standard_run)
    store = replace(tiny_store, table=tiny_store.table.assign(native_low=-100.0, native_high=400.0))
    evaluate(run, store, what(save))
    depth = {"8": "8bit", "16": "16bit", "stored": "stored"}[save]
    stem = FAST.replace("fast", f"fast-{depth}")
    network = load_model(run, store)[0].branch("single")
    rows = store.rows("test")
    ids = store.table["image_id"].iloc[rows].tolist()
    with np.load(run.adversarial / f"{FAST}.npz") as saved:
        assert saved["image_id"].tolist() == ids  # all images, not just some to look at
        slots = saved["by_finding"]
    found = logits(run, store, stem)
    for column in range(len(store.findings)):
        names, images = read_images(run.adversarial / FAST / save / str(column))
        assert names == ids
        assert np.abs(images.numpy() - slots[:, column]).max() <= step / 2 + 1e-6
        with torch.no_grad():
            again = network(images)[:, column].numpy()
        np.testing.assert_allclose(found[:, column], again, rtol=0, atol=1e-6)
    before = logits(run, store, FAST)
    assert np.abs(found - before).max() < (0.05 if save == "8" else 0.03)
    assert (found != before).any()
    rows_of = read_metrics(run.metrics)
    again = rows_of[rows_of["attack"] == f"fast/{depth}"]
    assert set(again["predictions"]) == {stem}
    assert set(again["eps"]) == {EPS}
    assert not again["metric"].str.contains("@").any()
    assert "auroc" in set(again["metric"])


def test_finer_levels_change_less(standard_run: RunDir, copy_of: Copy, tiny_store: Store) -> None:
    run = copy_of(standard_run)
    apart = {}
    for save, depth in (("8", "8bit"), ("16", "16bit")):
        evaluate(run, what=what(save))
        again = logits(run, tiny_store, FAST.replace("fast", f"fast-{depth}"))
        apart[save] = np.abs(again - logits(run, tiny_store, FAST)).max()
    assert apart["16"] < apart["8"] / 20


def test_saving_is_done_once(standard_run: RunDir, copy_of: Copy) -> None:
    run = copy_of(standard_run)
    evaluate(run, what=what("8"))
    times = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    evaluate(run, what=what("8"))
    after = {path: path.stat().st_mtime_ns for path in times}
    assert {path.parent for path in times if times[path] != after[path]} == {run.path}


@pytest.mark.parametrize("state", ["few", "missing", "damaged"])
def test_images_that_are_not_all_there_are_made_again(
    standard_run: RunDir, copy_of: Copy, state: str
) -> None:
    run = copy_of(standard_run)
    evaluate(run, what=what(None if state == "few" else "8"))
    path = run.adversarial / f"{FAST}.npz"
    before = path.read_bytes()
    if state == "missing":
        path.unlink()
    if state == "damaged":
        path.write_bytes(before[: len(before) // 2])
    evaluate(run, what=what("8"))
    with np.load(path) as saved:
        assert len(saved["image_id"]) == 16
    assert (path.read_bytes() == before) == (state != "few")


def test_names() -> None:
    assert rescored_name("fast", "8") == "fast/8bit"
    assert rescored_name("strong", "16") == "strong/16bit"
    assert rescored_name("pgd", "stored") == "pgd/stored"


def test_of_exclusive_classes_the_margin_is_that_of_its_own_image(
    standard_run: RunDir, configure: Callable[..., Any], tiny_store: Store, tmp_path: Path
) -> None:
    columns = [f"label:{finding}" for finding in tiny_store.findings]
    classes = np.eye(5)[np.arange(len(tiny_store.table)) % 5]
    table = tiny_store.table.assign(**dict(zip(columns, classes.T, strict=True)))
    info = tiny_store.info.model_copy(update={"task": "exclusive"})
    store = replace(tiny_store, table=table, info=info)
    config = configure("standard")
    run = run_directory(config, tmp_path)
    train(config, store, run)
    labels = store.table.copy()
    labels.loc[store.rows("test")[2], columns] = np.nan
    evaluate(run, replace(store, table=labels), what("16"))
    margins = [
        read_predictions(run.predictions / f"{stem}.csv").frame["class_margin"].to_numpy()
        for stem in (FAST, FAST.replace("fast", "fast-16bit"))
    ]
    np.testing.assert_allclose(*margins, rtol=0, atol=1e-2)
    assert np.isnan(margins[1]).tolist() == [number == 2 for number in range(16)]
    _, images = read_images(run.adversarial / FAST / "16" / "5")
    with torch.no_grad():
        logits = load_model(run, store)[0].branch("single")(images).numpy()
    own = store.labels[store.rows("test")].argmax(1)
    others = np.where(np.arange(5) == own[:, None], -np.inf, logits).max(1)
    expected = np.where(np.arange(16) == 2, np.nan, logits[np.arange(16), own] - others)
    np.testing.assert_allclose(margins[1], expected, rtol=0, atol=1e-5)
