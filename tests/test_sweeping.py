"""Sweeps of a suite over radii, from the settings to the files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from medrobust import attacked, checkpoints
from medrobust.attacks.suite import Budget
from medrobust.config import dump_config
from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.evaluate import Evaluation, evaluate, evaluate_checkpoints
from medrobust.files import write_text
from medrobust.metrics import read_metrics
from medrobust.models import load_model
from medrobust.predictions import LOGIT, read_predictions
from medrobust.rundir import RunDir, run_directory
from medrobust.train import train

Copy = Callable[[RunDir], RunDir]
Contents = Callable[[Path], dict[str, bytes]]
EPS = 2 / 255
CHEAP = Budget(steps=2, queries=6)
START = "phantom-test-best-single"


def quick(**what: Any) -> Evaluation:
    """An evaluation that takes a moment."""
    return Evaluation(**({"budget": CHEAP, "redraws": 20, "groups": ()} | what))


@pytest.fixture(scope="module")
def curve_run(
    standard_run: RunDir, configure: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> RunDir:
    """A standard run under the suite `fast` at its usual radii; nothing may change it."""
    run = clone(standard_run, tmp_path_factory.mktemp("curve"))
    config = configure("standard", "evaluate.eps=null", "evaluate.suite=fast")
    write_text(run.path / "config.yaml", dump_config(config))
    evaluate(run, what=quick())
    return run


def signed(run: RunDir, store: Store, stem: str) -> np.ndarray:
    """Logits (16, 5), with a minus for negatives: the larger, the righter."""
    frame, _ = read_predictions(run.predictions / f"{stem}.csv")
    labels = store.labels[store.rows("test")]
    return (2 * labels - 1) * frame[[LOGIT + finding for finding in store.findings]].to_numpy()


class TestCurve:
    """`fast` with nothing else asked for."""

    def test_twenty_radii_up_to_twice_that_of_training(self, curve_run: RunDir) -> None:
        rows = read_metrics(curve_run.metrics)
        fast = rows[rows["attack"] == "fast"]
        expected = [EPS * step / 10 for step in range(1, 21)]
        assert list(dict.fromkeys(fast["eps"])) == pytest.approx(expected)
        assert (fast["goal"] == "total").all()
        assert (fast["norm"] == "linf").all()
        assert fast.groupby("eps")["predictions"].nunique().eq(1).all()

    def test_it_never_rises(self, curve_run: RunDir, tiny_store: Store) -> None:
        rows = read_metrics(curve_run.metrics)
        fast = rows[(rows["attack"] == "fast") & (rows["metric"] == "auroc")]
        stems = [f"{START}-clean", *dict.fromkeys(fast["predictions"])]
        scores = np.stack([signed(curve_run, tiny_store, stem) for stem in stems])
        assert (np.diff(scores, axis=0)[1:] <= 0).all()
        assert (scores[1] <= scores[0] + 1e-6).all()
        clean = rows[(rows["attack"] == "") & (rows["metric"] == "auroc")]
        for finding in tiny_store.findings:
            curve = [
                part.loc[(part["finding"] == finding) & (part["interval"] == "bootstrap"), "value"]
                for part in (clean, fast)
            ]
            assert (np.diff(np.concatenate(curve)) <= 1e-12).all()

    def test_sidecars_say_what_was_carried(self, curve_run: RunDir) -> None:
        sidecar = read_predictions(
            curve_run.predictions / f"{START}-fast-linf-0.00784314-on-single.csv"
        ).sidecar
        attack = sidecar["attack"]
        assert attack["members"] == ["margin-apgd"]
        assert attack["carried"] == pytest.approx([EPS * step / 10 for step in range(1, 10)])
        assert (attack["steps"], attack["restarts"], attack["loss"]) == (2, None, None)

    def test_flips_are_those_of_the_predictions(self, curve_run: RunDir, tiny_store: Store) -> None:
        (path,) = curve_run.flips.iterdir()
        assert path.name == f"{START}-fast-linf-0.0156863-on-single.csv"
        flips = pd.read_csv(path, dtype={"image_id": str, "patient_id": str})
        rows = tiny_store.rows("test")
        ids = tiny_store.table[["image_id", "patient_id"]].iloc[rows].reset_index(drop=True)
        pd.testing.assert_frame_equal(flips[["image_id", "patient_id"]], ids, check_dtype=False)
        labels, shown = tiny_store.labels[rows], {}
        metrics = read_metrics(curve_run.metrics)
        thresholds = metrics[metrics["metric"] == "threshold"].set_index("finding")["value"]
        for radius, stem in [(0.0, f"{START}-clean")] + [
            (eps, f"{START}-fast-linf-{eps:.6g}-on-single")
            for eps in (EPS * step / 10 for step in range(1, 21))
        ]:
            frame, _ = read_predictions(curve_run.predictions / f"{stem}.csv")
            decided = frame[tiny_store.findings] >= thresholds[tiny_store.findings]
            shown[radius] = decided.to_numpy() != (labels == 1)
        for image in range(len(rows)):
            for column, finding in enumerate(tiny_store.findings):
                flipped = [radius for radius, wrong in shown.items() if wrong[image, column]]
                found = flips.loc[image, finding]
                assert found == pytest.approx(min(flipped)) if flipped else np.isnan(found)
        values = flips[tiny_store.findings].to_numpy()
        assert (values == 0).any()
        assert (values > 0).any()
        assert np.isnan(values).any()

    def test_only_clean_and_the_training_radius_have_operating_points(
        self, curve_run: RunDir
    ) -> None:
        rows = read_metrics(curve_run.metrics)
        points = rows[rows["metric"].str.startswith("sensitivity@")]
        assert set(points["eps"].round(6)) == {0.0, round(EPS, 6)}
        assert set(points["attack"]) == {"", "fast"}

    def test_there_is_nothing_left_of_the_batches(self, curve_run: RunDir) -> None:
        assert not (curve_run.predictions / ".batches").exists()


class TestInterruption:
    """A long evaluation that is stopped goes on where it was, to the same files."""

    @pytest.mark.parametrize("damage", [False, True])
    def test_in_the_middle_of_a_sweep(
        self, standard_run: RunDir, copy_of: Copy, contents: Contents, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, damage: bool,
    ) -> None:  # fmt: skip
        what = quick(suite="fast", eps=(EPS, 2 * EPS), batch_size=4)
        whole, run = copy_of(standard_run), clone(standard_run, tmp_path / "interrupted")
        evaluate(whole, what=what)
        made, original = [], attacked._attack_batch

        def attack_batch(*given: Any) -> Any:
            made.append(1)
            return original(*given)

        monkeypatch.setattr(attacked, "_attack_batch", attack_batch)
        with pytest.raises(KeyboardInterrupt):
            evaluate(run, what=what, track=stop_after(2, "fast on single"))
        assert len(made) == 2
        assert not run.metrics.exists()
        batches = sorted((run.predictions / ".batches").rglob("*.npz"))
        assert len(batches) == 2
        if damage:
            batches[1].write_bytes(batches[1].read_bytes()[:1000])
        evaluate(run, what=what)
        assert len(made) == 4 + damage
        for part in ("predictions", "flips"):
            assert contents(run.path / part) == contents(whole.path / part)
        assert run.metrics.read_bytes() == whole.metrics.read_bytes()
        for one, other in zip(*(sorted(r.receipts.iterdir()) for r in (run, whole)), strict=True):
            kept = [json.loads(path.read_text()) for path in (one, other)]
            assert [receipt.pop("seconds") >= 0 for receipt in kept] == [True, True]
            assert kept[0] == kept[1]


class TestOtherAttacks:
    """What can be asked for beside the usual."""

    @pytest.mark.parametrize(
        ("norm", "order", "radius"), [("l2", 2, 0.5), ("l1", 1, 2.0), ("linf", np.inf, 0.01)]
    )
    def test_norms(
        self, standard_run: RunDir, copy_of: Copy, tiny_store: Store, norm: Any, order: float,
        radius: float,
    ) -> None:  # fmt: skip
        run = copy_of(standard_run)
        evaluate(run, what=quick(suite="fast", norm=norm, eps=(radius,)))
        stem = f"{START}-fast-{norm}-{radius:g}-on-single"
        assert {path.stem for path in run.adversarial.iterdir()} == {stem}
        with np.load(run.adversarial / f"{stem}.npz") as saved:
            ids, slots = saved["image_id"], saved["by_finding"].astype(float)
        rows = pd.Index(tiny_store.table["image_id"]).get_indexer(pd.Index(ids))
        clean = load_images(tiny_store, rows, "cpu").numpy()
        moved = (slots - clean[:, None]).reshape(*slots.shape[:2], -1)
        length = np.linalg.norm(moved, order, axis=2)
        assert length.max() <= radius * (1 + 1e-5)
        assert (length.max(1) > 0.5 * radius).all()
        rows_of = read_metrics(run.metrics).query("attack == 'fast'")
        assert set(rows_of["norm"]) == {norm}

    def test_a_vanishing_finding_is_the_only_one_scored(
        self, standard_run: RunDir, copy_of: Copy, tiny_store: Store
    ) -> None:
        run = copy_of(standard_run)
        evaluate(run, what=quick(suite="fast", goal="vanish:effusion", eps=(2 * EPS,)))
        stem = f"{START}-fast-linf-0.0156863-vanish-effusion-on-single"
        rows = read_metrics(run.metrics)
        fast = rows[rows["attack"] == "fast"]
        assert set(fast["predictions"]) == {stem}
        assert set(fast["goal"]) == {"vanish:effusion"}
        assert set(fast["finding"]) == {"effusion", "macro"}
        frame, sidecar = read_predictions(run.predictions / f"{stem}.csv")
        assert sidecar["attack"]["finding"] == "effusion"
        clean, _ = read_predictions(run.predictions / f"{START}-clean.csv")
        positive = tiny_store.labels[tiny_store.rows("test"), 2] == 1
        moved = (frame[f"{LOGIT}effusion"] - clean[f"{LOGIT}effusion"]).to_numpy()
        assert (moved[positive] < -1e-4).all()
        assert np.abs(moved[~positive]).max() < 1e-5
        auroc = rows[(rows["finding"] == "effusion") & (rows["metric"] == "auroc")]
        auroc = auroc[auroc["interval"] == "bootstrap"].set_index("attack")["value"]
        assert auroc["fast"] < auroc[""]
        specificity = rows[(rows["finding"] == "effusion") & (rows["metric"] == "specificity")]
        by_attack = specificity.set_index("attack")["value"]
        assert by_attack["fast"] == by_attack[""]

    def test_square_is_shown_a_subset(
        self, standard_run: RunDir, copy_of: Copy, tmp_path: Path
    ) -> None:
        whole, part = copy_of(standard_run), clone(standard_run, tmp_path / "part")
        passes = []
        for run, number in ((whole, None), (part, 1)):
            what = quick(suite="strong", goal="finding", eps=(EPS / 100,))
            evaluate(run, what=replace(what, square_images=number))
            stem = f"{START}-strong-linf-{EPS / 100:.6g}-finding-on-single"
            receipt = json.loads((run.receipts / f"{stem}.json").read_text())
            assert receipt["attack"]["square_images"] == number
            assert receipt["images"] == 16
            passes.append(receipt["passes"])
        assert passes[0] > passes[1]

    def test_corruptions(self, standard_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(standard_run)
        evaluate(run, what=quick(eps=(), corruptions=("blur",)))
        rows = read_metrics(run.metrics)
        blurred = rows[rows["attack"] == "corruption:blur"]
        assert sorted(set(blurred["eps"])) == [1, 2, 3, 4, 5]
        assert (blurred[["goal", "norm", "attacked_branch"]] == "").all(axis=None)
        assert set(blurred["predictions"]) == {f"{START}-corruption-blur-{n}" for n in range(1, 6)}

    def test_groups(self, standard_run: RunDir, copy_of: Copy, tiny_store: Store) -> None:
        run = copy_of(standard_run)
        evaluate(run, what=quick(eps=(EPS,), suite="fast", groups=("sex",)))
        rows = read_metrics(run.metrics)
        assert set(rows["group"]) == {"all", "sex=F", "sex=M"}
        apart = rows[rows["group"] != "all"]
        assert set(apart["attack"]) == {"", "fast"}  # not under noise
        auroc = apart[(apart["metric"] == "auroc") & (apart["finding"] == "effusion")]
        sex = tiny_store.table["sex"].iloc[tiny_store.rows("test")]
        for group, count in sex.value_counts().items():
            assert (auroc.loc[auroc["group"] == f"sex={group}", "n"] == count).all()

    def test_every_checkpoint(self, standard_run: RunDir, copy_of: Copy) -> None:
        run = copy_of(standard_run)
        evaluate_checkpoints(run, what=quick(suite="fast"))
        rows = read_metrics(run.metrics)
        names = checkpoints.names(run.checkpoints)
        assert set(names) == {"best", "last", "epoch-0001"}
        assert set(rows["checkpoint"]) == set(names)
        fast = rows[rows["attack"] == "fast"]
        assert fast.groupby("checkpoint")["eps"].agg(set).map(list).tolist() == [[EPS]] * 3
        assert set(rows["group"]) == {"all"}

    def test_the_mean_and_the_router_are_attacked_through(
        self, dual_run: RunDir, copy_of: Copy, tiny_store: Store
    ) -> None:
        run = copy_of(dual_run)
        evaluate(run, what=quick(suite="fast", eps=(EPS,), matrix=True))
        for network in ("mean", "router"):
            clean, fast = (
                signed(run, tiny_store, f"phantom-test-best-{network}-{shown}")
                for shown in ("clean", f"fast-linf-0.00784314-on-{network}")
            )
            assert (fast <= clean + 1e-6).all()
            assert (fast < clean - 1e-4).mean() > 0.5
        parts = [
            read_predictions(run.predictions / f"phantom-test-best-{name}-clean.csv").frame
            for name in ("clean", "adv", "mean", "router")
        ]
        one, other, mean, router = (
            part[[LOGIT + finding for finding in tiny_store.findings]].to_numpy() for part in parts
        )
        np.testing.assert_allclose(mean, (one + other) / 2, atol=1e-6)
        surer = np.abs(one).mean(1) >= np.abs(other).mean(1)
        np.testing.assert_allclose(router, np.where(surer[:, None], one, other), atol=1e-6)


class TestNativeUnits:
    """Radii such as Hounsfield units."""

    def test_are_those_of_the_image_times_its_range(
        self, standard_run: RunDir, copy_of: Copy, tiny_store: Store, tmp_path: Path
    ) -> None:
        native, image = copy_of(standard_run), clone(standard_run, tmp_path / "image")
        wide = replace(
            tiny_store, table=tiny_store.table.assign(native_low=-1000.0, native_high=1048.0)
        )
        evaluate(native, wide, quick(suite="fast", unit="native", eps=(16.0, 32.0)))
        evaluate(image, what=quick(suite="fast", eps=(16 / 2048, 32 / 2048)))
        for one, other in ((16, 16 / 2048), (32, 32 / 2048)):
            frame, sidecar = read_predictions(
                native.predictions / f"{START}-fast-linf-native-{one}-on-single.csv"
            )
            expected, _ = read_predictions(
                image.predictions / f"{START}-fast-linf-{other:.6g}-on-single.csv"
            )
            pd.testing.assert_frame_equal(frame, expected)
            attack = sidecar["attack"]
            assert (attack["norm"], attack["unit"], attack["eps"]) == ("linf-native", "native", one)
        rows = read_metrics(native.metrics)
        assert set(rows.loc[rows["attack"] == "fast", "norm"]) == {"linf-native"}
        assert set(rows.loc[rows["attack"] == "fast", "eps"]) == {16, 32}

    def test_of_images_whose_range_is_not_known(
        self, standard_run: RunDir, copy_of: Copy, tiny_store: Store
    ) -> None:
        run, table = copy_of(standard_run), tiny_store.table.copy()
        table.loc[tiny_store.rows("test")[:3], "native_high"] = np.nan
        with pytest.raises(MedrobustError) as refused:
            evaluate(run, replace(tiny_store, table=table), quick(unit="native", eps=(16.0,)))
        assert str(refused.value) == (
            f"{tiny_store.path}: expected native_low and native_high of every image for radii in "
            "native units, found 3 images without; give eps in image units"
        )


class TestExclusive:
    """Classes of which an image has one."""

    def test_robust_accuracy_counts_images(self, exclusive_run: tuple[RunDir, Store]) -> None:
        run, store = exclusive_run
        rows = read_metrics(run.metrics)
        accuracy = rows[(rows["metric"] == "accuracy") & (rows["finding"] == "macro")]
        values = accuracy.set_index("predictions")["value"]
        margins = []
        for stem in (
            f"{START}-clean",
            *(f"{START}-strong-linf-{e:.6g}-on-single" for e in (EPS, 0.1)),
        ):
            frame, _ = read_predictions(run.predictions / f"{stem}.csv")
            margins.append(frame["class_margin"].to_numpy())
            assert values[stem] == pytest.approx((margins[-1] > 0).mean())
        assert (margins[1] <= margins[0] + 1e-5).all()
        assert (margins[2] <= margins[1]).all()
        assert (margins[2] < margins[0] - 1e-2).all()
        frame, _ = read_predictions(run.predictions / f"{START}-clean.csv")
        odds = frame[[LOGIT + finding for finding in store.findings]].to_numpy()
        right = odds.argmax(1) == store.labels[store.rows("test")].argmax(1)
        assert ((margins[0] > 0) == right).all()

    def test_kept_images_give_the_margin(self, exclusive_run: tuple[RunDir, Store]) -> None:
        run, store = exclusive_run
        stem = f"{START}-strong-linf-{EPS:.6g}-on-single"
        frame, _ = read_predictions(run.predictions / f"{stem}.csv")
        with np.load(run.adversarial / f"{stem}.npz") as saved:
            ids, image, slots = (saved[name] for name in ("image_id", "image", "by_finding"))
        assert slots.shape[1] == len(store.findings) + 1
        np.testing.assert_array_equal(image, slots[:, -1])
        with torch.no_grad():
            logits = load_model(run, store)[0].branch("single")(torch.from_numpy(image)).numpy()
        rows = pd.Index(store.table["image_id"]).get_indexer(pd.Index(ids))
        own = store.labels[rows].argmax(1)
        others = np.where(np.arange(5) == own[:, None], -np.inf, logits).max(1)
        margin = frame.set_index("image_id").loc[ids, "class_margin"]
        np.testing.assert_allclose(logits[np.arange(len(own)), own] - others, margin, atol=1e-5)

    def test_of_one_class_alone_there_is_no_accuracy_of_all(
        self, exclusive_run: tuple[RunDir, Store], copy_of: Copy
    ) -> None:
        run, store = copy_of(exclusive_run[0]), exclusive_run[1]
        evaluate(run, store, quick(suite="fast", goal="finding", eps=(EPS,)))
        evaluate(run, store, quick(suite="fast", goal="vanish:c", eps=(EPS,)))
        rows = read_metrics(run.metrics).query("goal == 'vanish:c' and metric == 'accuracy'")
        one, macro = (rows.loc[rows["finding"] == name, "value"].item() for name in ("c", "macro"))
        assert one == macro
        known = read_metrics(run.metrics).query("goal == 'finding' and metric == 'accuracy'")
        assert set(known["finding"]) == {*store.findings, "macro"}


@pytest.fixture(scope="module")
def exclusive_run(
    configure: Callable[..., Any], tiny_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunDir, Store]:
    """A standard run of five exclusive classes under `strong`; nothing may change it."""
    kept = [name for name in tiny_store.table if not name.startswith("label:")]
    classes = np.arange(len(tiny_store.table)) % 5
    labels = {f"label:{name}": (classes == k) * 1.0 for k, name in enumerate("abcde")}
    info = tiny_store.info.model_copy(update={"task": "exclusive"})
    store = replace(tiny_store, table=tiny_store.table[kept].assign(**labels), info=info)
    config = configure("standard")
    run = run_directory(config, tmp_path_factory.mktemp("exclusive"))
    train(config, store, run)
    evaluate(run, store, quick(suite="strong", eps=(EPS, 0.1)))
    return run, store


def test_a_store_without_labels(
    standard_run: RunDir, copy_of: Copy, tiny_store: Store, contents: Contents
) -> None:
    run, labels = copy_of(standard_run), [f"label:{finding}" for finding in tiny_store.findings]
    table = tiny_store.table.copy()
    table.loc[table["split"] == "test", labels] = np.nan
    before = contents(run.path)
    with pytest.raises(MedrobustError) as refused:
        evaluate(run, replace(tiny_store, table=table), quick())
    assert str(refused.value) == (
        f"{tiny_store.path}: expected labels in split test, found none; an evaluation needs them. "
        "`medrobust predict` takes images without labels"
    )
    assert contents(run.path) == before


def clone(run: RunDir, folder: Path) -> RunDir:
    """Another copy than that of `copy_of`."""
    return RunDir(Path(shutil.copytree(run.path, folder / run.path.name)))


def stop_after(batches: int, title: str) -> Any:
    """A track that is interrupted where its title says."""

    def track(total: int, told: str) -> Callable[[int], None]:
        done = []

        def count(images: int) -> None:
            done.append(images)
            if title in told and len(done) == batches:
                raise KeyboardInterrupt

        return count

    return track
