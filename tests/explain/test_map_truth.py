from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.truth import Mask, Tolerance, named_masks, spacings, truth_of
from medrobust.files import write_csv

Boxes = Sequence[tuple[Any, ...]]
Marked = Sequence[tuple[int, str, str, Mask]]
Make = Callable[..., Store]
TOP, LEFT = (np.zeros((32, 32), bool) for _ in range(2))
TOP[:4], LEFT[:, :3] = True, True


@pytest.fixture
def made(tiny_store: Store, tmp_path: Path) -> Make:
    """The tiny images with other truths: masks (row, name, kind, pixels), boxes (row, ...)."""
    ids = tiny_store.table["image_id"]

    def make(masks: Marked = (), boxes: Boxes = (), sides: str = "xywh") -> Store:
        if masks:
            rows = [(n, ids[row], name, kind) for n, (row, name, kind, _) in enumerate(masks)]
            columns = ["mask", "image_id", "name", "kind"]
            write_csv(tmp_path / "masks.csv", pd.DataFrame(rows, columns=columns))
            np.save(tmp_path / "masks.npy", np.stack([pixels for *_, pixels in masks]))
        if boxes:
            rows = [(ids[row], *rest) for row, *rest in boxes]
            columns = ["image_id", "finding", *sides]
            write_csv(tmp_path / "boxes.csv", pd.DataFrame(rows, columns=columns))
        return replace(tiny_store, path=tmp_path)

    return make


def refusal(store: Store, *names: str) -> str:
    with pytest.raises(MedrobustError) as caught:
        truth_of(store, "nodule", names)
    return str(caught.value)


def test_masks_of_a_finding(tiny_store: Store) -> None:
    found, expected = truth_of(tiny_store, "Nodule"), tiny_store.truth("nodule")
    assert found.keys() == expected.keys()
    assert found
    for row, mask in found.items():
        assert tiny_store.table["label:nodule"][row] == 1
        np.testing.assert_array_equal(mask, expected[row])


def test_a_finding_without_masks_has_no_truth(made: Make) -> None:
    assert truth_of(made([(0, "effusion", "finding", TOP)]), "nodule") == {}


def test_names_are_united(tiny_store: Store) -> None:
    lungs = named_masks(tiny_store, ["left lung", "Right_Lung"])
    left, right = (tiny_store.truth(f"{side}_lung", "anatomy") for side in ("left", "right"))
    assert lungs.keys() == left.keys() | right.keys()
    for row, mask in lungs.items():
        np.testing.assert_array_equal(mask, left[row] | right[row])
    assert truth_of(tiny_store, "nodule", ["left lung", "right lung"]).keys() == lungs.keys()


def test_a_name_may_be_of_any_kind_and_synonyms_count(made: Make) -> None:
    store = made(
        [
            (3, "R", "marker", TOP),
            (3, "Effusion", "finding", LEFT),
            (5, "pleural effusion", "anatomy", TOP),
        ]
    )
    found = named_masks(store, ["r", "Pleural Effusion"])
    np.testing.assert_array_equal(found[3], TOP | LEFT)
    np.testing.assert_array_equal(found[5], TOP)
    assert truth_of(store, "pleural effusion").keys() == {3}


def test_boxes_become_masks_of_all_pixels_they_touch(made: Make) -> None:
    store = made(
        boxes=[
            (0, "Nodule", 2.0, 4.0, 3.0, 1.0),
            (0, "nodule", 10.5, 20.5, 1.0, 1.0),
            (1, "nodule", -2.0, 30.0, 4.0, 9.0),
            (2, "nodule", 40.0, 2.0, 3.0, 3.0),
            (3, "nodule", 1.9999999, 0.0, 1.0000002, 2.0),
            (4, "mass", 1.0, 1.0, 1.0, 1.0),
        ]
    )
    found = truth_of(store, "nodule")
    assert found.keys() == {0, 1, 2, 3}
    expected = np.zeros((4, 32, 32), bool)
    expected[0, 4, 2:5] = expected[0, 20:22, 10:12] = True
    expected[1, 30:, :2] = True  # the part within the image
    expected[3, :2, 2] = True  # rounded, it is one pixel wide
    for row in range(4):
        np.testing.assert_array_equal(found[row], expected[row])


def test_boxes_of_volumes(tiny_store: Store, made: Make) -> None:
    boxes = [(0, "nodule", 1.0, 2.0, 3.0, 4.0, 5.0, 1.0)]
    store = made(boxes=boxes, sides="xyzwhd")
    volume = replace(store, info=store.info.model_copy(update={"size": (6, 9, 9)}))
    expected = np.zeros((6, 9, 9), bool)
    expected[3:4, 2:7, 1:5] = True
    np.testing.assert_array_equal(truth_of(volume, "nodule")[0], expected)


def test_masks_come_before_boxes_of_the_same_name(made: Make) -> None:
    boxes = [(1, "nodule", 0, 0, 1, 1), (1, "mass", 0, 0, 1, 1)]
    store = made([(0, "nodule", "finding", TOP)], boxes)
    assert truth_of(store, "nodule").keys() == {0}
    assert truth_of(store, "mass").keys() == {1}
    assert named_masks(store, ["nodule", "mass"]).keys() == {0, 1}


def test_an_unknown_name_is_refused(made: Make) -> None:
    store = made([(0, "left lung", "anatomy", TOP)], [(1, "nodule", 0, 0, 1, 1)])
    assert refusal(store, "nodule", "lesion") == (
        "mask: expected some of left lung, nodule, found 'lesion': store phantom has no masks or "
        "boxes of it"
    )


def test_a_store_without_masks_and_boxes_is_refused(made: Make) -> None:
    expected = (
        "store phantom has neither masks nor boxes: maps can be made but not scored; prepare it "
        "with --masks or --boxes"
    )
    assert refusal(made()) == expected
    assert refusal(made(), "lesion") == expected


def test_spacings(tiny_store: Store) -> None:
    found = spacings(tiny_store)
    assert found is not None
    assert found.shape == (60, 2)
    assert (found == 400 / 32).all()
    bare = replace(tiny_store, table=tiny_store.table.drop(columns="spacing_y"))
    assert spacings(bare) is None


@pytest.mark.parametrize("distance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_distance(distance: float) -> None:
    with pytest.raises(MedrobustError) as caught:
        Tolerance(distance)
    assert str(caught.value) == f"tolerance: expected 0 or more, found {distance:g}"


def test_a_tolerance_is_in_pixels_or_millimetres() -> None:
    with pytest.raises(MedrobustError) as caught:
        Tolerance(1, "cm")  # type: ignore[arg-type]
    assert str(caught.value) == "tolerance: expected pixels or mm, found 'cm'"


def test_a_spacing_has_a_number_for_each_axis() -> None:
    with pytest.raises(MedrobustError) as caught:
        Tolerance(1, "mm", (1.0, 1.0, 1.0)).widen(TOP)
    assert str(caught.value) == (
        "spacing: expected 2 numbers, one for each axis of the mask, found 3"
    )


def test_an_empty_mask_stays_empty() -> None:
    widened = Tolerance(3).widen(np.zeros((4, 4), bool))
    assert widened is not None
    assert not widened.any()
