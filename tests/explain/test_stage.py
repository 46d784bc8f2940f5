import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from medrobust import checkpoints
from medrobust.data.batches import load_images
from medrobust.data.cases import gallery_rows
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.localisation import SCORES, Tolerance, centre_prior
from medrobust.explain.maps import read_maps, write_maps
from medrobust.explain.methods import Method
from medrobust.explain.saliency import gradient
from medrobust.explain.stage import COLUMNS, Wanted, mapped_rows, positive_rows
from medrobust.explain.stage import explain as explain_subject
from medrobust.explain.subject import open_subject
from medrobust.folding import folded
from medrobust.models import load_model, untrained_like
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]


def explain(run: RunDir, store: Store | None = None, *, findings=None, methods=("gradient",),
            track=lambda total, title: lambda done: None, **opening) -> list[str]:  # fmt: skip
    wanted = Wanted(methods=methods, findings=findings)
    return explain_subject(open_subject(run, store, **opening), wanted, track=track)


@pytest.fixture(scope="module")
def explained(dual_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The dual run with its maps and scores; nothing may change it."""
    target = tmp_path_factory.mktemp("explained") / "dual" / "0"
    run = RunDir(Path(shutil.copytree(dual_run.path, target)))
    explain(run)
    return run


@pytest.fixture
def scores(explained: RunDir) -> pd.DataFrame:
    return read(explained)


def read(run: RunDir) -> pd.DataFrame:
    return pd.read_csv(run.explain / "scores.csv", dtype={"image_id": str})


def test_scores_are_those_of_the_contract(scores: pd.DataFrame) -> None:
    assert list(scores) == COLUMNS
    assert [
        *("store", "split", "branch", "method", "finding", "image_id", "score", "value")
    ] == COLUMNS
    assert set(scores["store"]) == {"phantom"}
    assert set(scores["split"]) == {"test"}
    assert not scores.duplicated(COLUMNS[:-1]).any()
    assert scores["value"].dropna().between(0, 1).all()


def test_every_positive_with_a_mask_is_scored_by_every_method(
    scores: pd.DataFrame, tiny_store: Store
) -> None:
    for finding in tiny_store.findings:
        rows = tiny_store.rows("test")
        positive = rows[tiny_store.table[f"label:{finding}"].to_numpy()[rows] == 1]
        expected = set(tiny_store.table["image_id"].iloc[positive])
        assert len(expected) >= 2
        of_finding = scores[scores["finding"] == finding]
        groups = of_finding.fillna({"branch": ""}).groupby(["branch", "method", "score"])
        found = groups["image_id"].apply(set)
        assert list(found) == [expected] * len(found)
        baselines = ("area", "centre", "edge", "random", "untrained:gradient")
        sources = [("clean", "gradient"), ("adv", "gradient"), *(("", name) for name in baselines)]
        assert {key[:2] for key in found.index} == set(sources)
        names = {"hit_rate", "mass_accuracy", "rank_accuracy", "auprc", "iou"}
        assert {key[2] for key in found.index} == names


@pytest.mark.parametrize("branch", ["clean", "adv"])
def test_maps_are_gradients_of_the_branch(
    explained: RunDir, tiny_store: Store, scores: pd.DataFrame, branch: str
) -> None:
    few = load_images(tiny_store, tiny_store.rows("test")[:2], "cpu")
    network = folded(load_model(explained, tiny_store)[0].branch(branch), few)
    for column, finding in enumerate(tiny_store.findings):
        rows = mapped_rows(tiny_store, "test", finding, tiny_store.truth(finding))
        expected = gradient(network, load_images(tiny_store, rows, "cpu"), column).numpy()
        path = explained.explain / f"maps/phantom/test/{branch}/gradient/{finding}.npz"
        with np.load(path) as saved:
            assert saved["image_id"].tolist() == tiny_store.table["image_id"][rows].tolist()
            assert saved["map"].dtype == np.float16
            assert saved["scale"].dtype == np.float32
            scale = saved["scale"][:, None, None]
            restored = saved["map"].astype(np.float32) * scale
            assert (np.abs(saved["map"]).max(axis=(1, 2)) == 1).all()
        np.testing.assert_allclose(restored / scale, expected / scale, atol=2**-11, rtol=2**-11)
        check_scores(scores, tiny_store, branch, "gradient", finding, rows, expected)


def test_centre_and_untrained_are_scored_alike(
    explained: RunDir, tiny_store: Store, scores: pd.DataFrame
) -> None:
    model, _ = load_model(explained, tiny_store)
    fresh = untrained_like(model.branch("adv"), explained.config(), tiny_store)
    for column, finding in enumerate(tiny_store.findings):
        rows = positive_rows(tiny_store, "test", finding, tiny_store.truth(finding))
        maps = gradient(fresh, load_images(tiny_store, rows, "cpu"), column).numpy()
        prior = np.broadcast_to(centre_prior((32, 32)).astype(np.float32), (len(rows), 32, 32))
        check_scores(scores, tiny_store, "", "untrained:gradient", finding, rows, maps)
        check_scores(scores, tiny_store, "", "centre", finding, rows, prior)


def check_scores(
    scores: pd.DataFrame,
    store: Store,
    branch: str,
    method: str,
    finding: str,
    rows: np.ndarray,
    maps: np.ndarray,
) -> None:
    """The written values are those of the maps and the masks."""
    chosen = scores[
        (scores["branch"].fillna("") == branch)
        & (scores["method"] == method)
        & (scores["finding"] == finding)
    ].set_index(["image_id", "score"])["value"]
    truth = store.truth(finding)
    for row, found in zip(rows, maps, strict=True):
        for name, score in SCORES.items() if int(row) in truth else ():
            written = chosen[store.table["image_id"].iloc[row], name]
            assert written == pytest.approx(score(found, truth[int(row)]), rel=1e-4)


class TestUntrained:
    """The network that has learnt nothing."""

    def test_has_the_input_of_the_trained_one_and_fresh_weights(
        self, dual_run: RunDir, tiny_store: Store
    ) -> None:
        trained = load_model(dual_run, tiny_store)[0].branch("clean")
        fresh = untrained_like(trained, dual_run.config(), tiny_store)
        theirs = dict(fresh.named_parameters())
        assert torch.equal(fresh.get_buffer("input_mean"), trained.get_buffer("input_mean"))
        assert torch.equal(fresh.get_buffer("input_spread"), trained.get_buffer("input_spread"))
        assert theirs.keys() == dict(trained.named_parameters()).keys()
        for name, weight in trained.named_parameters():
            assert weight.shape == theirs[name].shape
            assert weight.ndim == 1 or not torch.allclose(weight, theirs[name])
        assert not fresh.training

    def test_depends_on_the_seed_alone(self, dual_run: RunDir, tiny_store: Store) -> None:
        trained = load_model(dual_run, tiny_store)[0].branch("clean")
        config = dual_run.config()
        one, same = (untrained_like(trained, config, tiny_store) for _ in range(2))
        other = untrained_like(trained, config.model_copy(update={"seed": 1}), tiny_store)
        head = "backbone.fc.weight"
        assert torch.equal(one.get_parameter(head), same.get_parameter(head))
        assert not torch.equal(one.get_parameter(head), other.get_parameter(head))


def test_mapped_are_positives_with_masks_and_the_gallery(tiny_store: Store) -> None:
    rows = mapped_rows(tiny_store, "test", "nodule", tiny_store.truth("nodule"))
    positive = tiny_store.table["label:nodule"].to_numpy()[rows] == 1
    shown = np.isin(rows, gallery_rows(tiny_store, "test"))
    assert (positive | shown).all()
    assert set(gallery_rows(tiny_store, "test")) <= set(rows)
    assert (np.diff(rows) > 0).all()


def test_without_masks_there_are_maps_of_the_gallery_and_no_scores(
    dual_run: RunDir, copy_of: Copy, tiny_store: Store, tmp_path: Path
) -> None:
    run = copy_of(dual_run)
    store = without_masks(tiny_store, tmp_path / "store")
    explain(run, store)
    assert list(read(run)) == COLUMNS
    assert len(read(run)) == 0
    rows = np.sort(gallery_rows(store, "test"))
    for finding in store.findings:
        with np.load(run.explain / f"maps/phantom/test/adv/gradient/{finding}.npz") as saved:
            assert saved["image_id"].tolist() == store.table["image_id"][rows].tolist()


def test_an_empty_mask_and_a_dead_network_are_not_scorable(
    dual_run: RunDir, copy_of: Copy, tiny_store: Store
) -> None:
    run = copy_of(dual_run)
    saved = checkpoints.load(run.checkpoints, "best")
    saved.tensors["fc.weight"].zero_()
    checkpoints.save(run.checkpoints, "best", saved)
    explain(run, findings=["effusion"])
    found = read(run).groupby("method")["value"]
    share_scored = found.count() / found.size()
    assert share_scored.pop("gradient") == 0
    assert (share_scored == 1).all()
    with np.load(run.explain / "maps/phantom/test/adv/gradient/effusion.npz") as maps:
        assert (maps["scale"] == 0).all()
        assert (maps["map"] == 0).all()


def test_findings_one_after_the_other_give_what_they_give_together(
    explained: RunDir, dual_run: RunDir, copy_of: Copy, tiny_store: Store
) -> None:
    run = copy_of(dual_run)
    for finding in (*reversed(tiny_store.findings), "nodule"):
        explain(run, findings=[finding], batch_size=64)
    order = COLUMNS[:-1]
    pd.testing.assert_frame_equal(
        read(run).sort_values(order, ignore_index=True),
        read(explained).sort_values(order, ignore_index=True),
    )


def test_scores_that_are_out_of_date_are_dropped(
    dual_run: RunDir, copy_of: Copy, tiny_store: Store
) -> None:
    run = copy_of(dual_run)
    explain(run, findings=["nodule", "effusion"])
    explain(run, split="val", findings=["nodule"])
    blind = replace(tiny_store)
    blind.__dict__["_masks"] = None
    explain(run, blind, findings=["nodule"])
    assert set(zip(read(run)["split"], read(run)["finding"], strict=True)) == {
        ("test", "effusion"),
        ("val", "nodule"),
    }


def test_other_patients_stand_under_another_name(
    dual_run: RunDir, copy_of: Copy, other_store: Store
) -> None:
    run = copy_of(dual_run)
    explain(run, findings=["effusion"])
    explain(run, other_store, findings=["effusion"])
    names = {"phantom", f"phantom-{other_store.checksum[:8]}"}
    assert set(read(run)["store"]) == names
    assert {path.name for path in (run.explain / "maps").iterdir()} == names


def test_progress_is_told_of_every_map(dual_run: RunDir, copy_of: Copy) -> None:
    announced, told = [], []

    def track(total: int, title: str) -> Callable[[int], None]:
        announced.append((total, title.rpartition(": ")[2]))
        return told.append

    explain(copy_of(dual_run), findings=["effusion", "nodule"], batch_size=3, track=track)
    assert [title for _, title in announced] == ["maps of effusion", "maps of nodule"]
    assert sum(told) == sum(total for total, _ in announced)


def test_maps_that_were_written_are_read(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 4, 8, 8)).astype(np.float32) * 1e-6
    maps[1] = 0
    write_maps(tmp_path / "maps.npz", ["a", "b", "c"], maps)
    found = read_maps(tmp_path / "maps.npz")
    assert list(found) == ["a", "b", "c"]
    assert (found["b"] == 0).all()
    np.testing.assert_allclose(np.stack(list(found.values())), maps, rtol=2**-10, atol=1e-9)


def test_a_file_without_maps(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    for name in ("other.npz", "missing.npz"):
        with pytest.raises(MedrobustError, match=r"expected maps that `medrobust explain` wrote"):
            read_maps(tmp_path / name)


def test_truth_by_other_names_and_the_share_inside(
    dual_run: RunDir, copy_of: Copy, tiny_store: Store
) -> None:
    run = copy_of(dual_run)
    wanted = Wanted(
        methods=["gradient"],
        findings=["cardiomegaly"],
        truth=["left_lung", "right_lung"],
        inside=["heart"],
    )
    explain_subject(open_subject(run), wanted)
    found = read(run)
    hearts = tiny_store.truth("heart", "anatomy")
    lungs = tiny_store.truth("left_lung", "anatomy")
    area = found[found["method"] == "area"].set_index(["image_id", "score"])["value"]
    for image, row in zip(tiny_store.table["image_id"], range(60), strict=True):
        if (image, "inside:heart") in area:
            assert area[image, "inside:heart"] == pytest.approx(hearts[row].mean())
            both = lungs[row] | tiny_store.truth("right_lung", "anatomy")[row]
            assert area[image, "mass_accuracy@left_lung+right_lung"] == pytest.approx(both.mean())
    assert "inside:heart" in set(found[found["method"] == "gradient"]["score"])
    assert "auprc@left_lung+right_lung" in set(found["score"])


def test_without_validation_truth_there_is_no_iou(
    dual_run: RunDir, copy_of: Copy, tiny_store: Store
) -> None:
    run = copy_of(dual_run)
    explain(run, split="val", findings=["effusion"])
    assert "iou" not in set(read(run)["score"])
    assert "hit_rate" in set(read(run)["score"])


def test_unknown_finding(dual_run: RunDir) -> None:
    with pytest.raises(MedrobustError, match=r"^finding: expected some of nodule, .+'hernia'$"):
        explain(dual_run, findings=["nodule", "hernia"])
    assert not dual_run.explain.exists()


def without_masks(store: Store, path: Path) -> Store:
    """The same images, in a folder without masks."""
    shutil.copytree(store.path, path)
    (path / "masks.npy").unlink()
    (path / "masks.csv").unlink()
    return replace(store, path=path)


def test_another_method_or_truth_keeps_what_was_measured_before(
    dual_run: RunDir, copy_of: Copy
) -> None:
    run = copy_of(dual_run)
    explain(run, findings=["effusion"], methods=["gradient", "gradient-x-input"])
    before = read(run)
    lungs = Wanted(["gradient"], ["effusion"], truth=["left_lung"], tolerance=Tolerance(2))
    explain_subject(open_subject(run), lungs)
    after = read(run)
    new = after["score"].str.contains("@")
    pd.testing.assert_frame_equal(after[~new].reset_index(drop=True), before.reset_index(drop=True))
    assert "hit_rate:2px@left_lung" in set(after["score"])


def test_what_cannot_be_scored_is_said(
    dual_run: RunDir, copy_of: Copy, tiny_store: Store, tmp_path: Path
) -> None:
    bare = without_masks(tiny_store, tmp_path / "store")
    (note,) = explain(copy_of(dual_run), bare, findings=["nodule"])
    assert note == f"{bare.path}, split test: no truth of nodule; its maps are not scored"


def test_lungs_are_looked_at_where_the_finding_has_no_mask(
    dual_run: RunDir, copy_of: Copy, tiny_store: Store
) -> None:
    run, store = copy_of(dual_run), replace(tiny_store)
    masks, pixels = tiny_store._masks  # type: ignore[misc]
    store.__dict__["_masks"] = (masks[masks["kind"] == "anatomy"], pixels)
    wanted = Wanted(["gradient"], ["nodule"], inside=["left_lung", "right_lung"])
    explain_subject(open_subject(run, store), wanted)
    assert set(read(run)["score"]) == {"inside:left_lung+right_lung"}
    assert read(run)["value"].between(0, 1).all()


def test_a_damaged_table_is_named(dual_run: RunDir, copy_of: Copy) -> None:
    run = copy_of(dual_run)
    run.explain.mkdir()
    (run.explain / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MedrobustError, match=r"scores.csv: expected columns store, .+ found col"):
        explain(run, findings=["nodule"])


def test_methods_that_need_outputs_alone_take_a_folded_copy(
    dual_run: RunDir, tiny_store: Store
) -> None:
    subject = open_subject(dual_run, tiny_store)
    network, seen = subject.networks["adv"], []

    def spy(given: nn.Module, images: Tensor, finding: int) -> Tensor:
        seen.append(given)
        return images[:, 0]

    rows = tiny_store.rows("test")
    for looks_inside in (True, False, False):
        subject.maps(network, Method("spy", spy, looks_inside), rows, 0)
    assert seen[0] is network
    assert seen[1] is seen[2] is not network
    assert not any(isinstance(module, nn.BatchNorm2d) for module in seen[1].modules())
    images = subject.images(rows)
    assert torch.allclose(network(images), seen[1](images), atol=1e-4)
