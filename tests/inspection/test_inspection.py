from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from medrobust.data.store import Store
from medrobust.inspection import as_text, inspect_store


def test_what_is_there_twice_and_what_was_left_out(plain: Store) -> None:
    found = inspect_store(plain)
    assert (found.trust.groups, found.trust.copies, found.trust.crossing) == (1, 2, 0)
    assert found.duplicates["image_id"].tolist() == ["img002", "img003"]
    assert found.near["image_id"].tolist() == ["img004"]
    assert found.near["other_image_id"].tolist() == ["img005"]
    assert found.rejects.to_numpy().tolist() == [["the file ends too early", 1, "img007.png"]]


def test_masks_and_boxes(plain: Store, make_store: Callable[[str], Store]) -> None:
    masks = inspect_store(plain).truths.set_index("name")
    positive = int((plain.table["label:Nodule"] == 1).sum())
    assert masks.loc["Nodule", ["what", "kind", "count", "images", "positives"]].tolist() == [
        *("mask", "finding"),
        *(positive,) * 3,
    ]
    assert masks.loc["Nodule", "median"] == 48 / (24 * 30)
    boxes = inspect_store(make_store("volume")).truths
    assert set(boxes["what"]) == {"box"}
    assert set(boxes["median"]) == {48 / (24 * 30)}


def test_text_is_narrow_and_names_no_patient(any_store: Store) -> None:
    text = as_text(inspect_store(any_store))
    assert max(map(len, text.splitlines())) <= 100
    assert "secret" not in text
    assert text.startswith("Discs & noise (discs)\n")
    assert all(finding in text for finding in any_store.findings)


def test_text_says_what_matters(plain: Store) -> None:
    lines = as_text(inspect_store(plain)).splitlines()
    assert ["images", "32", "14", "13"] in [line.split() for line in lines]
    assert "  1 group of identical images (1 with differing labels)" in lines
    assert "  1 pair of near duplicates, candidates only" in lines
    assert "  1 file could not be used" in lines
    assert "  1  the file ends too early (img007.png)" in lines
    assert any(line.startswith("  age: training against test −") for line in lines)


def test_long_names_and_many_findings_stay_narrow(plain: Store) -> None:
    found = inspect_store(plain)
    names = [f"A finding with a very long name, number {n}" for n in range(40)]
    part = found.prevalence[found.prevalence["finding"] == "Nodule"]
    table = pd.concat([part.assign(finding=name) for name in names])
    info = found.info.model_copy(update={"warnings": ["word " * 60, "x" * 250]})
    text = as_text(replace(found, findings=names, prevalence=table, info=info))
    assert max(map(len, text.splitlines())) <= 100
    assert "... 16 more rows" in text
    assert text.count("word") == 60
    assert text.count("x" * 90) == 2
