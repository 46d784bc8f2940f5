import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit

from medrobust import checkpoints, statistics
from medrobust.attacks import Ball, pgd
from medrobust.attacks.suite import Budget
from medrobust.data.batches import load_images
from medrobust.data.cases import gallery_rows
from medrobust.data.prepare import prepare
from medrobust.data.selection import Selection
from medrobust.data.store import Store
from medrobust.datasets.phantom import Phantom
from medrobust.errors import MedrobustError
from medrobust.evaluate import Evaluation, choose_device, evaluate
from medrobust.explain.stage import Wanted, explain
from medrobust.explain.subject import open_subject
from medrobust.job import Job
from medrobust.losses import sigmoid_loss
from medrobust.metrics import choose_thresholds, read_metrics
from medrobust.models import load_model
from medrobust.predictions import Predictions, read_predictions
from medrobust.routing import deployments
from medrobust.rundir import RunDir, run_directory, store_name
from medrobust.train import train
from medrobust.weights import digest

Copy = Callable[[RunDir], RunDir]
COLUMNS = [
    *("store", "split", "checkpoint", "branch", "attack", "goal", "norm", "eps"),
    *("attacked_branch", "group", "finding", "metric", "value", "low", "high", "interval"),
    *("n", "n_positive", "predictions"),
]
EPS = 2 / 255


def predictions(run: RunDir) -> Iterator[tuple[str, Predictions]]:
    for path in sorted(run.predictions.glob("*.csv")):
        yield path.stem, read_predictions(path)


@pytest.fixture(scope="module")
def matrix_run(evaluated_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The evaluated run with all networks attacked and shown all attacks; nothing may change it."""
    folder = tmp_path_factory.mktemp("matrix") / evaluated_run.path.name
    run = RunDir(Path(shutil.copytree(evaluated_run.path, folder)))
    evaluate(run, what=Evaluation(matrix=True, groups=()))
    return run


def logits(frame: pd.DataFrame) -> np.ndarray:
    return frame[[name for name in frame if name.startswith("logit:")]].to_numpy()


def scores_of_saved(network: torch.nn.Module, path: Path) -> np.ndarray:
    """(n, K) the logit of finding j of the image that was kept for finding j."""
    with np.load(path) as saved, torch.no_grad():
        slots = torch.from_numpy(saved["by_finding"])
        return np.stack([network(slots[:, j])[:, j].numpy() for j in range(slots.shape[1])], 1)


def shown(store: Store, frame: pd.DataFrame) -> torch.Tensor:
    """The images of these predictions."""
    rows = pd.Index(store.table["image_id"]).get_indexer(pd.Index(frame["image_id"]))
    return load_images(store, rows.astype(np.int64), "cpu")


class TestPredictions:
    """What `predictions/` holds."""

    def test_files(self, evaluated_run: RunDir) -> None:
        eps = "linf-0.00784314"
        assert [stem for stem, _ in predictions(evaluated_run)] == [
            "phantom-test-best-adv-clean",
            f"phantom-test-best-adv-noise-control-{eps}",
            f"phantom-test-best-adv-pgd-{eps}-on-adv",
            "phantom-test-best-clean-clean",
            f"phantom-test-best-clean-noise-control-{eps}",
            f"phantom-test-best-clean-pgd-{eps}-on-clean",
            "phantom-val-best-adv-clean",
            "phantom-val-best-clean-clean",
        ]

    @pytest.mark.parametrize("branch", ["clean", "adv"])
    def test_clean_ones_are_a_forward_pass(
        self, evaluated_run: RunDir, tiny_store: Store, branch: str
    ) -> None:
        network = load_model(evaluated_run, tiny_store)[0].branch(branch)
        for split in ("val", "test"):
            stem = f"phantom-{split}-best-{branch}-clean"
            frame, _ = read_predictions(evaluated_run.predictions / f"{stem}.csv")
            rows = tiny_store.rows(split)
            with torch.no_grad():
                direct = network(load_images(tiny_store, rows, "cpu"))
            np.testing.assert_allclose(logits(frame), direct.numpy(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(
                frame[tiny_store.findings], direct.sigmoid().numpy(), rtol=1e-5, atol=1e-6
            )
            for name in ("image_id", "patient_id"):
                assert frame[name].tolist() == tiny_store.table[name].iloc[rows].tolist()
            assert set(frame["branch"]) == {branch}

    def test_branches_differ(self, evaluated_run: RunDir) -> None:
        found = dict(predictions(evaluated_run))
        one, other = (found[f"phantom-test-best-{b}-clean"].frame for b in ("clean", "adv"))
        assert np.abs(logits(one) - logits(other)).max() > 1e-3

    def test_sidecar(self, evaluated_run: RunDir, tiny_store: Store) -> None:
        stem = "phantom-test-best-adv-pgd-linf-0.00784314-on-adv"
        tensors = checkpoints.load(evaluated_run.checkpoints, "best").tensors
        assert json.loads((evaluated_run.predictions / f"{stem}.json").read_text()) == {
            "store": "phantom",
            "store_checksum": tiny_store.checksum,
            "split": "test",
            "checkpoint": "best",
            "branch": "adv",
            "weights": digest(tensors),
            "task": "multilabel",
            "attack": {
                "name": "pgd",
                "version": 1,
                "goal": "total",
                "norm": "linf",
                "eps": EPS,
                "members": ["pgd"],
                "carried": [],
                "steps": 2,
                "restarts": 1,
                "queries": None,
                "loss": None,
                "attacked_branch": "adv",
                "unit": "image",
                "square_images": None,
                "seed": 0,
                "cuts": pytest.approx(cuts_of(evaluated_run, tiny_store, "adv"), rel=1e-6),
            },
        }

    def test_sidecars_without_an_attack(self, evaluated_run: RunDir) -> None:
        nothing = {"goal": "", "attacked_branch": "", "seed": 0}
        found = dict(predictions(evaluated_run))
        clean = found["phantom-test-best-adv-clean"].sidecar["attack"]
        noise = found["phantom-test-best-adv-noise-control-linf-0.00784314"].sidecar["attack"]
        assert clean == nothing | {"name": "", "norm": "", "eps": 0.0}
        assert noise == nothing | {"name": "noise-control", "norm": "linf", "eps": EPS}

    def test_of_last_the_running_average_is_what_predicts(
        self, dual_run: RunDir, copy_of: Copy
    ) -> None:
        run = copy_of(dual_run)
        evaluate(run, what=Evaluation(checkpoint="last", eps=()))
        _, (_, sidecar) = next(predictions(run))
        tensors = checkpoints.load(run.checkpoints, "last").tensors
        average = {n.removeprefix("ema/"): t for n, t in tensors.items() if n.startswith("ema/")}
        assert sidecar["weights"] == digest(average)
        best = checkpoints.load(run.checkpoints, "best").tensors  # of the same, only epoch
        assert sidecar["weights"] == digest(best)

    def test_they_depend_neither_on_batches_nor_on_other_images(
        self, dual_run: RunDir, copy_of: Copy, tiny_store: Store, evaluated_run: RunDir
    ) -> None:
        alone = copy_of(dual_run)
        evaluate(alone, shuffled(tiny_store), Evaluation(batch_size=1))
        together = dict(predictions(evaluated_run))
        for stem, (frame, _) in predictions(alone):
            expected = together[stem].frame.set_index("image_id").loc[frame["image_id"]]
            np.testing.assert_allclose(logits(frame), logits(expected), rtol=0, atol=1e-5)
        assert len(frame) < len(together[stem].frame) or "val" in stem

    def test_a_second_call_keeps_them_and_gives_the_same_numbers(
        self, evaluated_run: RunDir, copy_of: Copy, contents: Callable[[Path], dict[str, bytes]]
    ) -> None:
        run = copy_of(evaluated_run)
        before, times = contents(run.path), modified(run)
        evaluate(run)
        assert contents(run.path) == before
        assert modified(run) == times

    @pytest.mark.parametrize(
        "what", [Evaluation(budget=Budget(steps=3)), Evaluation(budget=Budget(restarts=2))]
    )
    def test_other_settings_replace_attacked_ones_only(
        self, evaluated_run: RunDir, copy_of: Copy, what: Evaluation
    ) -> None:
        run = copy_of(evaluated_run)
        before = modified(run)
        evaluate(run, what=what)
        after = modified(run)
        assert {name for name in after if after[name] != before[name]} == {
            name for name in before if "-pgd-" in name
        }

    def test_damaged_ones_are_made_again(self, evaluated_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(evaluated_run)
        path = run.predictions / "phantom-test-best-adv-clean.json"
        content = path.read_text()
        path.write_text(content[:50])
        evaluate(run)
        assert path.read_text() == content

    def test_those_with_missing_rows_are_made_again(
        self, evaluated_run: RunDir, copy_of: Copy
    ) -> None:
        run = copy_of(evaluated_run)
        path = run.predictions / "phantom-test-best-adv-clean.csv"
        content = path.read_text()
        for damaged in (content[: len(content) // 2], "\n".join(content.split("\n")[:5]) + "\n"):
            path.write_text(damaged)
            evaluate(run)
            assert path.read_text() == content

    @pytest.mark.parametrize("damage", ["store,spl", "hello"])
    def test_a_damaged_table_of_metrics_is_made_anew(
        self, evaluated_run: RunDir, copy_of: Copy, damage: str
    ) -> None:
        run = copy_of(evaluated_run)
        content = run.metrics.read_bytes()
        run.metrics.write_text(damage)
        told = evaluate(run)
        assert run.metrics.read_bytes() == content
        assert any(text.startswith(f"{run.metrics} could not be read and was") for text in told)

    def test_of_nan_weights_there_are_none(self, dual_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(dual_run)
        saved = checkpoints.load(run.checkpoints, "best")
        saved.tensors["adv/bn1.running_var"][0] = torch.inf
        checkpoints.save(run.checkpoints, "best", saved)
        with pytest.raises(MedrobustError, match=r"found NaN or infinity in adv/bn1.running_var;"):
            evaluate(run)
        assert not run.predictions.exists()


class TestAttackedImages:
    """What `adversarial/` holds."""

    def test_lie_in_ball_and_box_and_give_the_predictions(
        self, evaluated_run: RunDir, tiny_store: Store
    ) -> None:
        model, _ = load_model(evaluated_run, tiny_store)
        attacked = [(s, p) for s, p in predictions(evaluated_run) if p.sidecar["attack"]["goal"]]
        assert len(attacked) == 2
        for stem, (frame, sidecar) in attacked:
            path = evaluated_run.adversarial / f"{stem}.npz"
            with np.load(path) as saved:
                assert set(saved) == {"image_id", "image", "by_finding"}
                ids, slots = saved["image_id"], torch.from_numpy(saved["by_finding"])
            kept = frame.set_index("image_id").loc[ids].reset_index()
            moved = (slots - shown(tiny_store, kept)[:, None]).abs()
            assert slots.dtype == torch.float32
            assert slots.min() >= 0
            assert slots.max() <= 1
            assert moved.max() <= EPS + 1e-7
            # a finding that the attack served no worse is that of the unchanged image
            far = moved.flatten(2).amax(2)
            assert ((far > 0.9 * EPS) | (far == 0)).all()
            assert (far > 0.9 * EPS).any(1).all()
            again = scores_of_saved(model.branch(sidecar["branch"]), path)
            np.testing.assert_allclose(again, logits(kept), rtol=0, atol=1e-5)

    def test_the_one_to_look_at_is_of_the_finding_fooled_most(
        self, evaluated_run: RunDir, tiny_store: Store
    ) -> None:
        stem = "phantom-test-best-adv-pgd-linf-0.00784314-on-adv"
        frame, _ = read_predictions(evaluated_run.predictions / f"{stem}.csv")
        with np.load(evaluated_run.adversarial / f"{stem}.npz") as saved:
            ids, image, slots = (saved[name] for name in ("image_id", "image", "by_finding"))
        rows = pd.Index(tiny_store.table["image_id"]).get_indexer(pd.Index(ids))
        margins = (2 * tiny_store.labels[rows] - 1) * logits(frame.set_index("image_id").loc[ids])
        np.testing.assert_array_equal(image, slots[np.arange(len(ids)), margins.argmin(1)])

    def test_no_finding_is_served_better_than_by_the_unchanged_image(
        self, evaluated_run: RunDir, tiny_store: Store
    ) -> None:
        found = dict(predictions(evaluated_run))
        signs = 2 * tiny_store.labels[tiny_store.rows("test")] - 1
        for branch in ("clean", "adv"):
            start = f"phantom-test-best-{branch}"
            attacked = signs * logits(found[f"{start}-pgd-linf-0.00784314-on-{branch}"].frame)
            clean = signs * logits(found[f"{start}-clean"].frame)
            assert (attacked <= clean + 1e-6).all()
            assert (attacked < clean - 1e-4).mean() > 0.5

    def test_are_those_of_the_gallery(self, evaluated_run: RunDir, tiny_store: Store) -> None:
        expected = set(tiny_store.table["image_id"].iloc[gallery_rows(tiny_store, "test")])
        for path in evaluated_run.adversarial.iterdir():
            with np.load(path) as saved:
                assert set(saved["image_id"]) == expected
                assert len(saved["image_id"]) == len(expected)

    def test_attack_raises_the_loss_more_than_noise(
        self, evaluated_run: RunDir, tiny_store: Store
    ) -> None:
        labels = torch.from_numpy(tiny_store.labels[tiny_store.rows("test")])
        mean = {
            stem: torch.nn.functional.binary_cross_entropy_with_logits(
                torch.from_numpy(logits(frame)), labels.double()
            )
            for stem, (frame, _) in predictions(evaluated_run)
            if "-test-" in stem
        }
        for branch in ("clean", "adv"):
            start = f"phantom-test-best-{branch}"
            pgd = mean[f"{start}-pgd-linf-0.00784314-on-{branch}"]
            noise = mean[f"{start}-noise-control-linf-0.00784314"]
            assert pgd > max(noise, mean[f"{start}-clean"])
            assert pgd - noise > 2 * abs(noise - mean[f"{start}-clean"])


class TestMetrics:
    """What `metrics.csv` holds."""

    def test_columns_are_those_of_the_contract(self, evaluated_run: RunDir) -> None:
        rows = read_metrics(evaluated_run.metrics)
        assert list(rows) == COLUMNS
        stems = {stem for stem, _ in predictions(evaluated_run)}
        assert set(rows["predictions"]) == stems
        assert set(rows["group"]) >= {"all", "sex=F", "sex=M"}
        assert all(group == "all" or "=" in group for group in rows["group"])
        assert set(rows["attack"]) == {"", "noise-control", "pgd"}
        clean = rows[rows["attack"] == ""]
        assert (clean[["goal", "norm", "attacked_branch"]] == "").all(axis=None)
        assert (clean["eps"] == 0).all()

    def test_auroc_is_that_of_the_predictions(
        self, evaluated_run: RunDir, tiny_store: Store
    ) -> None:
        rows = read_metrics(evaluated_run.metrics)
        chosen = rows[(rows["metric"] == "auroc") & (rows["interval"] == "bootstrap")]
        chosen = chosen[chosen["group"] == "all"]
        labels = tiny_store.labels[tiny_store.rows("test")]
        for stem, (frame, _) in predictions(evaluated_run):
            if "-val-" in stem:
                continue
            found = chosen[chosen["predictions"] == stem].set_index("finding")["value"]
            each = [statistics.auroc(t, s) for t, s in zip(labels.T, logits(frame).T, strict=True)]
            assert found[tiny_store.findings].tolist() == pytest.approx(each)
            assert found["macro"] == pytest.approx(np.mean(each))

    def test_thresholds_come_from_validation(
        self, evaluated_run: RunDir, tiny_store: Store
    ) -> None:
        rows = read_metrics(evaluated_run.metrics)
        thresholds = rows[rows["metric"] == "threshold"]
        assert set(thresholds["split"]) == {"val"}
        assert (thresholds["n"] == len(tiny_store.rows("val"))).all()
        labels = tiny_store.labels[tiny_store.rows("val")]
        for branch in ("clean", "adv"):
            path = evaluated_run.predictions / f"phantom-val-best-{branch}-clean.csv"
            frame, _ = read_predictions(path)
            found = thresholds[thresholds["branch"] == branch].set_index("finding")["value"]
            for column, finding in enumerate(tiny_store.findings):
                expected = statistics.youden_threshold(labels[:, column], frame[finding])
                assert found[finding] == pytest.approx(expected)

    def test_test_labels_do_not_move_thresholds(
        self, dual_run: RunDir, evaluated_run: RunDir, copy_of: Copy, tiny_store: Store
    ) -> None:
        run = copy_of(dual_run)
        evaluate(run, relabelled(tiny_store, lambda labels: 1 - labels), Evaluation(eps=()))
        pd.testing.assert_frame_equal(thresholds_of(run), thresholds_of(evaluated_run))

    def test_a_finding_without_positives_is_not_scored_but_said(
        self, dual_run: RunDir, copy_of: Copy, tiny_store: Store
    ) -> None:
        run = copy_of(dual_run)
        store = relabelled(tiny_store, lambda labels: 0 * labels, ["label:nodule"])
        warnings = evaluate(run, store, Evaluation(eps=()))
        rows = read_metrics(run.metrics)
        scored = rows[(rows["split"] == "test") & (rows["metric"] == "auroc")]
        scored = scored[scored["group"] == "all"]
        nodule = scored[scored["finding"] == "nodule"]
        assert len(nodule) == 4  # two branches, clean and with noise
        assert nodule[["value", "low", "high"]].isna().all(axis=None)
        assert (nodule["n_positive"] == 0).all()
        assert (nodule["n"] == 16).all()
        others = scored[scored["interval"] == "bootstrap"].groupby("predictions")
        for _, group in others:
            values = group.set_index("finding")["value"]
            assert values["macro"] == pytest.approx(values.drop("macro").mean())
            assert set(values.index) == {*store.findings, "macro"} - {"nodule"}
        (told,) = [text for text in warnings if "nodule has no positive" in text]
        assert told.startswith("phantom-test-best-clean-clean (test) and ")
        assert told.endswith(
            "more: nodule has no positive images among 16 and cannot be scored; macro covers: "
            "consolidation, effusion, pneumothorax, cardiomegaly"
        )

    def test_no_finding_can_be_scored(
        self, dual_run: RunDir, copy_of: Copy, tiny_store: Store
    ) -> None:
        run = copy_of(dual_run)
        store = relabelled(tiny_store, lambda labels: 0 * labels)
        warnings = evaluate(run, store, Evaluation(eps=()))
        rows = read_metrics(run.metrics)
        assert rows.loc[rows["split"] == "test", "value"].isna().all()
        assert any("macro covers: nothing" in text for text in warnings)

    def test_matrix_has_every_branch_under_the_attack_on_every_branch(
        self, evaluated_run: RunDir, copy_of: Copy
    ) -> None:
        run = copy_of(evaluated_run)
        before = modified(run)
        evaluate(run, what=Evaluation(matrix=True))
        after = modified(run)
        assert all(after[name] == time for name, time in before.items() if "pgd" not in name)
        rows = read_metrics(run.metrics)
        pgd = rows[rows["attack"] == "pgd"]
        networks = ("clean", "adv", "mean", "router")
        pairs = {(one, other) for one in networks for other in networks}
        assert set(zip(pgd["attacked_branch"], pgd["branch"], strict=True)) == pairs
        found = dict(predictions(run))
        end = "pgd-linf-0.00784314-on"
        own, transferred = (
            found[f"phantom-test-best-{branch}-{end}-adv"].frame for branch in ("adv", "clean")
        )
        assert np.abs(logits(own) - logits(transferred)).max() > 1e-3

    def test_the_same_attacked_images_are_shown_to_every_branch(
        self, matrix_run: RunDir, tiny_store: Store
    ) -> None:
        run = matrix_run
        networks = deployments(load_model(run, tiny_store)[0], "multilabel")
        cases = job_of(run, tiny_store).cases("test")
        _, images, labels, keys = next(cases.batches("pgd"))
        attacked = pgd(
            *(networks["adv"], images, labels, keys),
            ball=Ball("linf", EPS),
            loss=sigmoid_loss,
            steps=2,
        )
        for name, network in networks.items():
            path = run.predictions / f"phantom-test-best-{name}-pgd-linf-0.00784314-on-adv.csv"
            with torch.no_grad():
                clean, moved = network(images), network(attacked)
            worst = torch.where(labels == 1, clean.minimum(moved), clean.maximum(moved))
            found = logits(read_predictions(path).frame)
            np.testing.assert_allclose(found, worst, rtol=0, atol=1e-5)

    def test_only_the_images_of_the_attacked_network_are_kept(self, matrix_run: RunDir) -> None:
        assert {path.stem for path in matrix_run.adversarial.iterdir()} == {
            f"phantom-test-best-{name}-pgd-linf-0.00784314-on-{name}"
            for name in ("clean", "adv", "mean", "router")
        }

    def test_metrics_of_validation_outlive_a_later_evaluation(
        self, evaluated_run: RunDir, copy_of: Copy
    ) -> None:
        run = copy_of(evaluated_run)
        evaluate(run, what=Evaluation(split="val", eps=()))
        validated = read_metrics(run.metrics)
        assert {"auroc", "threshold"} <= set(validated.loc[validated["split"] == "val", "metric"])
        evaluate(run)
        order = ["predictions", "finding", "metric", "interval", "group"]
        pd.testing.assert_frame_equal(
            read_metrics(run.metrics).sort_values(order, ignore_index=True),
            validated.sort_values(order, ignore_index=True),
        )

    def test_radii_are_each_taken_once(self, evaluated_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(evaluated_run)
        evaluate(run, what=Evaluation(eps=(0.0, EPS, EPS)))
        assert run.metrics.read_bytes() == evaluated_run.metrics.read_bytes()

    def test_single_branch(self, standard_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(standard_run)
        evaluate(run, what=Evaluation(matrix=True, eps=(0.01, 0.002)))
        rows = read_metrics(run.metrics)
        assert set(rows["branch"]) == {"single"}
        pgd = rows[rows["attack"] == "pgd"]
        assert list(dict.fromkeys(pgd["eps"])) == [0.002, 0.01]
        assert set(pgd["attacked_branch"]) == {"single"}


class TestOtherStores:
    """Images that the training did not know."""

    def test_thresholds_are_those_of_the_training_store(
        self, evaluated_run: RunDir, copy_of: Copy, other_store: Store
    ) -> None:
        run = copy_of(evaluated_run)
        warnings = evaluate(run, other_store, Evaluation(eps=()))
        name = f"phantom-{other_store.checksum[:8]}"
        rows = read_metrics(run.metrics)
        assert set(rows["store"]) == {"phantom", name}
        pd.testing.assert_frame_equal(thresholds_of(run), thresholds_of(evaluated_run))
        assert set(rows.loc[rows["store"] == name, "split"]) == {"test"}
        assert not any("thresholds come from" in text for text in warnings)
        sidecar = read_predictions(run.predictions / f"{name}-test-best-adv-clean.csv").sidecar
        assert sidecar["store"] == name
        assert sidecar["store_checksum"] == other_store.checksum

    def test_own_numbers_stay(
        self, evaluated_run: RunDir, copy_of: Copy, other_store: Store
    ) -> None:
        run = copy_of(evaluated_run)
        evaluate(run, other_store, Evaluation(split="val", eps=()))
        rows = read_metrics(run.metrics)
        order = ["predictions", "finding", "metric", "interval", "group"]
        pd.testing.assert_frame_equal(
            rows[rows["store"] == "phantom"].sort_values(order, ignore_index=True),
            read_metrics(evaluated_run.metrics).sort_values(order, ignore_index=True),
        )

    def test_findings_of_other_names_are_matched_and_the_rest_is_named(
        self, evaluated_run: RunDir, copy_of: Copy, other_store: Store, tmp_path: Path
    ) -> None:
        names = {
            "Pleural Effusion": "effusion",
            "Pneumothoraces": "pneumothorax",
            "female": "sex:F",
            "CONSOLIDATION": "consolidation",
        }
        source = Phantom(images=40, size=32, seed=1)
        aliased = prepare(source, tmp_path / "store", size=None, selection=Selection(labels=names))
        plain, run = copy_of(evaluated_run), tmp_path / "aliased"
        run = RunDir(Path(shutil.copytree(plain.path, run / "dual" / "0")))
        evaluate(plain, other_store)
        warnings = evaluate(run, aliased)
        assert warnings[:2] == [
            f"{aliased.path}: left out, since the store has no labels of them: nodule, "
            "cardiomegaly",
            f"{aliased.path}: left out, since the model does not know them: female",
        ]
        assert not any("nodule has no" in text for text in warnings)
        found, expected = (
            table[(table["store"] == store_name(run, store)) & (table["split"] == "test")]
            for table, store in (
                (read_metrics(run.metrics), aliased),
                (read_metrics(plain.metrics), other_store),
            )
        )
        shared = ["consolidation", "effusion", "pneumothorax"]
        assert sorted(found["finding"].unique()) == sorted([*shared, "macro"])
        keys = ["branch", "attack", "finding", "metric", "interval", "value", "low", "high"]
        clean = [
            t[(t["attack"] == "") & t["finding"].isin(shared)][keys] for t in (found, expected)
        ]
        pd.testing.assert_frame_equal(*(table.reset_index(drop=True) for table in clean))

    def test_maps_are_of_the_shared_findings_only(
        self, dual_run: RunDir, copy_of: Copy, tmp_path: Path
    ) -> None:
        names = {"Pleural Effusion": "effusion", "female": "sex:F"}
        source = Phantom(images=40, size=32, seed=1)
        aliased = prepare(source, tmp_path / "store", size=None, selection=Selection(labels=names))
        run = copy_of(dual_run)
        notes = explain(open_subject(run, aliased))
        assert [note.partition(": ")[2].partition(",")[0] for note in notes] == ["left out"] * 2
        scores = pd.read_csv(run.explain / "scores.csv")
        assert scores["finding"].unique().tolist() == ["effusion"]
        assert scores["value"].notna().any()
        with pytest.raises(MedrobustError, match="finding: expected some of effusion, found 'nod"):
            explain(open_subject(run, aliased), Wanted(findings=["nodule"]))

    def test_without_the_training_store_thresholds_are_the_other_ones_and_that_is_said(
        self, dual_run: RunDir, copy_of: Copy, other_store: Store
    ) -> None:
        run = copy_of(dual_run)
        config = run.path / "config.yaml"
        config.write_text(config.read_text().replace(str(run.config().data.store), "gone"))
        first, *_ = evaluate(run, other_store, Evaluation(eps=()))
        assert first == (
            f"thresholds come from split val of {other_store.path}, because expected a store at "
            "gone, found no such folder: give the folder `medrobust prepare` wrote"
        )
        assert set(thresholds_of(run)["store"]) == {f"phantom-{other_store.checksum[:8]}"}

    def test_another_store_is_named_with_its_checksum(
        self, dual_run: RunDir, tiny_store: Store
    ) -> None:
        info = tiny_store.info.model_copy(update={"name": "ward", "checksum": "0" * 64})
        assert store_name(dual_run, replace(tiny_store, info=info)) == "ward-00000000"
        assert store_name(dual_run, tiny_store) == "phantom"


class TestTestImages:
    """They are for the test alone."""

    def test_training_never_reads_them(
        self, configure: Callable[..., Any], tiny_store: Store, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        read: set[int] = set()
        original = Store.pixels

        def pixels(store: Store, rows: Any) -> Any:
            read.update(np.asarray(rows).tolist())
            return original(store, rows)

        monkeypatch.setattr(Store, "pixels", pixels)
        config = configure("dual", "data.on_device=false")
        train(config, tiny_store, run_directory(config, tmp_path))
        assert read == {*tiny_store.rows("train").tolist(), *tiny_store.rows("val").tolist()}

    def test_training_does_not_depend_on_them(
        self, configure: Callable[..., Any], dual_run: RunDir, tiny_store: Store, tmp_path: Path
    ) -> None:
        test = tiny_store.rows("test")
        images = np.array(tiny_store.images)
        images[test] = 255 - images[test]
        store = relabelled(replace(tiny_store, images=images), lambda labels: 1 - labels)
        config = configure("dual")
        run = run_directory(config, tmp_path)
        train(config, store, run)
        for name in ("best", "last"):
            one, other = (checkpoints.load(r.checkpoints, name).state for r in (run, dual_run))
            assert one == other


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_device(name: str) -> None:
    expected = "cuda" if name == "auto" and torch.cuda.is_available() else "cpu"
    assert choose_device(name).type == expected


def test_no_checkpoint(dual_run: RunDir, copy_of: Copy) -> None:
    run = copy_of(dual_run)
    shutil.rmtree(run.checkpoints)
    with pytest.raises(MedrobustError, match=r"/best\.safetensors; `medrobust train` writes it$"):
        evaluate(run)


def test_exclusive_classes(
    configure: Callable[..., Any], tiny_store: Store, tmp_path: Path
) -> None:
    store = exclusive(tiny_store)
    config = configure("standard")
    run = run_directory(config, tmp_path)
    train(config, store, run)
    evaluate(run, store)
    frame, sidecar = read_predictions(run.predictions / "phantom-test-best-single-clean.csv")
    network = load_model(run, store)[0].branch("single")
    with torch.no_grad():
        direct = network(load_images(store, store.rows("test"), "cpu")).double()
    assert sidecar["task"] == "exclusive"
    np.testing.assert_allclose(frame[store.findings].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(frame[store.findings], direct.softmax(1), atol=1e-6)
    p = direct.softmax(1)
    np.testing.assert_allclose(logits(frame), (p / (1 - p)).log(), rtol=1e-4, atol=1e-5)
    rows = read_metrics(run.metrics)
    macro = rows[(rows["predictions"] == "phantom-test-best-single-clean")
                 & (rows["finding"] == "macro") & (rows["metric"] == "accuracy")]  # fmt: skip
    right = store.labels[store.rows("test")].argmax(1) == direct.argmax(1).numpy()
    assert macro["value"].item() == pytest.approx(right.mean())


def cuts_of(run: RunDir, store: Store, branch: str) -> dict[str, float]:
    """Youden's thresholds of the validation images, as logits."""
    frame, _ = read_predictions(run.predictions / f"phantom-val-best-{branch}-clean.csv")
    chosen = choose_thresholds(frame, store.table)
    return {finding: float(logit(chosen[finding])) for finding in store.findings}


def job_of(run: RunDir, store: Store) -> Job:
    return Job.of(run, store, run.config(), Evaluation())


def modified(run: RunDir) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in run.predictions.iterdir()}


def thresholds_of(run: RunDir) -> pd.DataFrame:
    rows = read_metrics(run.metrics)
    return rows[rows["metric"] == "threshold"].reset_index(drop=True)


def relabelled(
    store: Store, change: Callable[[pd.DataFrame], pd.DataFrame], columns: list[str] | None = None
) -> Store:
    """The store with other labels in its test split."""
    table = store.table.copy()
    test = table["split"] == "test"
    names = columns or [f"label:{finding}" for finding in store.findings]
    table.loc[test, names] = change(table.loc[test, names])
    return replace(store, table=table)


def shuffled(store: Store) -> Store:
    """The images in another order, and half of the test images moved away."""
    order = np.random.default_rng(0).permutation(len(store.table))
    table = store.table.iloc[order].reset_index(drop=True)
    away = table.index[table["split"] == "test"][::2]
    table.loc[away, "split"] = "train"
    return replace(store, table=table, images=np.array(store.images)[order])


def exclusive(store: Store) -> Store:
    """Three classes that exclude each other, cut from the images' numbers."""
    kept = [name for name in store.table if not name.startswith("label:")]
    numbers = np.arange(len(store.table)) % 3
    labels = {f"label:{name}": (numbers == k) * 1.0 for k, name in enumerate("abc")}
    info = store.info.model_copy(update={"task": "exclusive"})
    return replace(store, table=store.table[kept].assign(**labels), info=info)
