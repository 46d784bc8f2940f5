import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medrobust import checkpoints
from medrobust.data.batches import load_images
from medrobust.data.cases import gallery_rows
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.localisation import SCORES, centre_prior
from medrobust.explain.saliency import gradient
from medrobust.explain.stage import COLUMNS, explain, mapped_rows
from medrobust.models import load_model, untrained_like
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]


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
        groups = of_finding.groupby(["branch", "method", "score"])["image_id"].apply(set)
        assert list(groups) == [expected] * len(groups)
        assert {key[:2] for key in groups.index} == {
            (branch, method)
            for branch in ("clean", "adv")
            for method in ("gradient", "centre", "untrained")
        }


@pytest.mark.parametrize("branch", ["clean", "adv"])
def test_maps_are_gradients_of_the_branch(
    explained: RunDir, tiny_store: Store, scores: pd.DataFrame, branch: str
) -> None:
    network = load_model(explained, tiny_store)[0].branch(branch)
    for column, finding in enumerate(tiny_store.findings):
        rows = mapped_rows(tiny_store, "test", finding)
        expected = gradient(network, load_images(tiny_store, rows, "cpu"), column).numpy()
        path = explained.explain / f"maps/phantom/{branch}/gradient/{finding}.npz"
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
        rows = mapped_rows(tiny_store, "test", finding)
        maps = gradient(fresh, load_images(tiny_store, rows, "cpu"), column).numpy()
        prior = np.broadcast_to(centre_prior((32, 32)), (len(rows), 32, 32))
        for branch in ("clean", "adv"):
            check_scores(scores, tiny_store, branch, "untrained", finding, rows, maps)
            check_scores(scores, tiny_store, branch, "centre", finding, rows, prior)


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
        (scores["branch"] == branch) & (scores["method"] == method) & (scores["finding"] == finding)
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
    rows = mapped_rows(tiny_store, "test", "nodule")
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
        with np.load(run.explain / f"maps/phantom/adv/gradient/{finding}.npz") as saved:
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
    assert found.count().to_dict() == {"centre": len(found.get_group("centre")), "gradient": 0,
                                       "untrained": len(found.get_group("untrained"))}  # fmt: skip
    with np.load(run.explain / "maps/phantom/adv/gradient/effusion.npz") as maps:
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


def test_volumes(tmp_path: Path) -> None:
    from medrobust.explain.stage import _Job
    from medrobust.networks import Classifier, build_backbone

    store = replace_images(np.zeros((2, 1, 4, 16, 16), np.uint8))
    backbone = build_backbone("small", channels=1, outputs=1, dimensions=3, width=2)
    job = _Job(RunDir(tmp_path), store, "lungs", "test", torch.device("cpu"), 8, "best")
    maps = job.maps(Classifier(backbone, [0.5], [0.2], 3), np.array([1]), "nodule", lambda n: None)
    assert maps.shape == (1, 4, 16, 16)
    job.write_maps(maps, np.array([1]), "single", "nodule")
    with np.load(tmp_path / "explain/maps/lungs/single/gradient/nodule.npz") as saved:
        np.testing.assert_allclose(
            saved["map"] * saved["scale"], maps, atol=float(saved["scale"][0]) * 2**-11
        )


def test_unknown_finding(dual_run: RunDir) -> None:
    with pytest.raises(MedrobustError, match=r"^finding: expected some of nodule, .+'hernia'$"):
        explain(dual_run, findings=["nodule", "hernia"])
    assert not dual_run.explain.exists()


def replace_images(images: np.ndarray) -> Store:
    """A store of two images without files."""
    table = pd.DataFrame(
        {"image_id": ["a", "b"], "patient_id": ["a", "b"], "split": "test", "label:nodule": 1.0}
    )
    return Store(Path("nowhere"), images, table, None)  # type: ignore[arg-type]


def without_masks(store: Store, path: Path) -> Store:
    """The same images, in a folder without masks."""
    shutil.copytree(store.path, path)
    (path / "masks.npy").unlink()
    (path / "masks.csv").unlink()
    return replace(store, path=path)
