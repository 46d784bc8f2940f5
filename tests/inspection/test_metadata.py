from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medrobust.data.store import Store
from medrobust.inspection import metadata


def fake(table: pd.DataFrame) -> Store:
    """As much of a store as these functions look at."""
    table = table.assign(source="x", image_id=range(len(table)))
    table["patient_id"] = table.get("patient_id", table["image_id"])
    rows = {split: np.flatnonzero(table["split"] == split) for split in ("train", "test")}
    return SimpleNamespace(  # type: ignore[return-value]
        table=table, findings=[], labels=np.zeros((len(table), 0)), rows=rows.__getitem__
    )


def test_numbers_are_those_of_the_column(plain: Store) -> None:
    found = metadata.numbers(plain)
    assert found["column"].unique().tolist() == ["age"]
    for row in found.to_dict("records"):
        ages = plain.table.loc[plain.table["split"] == row["split"], "age"]
        expected = ages.quantile([0, 0.25, 0.5, 0.75, 1]).tolist()
        assert [row[q] for q in ("low", "q1", "median", "q3", "high")] == expected
        assert (row["known"], row["unknown"]) == (len(ages), 0)


def test_categories_count_unknown_ones(plain: Store) -> None:
    found = metadata.categories(plain)
    assert found["images"].sum() == 2 * len(plain.table)
    views = found[found["column"] == "view"]
    assert set(views["value"]) == {"PA", ""}
    assert views.loc[views["value"] == "PA", "share"].tolist() == [1, 1, 1]
    assert views.loc[views["value"] == "", "images"].sum() == plain.table["view"].isna().sum()


def test_words_that_differ_everywhere_are_named_but_not_shown(plain: Store) -> None:
    assert metadata.unshown(plain) == ["note"]
    assert "note" not in set(metadata.categories(plain)["column"])


def test_text_of_many_numbers_is_numbers() -> None:
    store = fake(pd.DataFrame({"follow_up": [str(n) for n in range(40)], "split": "train"}))
    store.table.loc[20:, "split"] = "test"
    store = fake(store.table)
    assert metadata.number_columns(store)["follow_up"].tolist() == list(range(40))


def test_standardised_difference_in_closed_form() -> None:
    train, test = np.arange(50.0), np.arange(50.0) + 10
    table = pd.DataFrame({"age": [*train, *test], "split": ["train"] * 50 + ["test"] * 50})
    found = metadata.differences(fake(table)).iloc[0]
    assert found["difference"] == pytest.approx(-10 / train.std())
    assert found["notable"]  # 0.69, and three standard errors are 0.6


@pytest.mark.parametrize(("repeated", "notable"), [(1, True), (10, False)])
def test_patients_count_not_images(repeated: int, notable: bool) -> None:
    age = [*np.arange(100.0), *(np.arange(100.0) + 25)]
    table = pd.DataFrame({"age": age, "split": ["train"] * 100 + ["test"] * 100})
    table["patient_id"] = np.arange(200) // repeated
    assert bool(metadata.differences(fake(table))["notable"].iloc[0]) is notable


def test_a_word_of_one_split_only() -> None:
    table = pd.DataFrame(
        {"view": ["AP"] * 30 + ["PA"] * 30, "split": ["train"] * 30 + ["test"] * 30}
    )
    found = metadata.differences(fake(table))
    assert found["difference"].tolist() == [np.inf, -np.inf]
    assert found["notable"].all()


def test_a_shift_between_splits_is_noticed(plain: Store) -> None:
    found = metadata.differences(plain)
    notable = found[found["notable"]]
    assert notable["what"].unique().tolist() == ["age"]
    assert set(zip(notable["split"], notable["other_split"], strict=True)) == {
        ("train", "test"),
        ("val", "test"),
    }
