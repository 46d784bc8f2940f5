from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medrobust import checkpoints
from medrobust.data.batches import load_images
from medrobust.data.prepare import prepare
from medrobust.data.splits import SPLITS
from medrobust.data.store import Store
from medrobust.data.window import parse_window
from medrobust.datasets.images import Images
from medrobust.errors import MedrobustError
from medrobust.evaluate import Evaluation, evaluate
from medrobust.exchange.importing import Wanted, import_weights
from medrobust.metrics import read_metrics
from medrobust.models import build_classifier, restore_model
from medrobust.networks import build_backbone
from medrobust.predict import predict
from medrobust.predictions import read_predictions
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]
Make = Callable[..., RunDir]
SHAPES = [(20, 30), (32, 32), (41, 25), (64, 48)]
"""Rows and columns of the files."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 grey PNG files, of 8 and of 16 bits, of several shapes, and a table."""
    root = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for number in range(16):
        kind, most = (np.uint16, 4096) if number % 3 == 0 else (np.uint8, 256)
        pixels = rng.integers(0, most, SHAPES[number % 4]).astype(kind)
        Image.fromarray(pixels).save(root / f"{number:02d}.png")
    rows = [f"{n:02d}.png,p{n},{n // 4 % 2},{SPLITS[n % 3]}" for n in range(16)]
    (root / "table.csv").write_text("\n".join(["image,patient,ill,split", *rows]))
    return root


def stored(folder: Path, out: Path, window: str | None = None, **settings: Any) -> Store:
    source = Images(
        folder / "table.csv",
        folder,
        image_column="image",
        labels={"ill": "ill"},
        split_column="split",
        patient_column="patient",
        window=parse_window(window) if window else None,
    )
    return prepare(source, out, options={"window": window}, **{"size": 32} | settings)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Weights of a plain ResNet-18 with one output."""

    def make(channels: int = 1, outputs: int = 1) -> Path:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_backbone("resnet18", channels=channels, outputs=outputs, width=4)
            torch.nn.init.normal_(network.get_parameter("fc.bias"))
        path = tmp_path_factory.mktemp("weights") / "w.pth"
        torch.save(network.state_dict(), path)
        return path

    return make


@pytest.fixture
def run_of(checkpoint: Callable[..., Path], tmp_path: Path) -> Make:
    """A run for a store, or without one."""

    def make(store: Store | None = None, **wanted: Any) -> RunDir:
        out = tmp_path / "runs" / "net" / "0"
        import_weights(checkpoint(), out, Wanted(store=store.path if store else None, **wanted))
        return RunDir(out)

    return make


class TestFiles:
    """Image files are read as `prepare` read them."""

    @pytest.mark.parametrize(
        ("window", "settings"),
        [
            (None, {}),
            ("0:200", {"keep_aspect": True}),
            ("percentile:1:99", {"bits": 16}),
            (None, {"size": (24, 40), "bits": 16, "keep_aspect": True}),
        ],
    )
    def test_the_same_as_through_a_store(
        self, folder: Path, tmp_path: Path, run_of: Make, window: str | None, settings: Any
    ) -> None:
        store = stored(folder, tmp_path / "store", window, **settings)
        run = run_of(store)
        files = [folder / name for name in store.table["file"]]
        found, expected = predict(run, files), predict(run, [store.path])
        assert found.frame["file"].tolist() == [str(file) for file in files]
        assert expected.frame["image_id"].tolist() == store.table["image_id"].tolist()
        pd.testing.assert_frame_equal(
            found.frame.drop(columns="file"), expected.frame.drop(columns="image_id")
        )
        assert found.frame["logit:ill"].nunique() > 12

    def test_neither_batches_nor_workers_matter(
        self, folder: Path, tmp_path: Path, run_of: Make
    ) -> None:
        run = run_of(stored(folder, tmp_path / "store"))
        files = sorted(folder.glob("*.png"))[:5]
        alone, together = predict(run, files, batch_size=1), predict(run, files, workers=1)
        np.testing.assert_allclose(
            alone.frame["logit:ill"], together.frame["logit:ill"], rtol=0, atol=1e-5
        )
        assert alone.frame["file"].tolist() == together.frame["file"].tolist()

    def test_of_a_run_without_a_store_they_are_read_as_prepare_does_by_default(
        self, folder: Path, tmp_path: Path, run_of: Make
    ) -> None:
        store = stored(folder, tmp_path / "store")
        run = run_of(findings=["ill"], size=32)
        files = [folder / name for name in store.table["file"]]
        found, expected = predict(run, files), predict(run, [store.path])
        assert found.frame["logit:ill"].tolist() == expected.frame["logit:ill"].tolist()

    def test_files_that_can_not_be_used_are_named_and_left_out(
        self, folder: Path, tmp_path: Path, run_of: Make
    ) -> None:
        run = run_of(stored(folder, tmp_path / "store"))
        colour = np.zeros((32, 32, 3), np.uint8)
        colour[..., 0] = 200
        Image.fromarray(colour).save(tmp_path / "colour.png")
        pages = [Image.fromarray(np.full((32, 32), value, np.uint8)) for value in (1, 2, 3)]
        pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
        (tmp_path / "text.png").write_text("no image")
        (tmp_path / "short.png").write_bytes((folder / "01.png").read_bytes()[:60])
        names = ["colour.png", "pages.tif", "text.png", "short.png", "gone.png"]
        good = folder / "01.png"
        found = predict(run, [*(tmp_path / name for name in names), good])
        assert found.frame["file"].tolist() == [str(good)]
        assert found.warnings[:5] == (
            f"{tmp_path}/colour.png: it is in colour, and the model was trained on grey images",
            f"{tmp_path}/pages.tif: it has several pages or frames, and the model was trained on "
            "single images: give one page or frame",
            f"{tmp_path}/text.png: not a PNG, JPEG or TIFF image",
            f"{tmp_path}/short.png: damaged image: it is truncated",
            f"{tmp_path}/gone.png: there is no such file",
        )

    def test_colour_is_welcome_where_the_training_images_had_it(
        self, folder: Path, tmp_path: Path, run_of: Make
    ) -> None:
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        colour = np.zeros((32, 32, 3), np.uint8)
        colour[..., 0] = np.arange(32)
        Image.fromarray(colour).save(tmp_path / "01.png")
        store = stored(tmp_path, tmp_path / "store")
        found = predict(run_of(store), [tmp_path / "01.png"])
        assert found.warnings[0] == "1 images: colour was turned into luminance (ITU-R BT.601)"
        row = store.table.index[store.table["file"] == "01.png"]
        expected = predict(RunDir(tmp_path / "runs/net/0"), [store.path]).frame
        assert found.frame["ill"].tolist() == expected["ill"].iloc[row].tolist()

    def test_another_window_is_told(self, folder: Path, tmp_path: Path, run_of: Make) -> None:
        for number in range(16):
            with Image.open(folder / f"{number:02d}.png") as image:
                pixels = np.asarray(image).astype(int) % 256
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number:02d}.png")
        (tmp_path / "table.csv").write_text((folder / "table.csv").read_text())
        run = run_of(stored(tmp_path, tmp_path / "store"))
        deep, flat = folder / "00.png", folder / "01.png"
        assert predict(run, [flat]).warnings == ()
        assert predict(run, [deep, flat]).warnings == (
            "1 images: its window is 0 to 65535, that of the training images 0 to 255",
        )

    def test_without_a_common_size_files_must_have_it(
        self, tmp_path: Path, folder: Path, run_of: Make
    ) -> None:
        for number in range(16):
            Image.new("L", (32, 32), number * 9).save(tmp_path / f"{number:02d}.png")
        (tmp_path / "table.csv").write_text((folder / "table.csv").read_text())
        run = run_of(stored(tmp_path, tmp_path / "store", size=None))
        assert len(predict(run, [tmp_path / "03.png"]).frame) == 1
        with pytest.raises(MedrobustError) as refused:
            predict(run, [folder / "00.png"])
        assert str(refused.value) == (
            f"{folder}/00.png: expected 32 x 32 pixels, as the training images have, found 20 x 30"
        )

    def test_none_can_be_used(self, tmp_path: Path, run_of: Make) -> None:
        run = run_of(findings=["ill"])
        with pytest.raises(MedrobustError) as refused:
            predict(run, [tmp_path / "a.png", tmp_path / "b.png"])
        assert str(refused.value) == (
            "expected usable images, found none among 2 files; the first is "
            f"{tmp_path}/a.png: there is no such file"
        )

    def test_none_is_given(self, run_of: Make) -> None:
        with pytest.raises(MedrobustError, match=r"^expected image files or a store, found none$"):
            predict(run_of(), [])

    @pytest.mark.parametrize(("name", "shown"), [("a\udcff.png", "a\\udcff"), ("a\n.png", "a\\n")])
    def test_names_that_can_not_be_written(self, run_of: Make, name: str, shown: str) -> None:
        with pytest.raises(MedrobustError) as refused:
            predict(run_of(), [Path(name)])
        assert (
            str(refused.value) == f"expected printable file names, found '{shown}.png': rename it"
        )

    def test_folders(self, folder: Path, tiny_store: Store, run_of: Make) -> None:
        run = run_of()
        with pytest.raises(MedrobustError) as refused:
            predict(run, [folder])
        assert str(refused.value) == (
            f"{folder}: expected image files or a store, found a folder without store.json; give "
            f"its files, such as {folder}/*.png"
        )
        with pytest.raises(MedrobustError) as refused:
            predict(run, [folder / "00.png", tiny_store.path])
        assert str(refused.value) == (
            f"expected image files, or one store alone, found the folder {tiny_store.path} among "
            "2 paths"
        )

    def test_where_the_training_store_is_gone_nobody_knows_how_to_read_them(
        self, folder: Path, tmp_path: Path, run_of: Make
    ) -> None:
        store = stored(folder, tmp_path / "store")
        run = run_of(store)
        store.path.rename(tmp_path / "moved")
        with pytest.raises(MedrobustError) as refused:
            predict(run, [folder / "00.png"])
        assert str(refused.value) == (
            f"files can't be read as the training images were: expected a store at {store.path}, "
            "found no such folder: give the folder `medrobust prepare` wrote"
        )
        assert len(predict(run, [tmp_path / "moved"]).frame) == 16

    def test_of_training_images_cut_out_of_volumes(
        self, folder: Path, tmp_path: Path, run_of: Make
    ) -> None:
        source = Images(
            folder / "table.csv", folder, image_column="image", labels={"ill": "ill"},
            split_column="split",
        )  # fmt: skip
        cut = {"region": "roi", "volume": False, "window": None}
        run = run_of(prepare(source, tmp_path / "store", size=32, options=cut))
        with pytest.raises(MedrobustError) as refused:
            predict(run, [folder / "00.png"])
        assert str(refused.value) == (
            f"{run.path}: expected a store, since the training images were not single files but "
            "made with region, volume; make one in the same way with `medrobust prepare`"
        )

    def test_of_a_model_of_colour(
        self, folder: Path, tmp_path: Path, checkpoint: Callable[..., Path]
    ) -> None:
        import_weights(checkpoint(channels=3), tmp_path / "run")
        with pytest.raises(MedrobustError) as refused:
            predict(RunDir(tmp_path / "run"), [folder / "00.png"])
        assert str(refused.value) == (
            f"{tmp_path}/run: expected a store, since the model takes 3 channels and files are "
            "read as grey pictures; make one with `medrobust prepare`"
        )

    def test_of_a_model_of_volumes(self, folder: Path, dual_run: RunDir, copy_of: Copy) -> None:
        run = as_volumes(copy_of(dual_run))
        with pytest.raises(MedrobustError, match=r"since the model takes volumes and files are"):
            predict(run, [folder / "00.png"])


class TestStores:
    """All images of a store, whatever it has labels of."""

    @pytest.mark.parametrize("branch", [None, "clean", "adv"])
    def test_they_are_those_of_evaluate(
        self, evaluated_run: RunDir, tiny_store: Store, branch: str | None
    ) -> None:
        found = predict(evaluated_run, [tiny_store.path], branch=branch)
        assert found.branch == (branch or "adv")
        assert set(found.frame["branch"]) == {found.branch}
        stem = f"phantom-test-best-{found.branch}-clean"
        expected = read_predictions(evaluated_run.predictions / f"{stem}.csv").frame
        there = found.frame.set_index("image_id").loc[expected["image_id"]]
        names = [n for f in tiny_store.findings for n in (f, f"logit:{f}")]
        np.testing.assert_allclose(there[names], expected[names], rtol=0, atol=1e-5)
        assert len(found.frame) == 60

    def test_its_labels_need_not_be_the_models(
        self, dual_run: RunDir, folder: Path, tmp_path: Path
    ) -> None:
        store = stored(folder, tmp_path / "store")
        found = predict(dual_run, [store.path]).frame
        network = restore_model(dual_run).model.branch("adv")
        with torch.no_grad():
            direct = network(load_images(store, np.arange(16), "cpu"))
        names = [n for n in found if n.startswith("logit:")]
        np.testing.assert_allclose(found[names], direct, rtol=0, atol=1e-5)
        assert "ill" not in found

    def test_of_another_size(self, dual_run: RunDir, folder: Path, tmp_path: Path) -> None:
        store = stored(folder, tmp_path / "store", size=28)
        with pytest.raises(MedrobustError) as refused:
            predict(dual_run, [store.path])
        assert str(refused.value) == (
            f"{store.path}: expected size [32, 32], as {dual_run.path} was trained, found "
            "[28, 28]; give a store prepared in the same way"
        )

    def test_of_other_channels(
        self, tiny_store: Store, tmp_path: Path, checkpoint: Callable[..., Path]
    ) -> None:
        import_weights(checkpoint(channels=3), tmp_path / "run", Wanted(size=32))
        with pytest.raises(MedrobustError, match=r"expected channels 3, as .* found 1; give"):
            predict(RunDir(tmp_path / "run"), [tiny_store.path])

    def test_other_branches(self, dual_run: RunDir, tiny_store: Store) -> None:
        message = "^branch: expected one of clean, adv, found 'single'$"
        with pytest.raises(MedrobustError, match=message):
            predict(dual_run, [tiny_store.path], branch="single")

    def test_exclusive_classes(
        self, tiny_store: Store, tmp_path: Path, checkpoint: Callable[..., Path]
    ) -> None:
        wanted = Wanted(findings=("a", "b", "c"), task="exclusive", size=32)
        import_weights(checkpoint(outputs=3), tmp_path / "run", wanted)
        run = RunDir(tmp_path / "run")
        found = predict(run, [tiny_store.path]).frame
        network = restore_model(run).model.branch("single")
        with torch.no_grad():
            direct = network(load_images(tiny_store, np.arange(60), "cpu")).softmax(1).numpy()
        np.testing.assert_allclose(found[["a", "b", "c"]], direct, atol=1e-6)
        assert found["class"].tolist() == [("a", "b", "c")[k] for k in direct.argmax(1)]


class TestThresholds:
    """What decides between positive and negative."""

    def test_evaluate_chose_them(self, evaluated_run: RunDir, tiny_store: Store) -> None:
        rows = read_metrics(evaluated_run.metrics)
        rows = rows[(rows["metric"] == "threshold") & (rows["branch"] == "clean")]
        expected = dict(zip(rows["finding"], rows["value"], strict=True))
        found = predict(evaluated_run, [tiny_store.path], branch="clean")
        assert found.thresholds.values == expected
        assert found.thresholds.origin == "split val of store phantom (metrics.csv)"
        assert found.warnings == ()
        for finding, threshold in expected.items():
            positive = found.frame[finding] >= threshold
            assert found.frame[f"{finding}:positive"].tolist() == positive.astype(int).tolist()
        assert found.frame[[f"{f}:positive" for f in expected]].to_numpy().any()

    def test_before_evaluate_they_are_found_as_it_finds_them(
        self, dual_run: RunDir, evaluated_run: RunDir, tiny_store: Store
    ) -> None:
        now = predict(dual_run, [tiny_store.path]).thresholds
        later = predict(evaluated_run, [tiny_store.path]).thresholds
        assert now.values == pytest.approx(dict(later.values), abs=1e-6)
        assert now.origin == f"split val of {tiny_store.path}, predicted now"
        assert now.warnings == ()

    def test_those_of_older_weights_do_not_count(
        self, evaluated_run: RunDir, copy_of: Copy, tiny_store: Store
    ) -> None:
        run = copy_of(evaluated_run)
        saved = checkpoints.load(run.checkpoints, "best")
        saved.tensors["fc.bias"] += 1
        checkpoints.save(run.checkpoints, "best", saved)
        found = predict(run, [tiny_store.path])
        old = predict(evaluated_run, [tiny_store.path])
        assert found.thresholds.origin.endswith("predicted now")
        for finding, value in old.thresholds.values.items():
            odds = found.thresholds.values[finding] / (1 - found.thresholds.values[finding])
            assert odds == pytest.approx(np.e * value / (1 - value), rel=1e-3)

    def test_of_an_imported_run_those_of_any_evaluation_count(
        self, folder: Path, tmp_path: Path, run_of: Make
    ) -> None:
        store = stored(folder, tmp_path / "store")
        run = run_of(findings=["ill"], size=32)
        first = predict(run, [store.path])
        assert first.thresholds.values == {"ill": 0.5}
        assert first.warnings == (
            f"{run.path}: no thresholds were chosen, so 0.5 is used (it was imported without a "
            "training store); `medrobust evaluate` with a store that has a split val chooses them",
        )
        what = Evaluation(eps=(), redraws=100, trust_images=0)
        notes = evaluate(run, store, what)
        assert notes[0].startswith(f"thresholds come from split val of {store.path}, because ")
        second = predict(run, [store.path])
        assert second.thresholds.values != {"ill": 0.5}
        name = f"table-{store.checksum[:8]}"
        assert second.thresholds.origin == f"split val of store {name} (metrics.csv)"

    def test_without_the_training_store_they_are_a_half_and_that_is_said(
        self, dual_run: RunDir, copy_of: Copy, tiny_store: Store
    ) -> None:
        run = copy_of(dual_run)
        config = run.path / "config.yaml"
        config.write_text(config.read_text().replace(str(run.config().data.store), "gone"))
        found = predict(run, [tiny_store.path])
        assert set(found.thresholds.values.values()) == {0.5}
        assert found.warnings == (
            f"{run.path}: no thresholds were chosen, so 0.5 is used (expected a store at gone, "
            "found no such folder: give the folder `medrobust prepare` wrote); `medrobust "
            "evaluate` with a store that has a split val chooses them",
        )


def as_volumes(run: RunDir) -> RunDir:
    """The run of a network of the same kind that takes volumes."""
    saved, config = checkpoints.load(run.checkpoints, "best"), run.config()
    config = config.model_copy(update={"regime": "standard"})
    known = saved.state["model"] | {"size": [8, 16, 16]}
    network = build_classifier(config, known, [0.0], [1.0])
    tensors = {
        name.removeprefix("backbone."): tensor for name, tensor in network.state_dict().items()
    }
    saved = replace(saved, tensors=tensors, state=saved.state | {"model": known})
    checkpoints.save(run.checkpoints, "best", saved)
    path = run.path / "config.yaml"
    path.write_text(path.read_text().replace("regime: dual", "regime: standard"))
    return run
