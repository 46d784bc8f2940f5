from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.data.table import (
    class_numbers,
    examples,
    findings_of,
    label_columns,
    read_table,
    verify,
)
from medrobust.errors import MedrobustError


@pytest.fixture
def table(tiny) -> pd.DataFrame:
    return tiny().index()


def problems(table: pd.DataFrame, task="multilabel") -> str:
    with pytest.raises(MedrobustError) as caught:
        verify(table, task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_table_passes_in_silence(table: pd.DataFrame) -> None:
    assert verify(table, "multilabel") == []
    assert label_columns(table) == ["label:odd"]
    assert findings_of(table) == ["odd"]


def test_all_problems_come_at_once(table: pd.DataFrame) -> None:
    table.loc[1, "image_id"] = "000"
    table.loc[2, "label:odd"] = -1
    table.loc[3, "split"] = "dev"
    text = problems(table)
    assert text.startswith("4 problems in the table of images: ")
    assert "image_id is not unique: 000" in text
    assert "label:odd must be 0, 1 or empty (unknown), found -1.0 at 002" in text
    assert "split must be train, val or test, found dev" in text
    assert "1 patients are in more than one split, such as that of rows " in text


@pytest.mark.parametrize("value", ["a/b", "a\\b", "a\nb", "\x00"])
def test_image_ids_must_do_for_file_names(table: pd.DataFrame, value: str) -> None:
    table.loc[0, "image_id"] = value
    assert problems(table) == (
        "1 problem in the table of images: image_id may not contain '/', '\\' or control "
        f"characters: {value!r}"
    )


def test_empty_ids_and_splits(table: pd.DataFrame) -> None:
    table.loc[[0, 1], "image_id"] = ["", None]
    table.loc[4, "split"] = None
    text = problems(table)
    assert "image_id is empty in 2 rows" in text
    assert "split is empty for 004" in text


@pytest.mark.parametrize("value", [2, 0.5, "yes", np.inf])
def test_labels_must_be_known_words(table: pd.DataFrame, value) -> None:
    table["label:odd"] = table["label:odd"].astype(object)
    table.loc[7, "label:odd"] = value
    assert f"label:odd must be 0, 1 or empty (unknown), found {value!r} at 007" in problems(table)


@pytest.mark.parametrize("name", ["a/b", "a:b", " ", "branch", "Macro", "ODD", "a\n"])
def test_findings_need_names_that_files_and_tables_can_bear(table, name: str) -> None:
    table[f"label:{name}"] = table["label:odd"]
    assert f"finding {name!r} needs another name" in problems(table)


def test_two_findings_of_one_name(table: pd.DataFrame) -> None:
    twice = pd.concat([table, table[["label:odd"]]], axis=1)
    assert "finding 'odd' needs another name" in problems(twice)


def test_no_findings(table: pd.DataFrame) -> None:
    assert "there is no label column" in problems(table.drop(columns="label:odd"))


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_an_empty_split_is_named(table: pd.DataFrame, name: str) -> None:
    assert problems(table[table["split"] != name].reset_index(drop=True)) == (
        f"1 problem in the table of images: split {name} has no images"
    )


def test_an_external_test_set_needs_no_train(table: pd.DataFrame) -> None:
    table["split"] = "test"
    assert verify(table, "multilabel") == [
        "every image is in test: an external test set, not one to train on"
    ]


@pytest.mark.parametrize(("split", "where"), [(None, "train"), ("test", "test")])
def test_nothing_to_learn_from(table: pd.DataFrame, split: str | None, where: str) -> None:
    table["split"] = split or table["split"]
    table["label:odd"] = np.where(table["split"] == where, 0.0, table["label:odd"])
    assert problems(table) == (
        "1 problem in the table of images: no finding has both a positive and a negative image "
        f"in {where}"
    )


def test_what_cannot_be_scored_is_a_warning(table: pd.DataFrame) -> None:
    table["label:rare"] = np.where(table["split"] == "val", 0.0, np.nan)
    assert verify(table, "multilabel") == [
        "rare has no negative image in test",
        "rare has no positive image in test",
        "rare has no negative image in train",
        "rare has no positive image in train",
        "rare has no positive image in val",
    ]


@pytest.mark.parametrize("pair", [(1, 1), (0, 0), (np.nan, 1)])
def test_exclusive_labels_are_one_hot(table: pd.DataFrame, pair) -> None:
    table["label:even"] = 1 - table["label:odd"]
    table.loc[5, ["label:odd", "label:even"]] = [np.nan, np.nan]
    assert verify(table, "exclusive") == []
    table.loc[9, ["label:odd", "label:even"]] = pair
    assert problems(table, "exclusive").endswith(
        "exclusive labels must be one 1 and else 0, or all empty: not so at 009"
    )


def test_exclusive_needs_two(table: pd.DataFrame) -> None:
    assert "exclusive labels need at least two columns" in problems(table, "exclusive")


def test_no_rows(table: pd.DataFrame) -> None:
    assert "it has no rows" in problems(table.iloc[:0])


def test_examples() -> None:
    assert examples([1, 2]) == "1, 2"
    assert examples(range(9)) == "0, 1, 2, 3, 4 and 4 more"


def test_text_stays_text_and_numbers_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("image_id,sex,age,scale_y,label:a\n007,NA,61,0.1234567890123456,\n1e5,,,3,1\n")
    table = read_table(path)
    assert table["image_id"].tolist() == ["007", "1e5"]
    assert table["sex"][0] == "NA"
    assert table["sex"].isna().tolist() == [False, True]
    assert table["age"].tolist()[0] == 61
    assert table["scale_y"][0] == 0.1234567890123456
    assert np.isnan(table["label:a"][0])


@pytest.mark.parametrize("text", ["", "image_id,label:a\n1,yes\n"])
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(MedrobustError, match=r"table\.csv cannot be read as a table: "):
        read_table(tmp_path / "table.csv")


def test_class_numbers() -> None:
    nan = np.nan
    single = np.array([[1], [0], [nan]], np.float32)
    assert class_numbers(single, "multilabel", "x").tolist() == [1, 0, -1]
    exclusive = np.array([[0, 1, 0], [1, 0, 0], [nan] * 3], np.float32)
    assert class_numbers(exclusive, "exclusive", "x").tolist() == [1, 0, -1]
    with pytest.raises(MedrobustError, match=r"^train\.balanced: expected exclusive classes or a"):
        class_numbers(exclusive, "multilabel", "train.balanced")
