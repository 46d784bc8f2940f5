"""Whatever truth a store has: each image's score, an empty one, or a refusal; never a silent 0."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from medrobust.config import resolve
from medrobust.data.cases import gallery_rows
from medrobust.data.prepare import prepare
from medrobust.data.source import Card, Mask, Picture
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.stage import Wanted, explain
from medrobust.explain.subject import Subject, open_subject
from medrobust.files import write_csv
from medrobust.rundir import RunDir, run_directory
from medrobust.train import train

Copy = Callable[[RunDir], RunDir]
Marked = Sequence[tuple[int, np.ndarray]]
FINDING = "nodule"
CAM = ("grad-cam", -1)


@pytest.fixture
def positive(tiny_store: Store) -> list[int]:
    """Test images with the finding."""
    rows = tiny_store.rows("test")
    return rows[tiny_store.table[f"label:{FINDING}"].to_numpy()[rows] == 1].tolist()


@pytest.fixture
def seen(dual_run: RunDir, copy_of: Copy, tiny_store: Store, tmp_path: Path) -> Callable[..., Any]:
    """The tiny images with another truth: boxes (row, finding, x, y, w, h) or masks of nodules."""

    def opened(boxes: Sequence[tuple[Any, ...]] = (), masks: Marked = ()) -> Subject:
        ids = tiny_store.table["image_id"]
        folder = tmp_path / "store"
        folder.mkdir()
        if boxes:
            rows = [(ids[row], *rest) for row, *rest in boxes]
            columns = ["image_id", "finding", *"xywh"]
            write_csv(folder / "boxes.csv", pd.DataFrame(rows, columns=columns))
        if masks:
            named = [(n, ids[row], FINDING, "finding") for n, (row, _) in enumerate(masks)]
            columns = ["mask", "image_id", "name", "kind"]
            write_csv(folder / "masks.csv", pd.DataFrame(named, columns=columns))
            np.save(folder / "masks.npy", np.stack([pixels for _, pixels in masks]))
        subject = open_subject(copy_of(dual_run))
        return replace(subject, store=replace(subject.store, path=folder))

    return opened


def read(subject: Subject) -> pd.DataFrame:
    return pd.read_csv(subject.folder / "scores.csv", dtype={"image_id": str})


def gradients(**given: Any) -> Wanted:
    return Wanted(["gradient"], [FINDING], **given)


def test_boxes_are_a_truth_for_the_images_that_have_one(
    seen: Callable[..., Any], positive: list[int]
) -> None:
    first, second = positive[:2]
    subject = seen(boxes=[(first, "Nodule", 4, 6, 8, 10), (second, "effusion", 1, 1, 5, 5)])
    assert explain(subject, gradients()) == []
    found = read(subject)
    assert list(dict.fromkeys(found["image_id"])) == subject.ids(np.array([first]))
    area = found[(found["method"] == "area") & (found["score"] == "mass_accuracy")]["value"]
    assert area.tolist() == [8 * 10 / 32**2]
    assert found["value"].notna().all()
    assert "iou" not in set(found["score"])  # no box on a validation image


def test_boxes_of_other_findings_are_no_truth_of_this_one(
    seen: Callable[..., Any], positive: list[int]
) -> None:
    subject = seen(boxes=[(positive[0], "effusion", 1, 1, 5, 5)])
    (note,) = explain(subject, gradients())
    assert note.endswith("split test: no truth of nodule; its maps are not scored")
    assert read(subject).empty
    with pytest.raises(MedrobustError, match=r"^mask: expected some of effusion, found 'nodule'"):
        explain(subject, gradients(truth=["nodule"]))


def test_an_empty_mask_has_rows_without_a_value(
    seen: Callable[..., Any], positive: list[int]
) -> None:
    some = np.zeros((32, 32), bool)
    some[3:9, 3:9] = True
    subject = seen(masks=[(positive[0], np.zeros((32, 32), bool)), (positive[1], some)])
    explain(subject, gradients())
    values = read(subject).groupby("image_id")["value"]
    empty, marked = subject.ids(np.array(positive[:2]))
    assert values.size()[empty] == values.size()[marked]
    assert values.count()[empty] == 0
    assert values.count()[marked] == values.size()[marked]


def test_masks_of_another_size_are_refused(seen: Callable[..., Any], positive: list[int]) -> None:
    subject = seen(masks=[(positive[0], np.ones((16, 16), bool))])
    with pytest.raises(MedrobustError) as caught:
        explain(subject, gradients())
    assert "16" in str(caught.value)
    assert "32" in str(caught.value)


def with_last_layer(subject: Subject, value: float) -> Subject:
    """Every weight of the last layer is this."""
    networks = {name: copy.deepcopy(network) for name, network in subject.networks.items()}
    for network in networks.values():
        network.get_parameter("backbone.fc.weight").data.fill_(value)
    return replace(subject, networks=networks)


@pytest.mark.parametrize(
    ("method", "value"), [("gradient", 0), ("gradient", np.nan), ("gradient", np.inf), CAM]
)
def test_maps_that_say_nothing_have_rows_without_a_value(
    dual_run: RunDir, copy_of: Copy, positive: list[int], method: str, value: float
) -> None:
    """Zeros, no numbers, and Grad-CAM of a network in which all speaks against the finding."""
    subject = with_last_layer(open_subject(copy_of(dual_run)), value)
    explain(subject, Wanted([method], [FINDING]))
    found = read(subject)
    own = found[found["method"] == method]
    assert set(own["image_id"]) == set(subject.ids(np.array(positive)))
    assert own["value"].isna().all()
    assert found[found["method"] == "centre"]["value"].notna().all()


@dataclass(frozen=True)
class Cubes:
    """Noise volumes with a bright cube where the finding is."""

    images: int = 30
    side: int = 16
    patients: Literal["known"] = "known"
    task: Literal["multilabel"] = "multilabel"

    @property
    def card(self) -> Card:
        return Card("cubes", "Cubes", "a test", "CC0", "none needed", "Not a picture of anything.")

    def index(self) -> pd.DataFrame:
        names = [f"c{n:02d}" for n in range(self.images)]
        table = pd.DataFrame({"image_id": names, "patient_id": names, "source": "cubes"})
        table["file"] = table["image_id"]
        table["split"] = [["train", "val", "test"][n // 2 % 3] for n in range(self.images)]
        table[f"label:{FINDING}"] = [float(n % 2) for n in range(self.images)]
        return table

    def read(self, row: Mapping[str, Any]) -> Picture:
        number = int(str(row["image_id"])[1:])
        pixels = np.random.default_rng(number).uniform(0, 0.5, (1, *[self.side] * 3))
        cube = np.zeros(pixels.shape[1:], bool)
        cube[4:8, 3:9, 10:14] = True
        masks = (Mask(FINDING, "finding", cube),) if row[f"label:{FINDING}"] else ()
        return Picture((pixels + 0.4 * cube * bool(masks)) * 255, 0, 255, masks=masks)


def test_volumes_are_scored_in_all_three_axes(tmp_path: Path) -> None:
    store = prepare(Cubes(), tmp_path / "store", size=None)
    given = {
        **{"name": "cubes", "regime": "standard", "data": {"store": str(store.path)}},
        **{"network": {"name": "small", "width": 4}},
        "train": {"epochs": 1, "batch_size": 5, "validation_steps": 1},
    }
    config = resolve(given, (), "cubes")
    run = run_directory(config, tmp_path / "runs")
    train(config, store, run)
    subject = open_subject(run)
    wanted = Wanted(["gradient", "grad-cam", "occlusion"], [FINDING])
    assert explain(subject, wanted) == []
    found = read(subject)
    area = found[(found["method"] == "area") & (found["score"] == "mass_accuracy")]["value"]
    assert area.tolist() == pytest.approx([4 * 6 * 4 / 16**3] * 5)
    assert set(found["score"]) == {"hit_rate", "mass_accuracy", "rank_accuracy", "auprc", "iou"}
    assert found["value"].dropna().between(0, 1).all()
    rows = np.union1d(gallery_rows(store, "test"), subject.store.rows("test")[1::2])
    for method in wanted.methods:
        with np.load(subject.folder / f"maps/cubes/test/single/{method}/nodule.npz") as saved:
            assert saved["map"].shape[1:] == (16, 16, 16)
            assert len(saved["map"]) == len(rows)
