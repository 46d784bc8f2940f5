import numpy as np
import pandas as pd
import pytest

from medrobust.data.copies import find_copies
from medrobust.errors import MedrobustError


def stored(splits: list[str], labels: list[float] | None = None) -> pd.DataFrame:
    names = [f"i{number}" for number in range(len(splits))]
    label = labels or [0.0] * len(splits)
    return pd.DataFrame(
        {"image_id": names, "patient_id": names, "split": splits, "label:odd": label}
    )


def test_no_copies() -> None:
    copies = find_copies(stored(["train", "val"]), ["a", "b"], "stop")
    assert len(copies.table) == 0
    assert copies.warnings == []
    assert copies.dropped.tolist() == [False, False]


def test_copies_inside_a_split_are_listed_and_stop_nothing() -> None:
    copies = find_copies(stored(["train", "val", "train"]), ["a", "b", "a"], "stop")
    assert copies.table[["group", "image_id", "dropped"]].to_numpy().tolist() == [
        [0, "i0", 0],
        [0, "i2", 0],
    ]
    assert copies.warnings == []


def test_unknown_and_known_labels_differ() -> None:
    table = stored(["train", "train"], [1.0, np.nan])
    assert find_copies(table, ["a", "a"], "report").warnings == [
        "1 groups of identical images have different labels (duplicates.csv)"
    ]


@pytest.mark.parametrize(
    ("splits", "dropped"),
    [
        ("train val test", [True, True, False]),
        ("train train val", [True, True, False]),
        ("val test test", [True, False, False]),
        ("train train train", [False, False, False]),
    ],
)
def test_only_the_copies_in_the_last_split_stay(splits: str, dropped: list[bool]) -> None:
    copies = find_copies(stored(splits.split()), ["a", "a", "a"], "drop-from-train")
    assert copies.dropped.tolist() == dropped
    assert copies.table["dropped"].tolist() == [int(gone) for gone in dropped]


def test_stop() -> None:
    with pytest.raises(MedrobustError, match=r"^1 groups of identical images lie in more than"):
        find_copies(stored(["train", "test"]), ["a", "a"], "stop")
