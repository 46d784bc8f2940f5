import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust.data.splits import (
    SPLITS,
    assign_splits,
    canonical_splits,
    check_fractions,
    split_by_patient,
)
from medrobust.errors import MedrobustError

HABIT = (0.7, 0.1, 0.2)
patients = st.lists(st.text(max_size=4), min_size=1, max_size=50)


@given(patients, st.integers(0, 5), st.randoms())
def test_a_patient_has_one_split_whatever_the_order_and_company(ids, seed, random) -> None:
    alone = {name: split_by_patient(pd.Series([name]), HABIT, seed)[0] for name in ids}
    shuffled = random.sample(ids, len(ids))
    assert [alone[name] for name in shuffled] == list(
        split_by_patient(pd.Series(shuffled), HABIT, seed)
    )


def test_shares_are_those_asked_for() -> None:
    split = split_by_patient(pd.Series(range(20_000)), HABIT, 0)
    shares = [np.mean(split == name) for name in SPLITS]
    # Five standard deviations of a binomial share.
    assert np.allclose(shares, HABIT, atol=5 * np.sqrt(0.25 / 20_000))


def test_the_seed_matters_and_the_split_is_the_same_for_ever() -> None:
    ids = pd.Series(range(12))
    assert "".join(name[1] for name in split_by_patient(ids, HABIT, 0)) == "eeerrrerrrrr"
    assert list(split_by_patient(ids, HABIT, 0)) != list(split_by_patient(ids, HABIT, 1))


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [((1, 0, 0), {"train"}), ((0, 0, 1), {"test"}), ((0.9, 0.1, 0), {"train", "val"})],
)
def test_a_split_without_a_share_is_empty(fractions, expected) -> None:
    assert set(split_by_patient(pd.Series(range(2000)), fractions, 0)) == expected


def table(splits: list[str] | None, count: int = 400) -> pd.DataFrame:
    ids = [f"{number // 2}" for number in range(count)]
    made = pd.DataFrame({"patient_id": ids})
    return made if splits is None else made.assign(split=np.resize(np.repeat(splits, 2), count))


def test_without_a_split_all_patients_are_divided() -> None:
    made = table(None)
    assert assign_splits(made, HABIT, 3) == [
        "split by patient with seed 3: the data set names no split"
    ]
    assert set(made["split"]) == set(SPLITS)
    assert (made.groupby("patient_id")["split"].nunique() == 1).all()


def test_a_missing_val_comes_out_of_train_by_patient() -> None:
    made = table(["train", "train", "test"], 3000)
    before = made["split"].copy()
    assert assign_splits(made, HABIT, 3) == [
        "val was taken from train by patient with seed 3: the data set names none"
    ]
    assert (made["split"] == "test").equals(before == "test")
    share = (made["split"] == "val").sum() / (before == "train").sum()
    assert share == pytest.approx(0.1 / 0.8, abs=0.05)
    assert (made.groupby("patient_id")["split"].nunique() == 1).all()


@pytest.mark.parametrize("splits", [["train", "val", "test"], ["test"], ["train", "val"]])
def test_a_given_split_stays(splits: list[str]) -> None:
    made = table(splits)
    before = made.copy()
    assert assign_splits(made, HABIT, 3) == []
    assert made.equals(before)


def test_the_words_of_data_sets() -> None:
    words = pd.Series([" Training", "VALID", "testing", "val", "", None])
    found = canonical_splits(words, "set")
    assert found[:4].tolist() == ["train", "val", "test", "val"]
    assert found[4:].isna().all()
    with pytest.raises(
        MedrobustError, match=r"^column 'set', data row 2: expected one of train, .*, found 'dev'$"
    ):
        canonical_splits(pd.Series(["train", "dev"]), "set")


@pytest.mark.parametrize("fractions", [(0.5, 0.1, 0.1), (1.2, -0.2, 0), (0.5, 0.5)])
def test_fractions_must_be_shares_of_one(fractions) -> None:
    with pytest.raises(MedrobustError, match=r"expected three fractions .* sum to 1, got \("):
        check_fractions(fractions)
