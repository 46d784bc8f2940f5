from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.data.cases import gallery_rows
from medrobust.data.prepare import prepare
from medrobust.data.source import Mask, Picture
from medrobust.data.store import Store
from medrobust.errors import MedrobustError


def findings(table: pd.DataFrame) -> None:
    number = table.index.to_numpy()
    table["label:rare"] = np.where(number % 16 == 7, 1.0, np.where(number % 5 == 0, np.nan, 0.0))


@pytest.fixture
def store(tiny, out: Path) -> Store:
    pixels = np.full((1, 6, 4), 3, np.uint8)
    masked = Picture(pixels, 0, 100, masks=(Mask("odd", "finding", pixels[0] > 0),))
    return prepare(tiny(change=findings, pictures={17: masked}), out, size=None)


def test_positives_with_a_mask_first_then_negatives(store: Store) -> None:
    rows = gallery_rows(store, "train", per_finding=3)
    assert rows.dtype == np.int64
    assert rows[0] == 17
    assert set(rows) <= set(store.rows("train"))
    assert len(set(rows)) == len(rows) == 5
    assert store.labels[rows, 0].tolist() == [1, 1, 1, 0, 0]


def test_boxes_are_as_good_as_masks(tiny, out: Path) -> None:
    plain = prepare(tiny(change=findings), out, size=None)
    rows = plain.rows("train")
    odd = rows[plain.labels[rows, 0] == 1]
    last = odd[-1]
    assert last not in gallery_rows(plain, "train", per_finding=2)
    box = {"image_id": plain.table["image_id"][last], "finding": "Odd", "x": 0, "y": 0}
    boxed = replace(plain)
    boxed.__dict__["boxes"] = pd.DataFrame([{**box, "w": 2, "h": 2}])
    assert gallery_rows(boxed, "train", per_finding=2)[0] == last


def test_a_finding_with_few_positives_shows_them_all(store: Store) -> None:
    rows = gallery_rows(store, "test", per_finding=4)
    rare = store.rows("test")[store.labels[store.rows("test"), 1] == 1]
    assert set(rare) <= set(rows)


def test_the_choice_depends_on_ids_only(store: Store, tiny, tmp_path: Path) -> None:
    def turn(table: pd.DataFrame) -> pd.DataFrame:
        findings(table)
        return table[::-1]

    turned = prepare(tiny(change=turn), tmp_path / "turned", size=None)
    shown = [set(one.table["image_id"].iloc[gallery_rows(one, "val")]) for one in (store, turned)]
    assert shown[0] == shown[1]


def test_an_empty_split(store: Store) -> None:
    with pytest.raises(MedrobustError, match="has no images in split 'dev'"):
        gallery_rows(store, "dev")
