import numpy as np
import pandas as pd
import pytest

from medrobust.data.selection import Selection, balance, select
from medrobust.errors import MedrobustError

U = np.nan


def table(count: int = 400) -> pd.DataFrame:
    number = np.arange(count)
    names = [f"i{n:03d}" for n in number]
    return pd.DataFrame(
        {
            "image_id": names,
            "patient_id": [f"p{n // 2}" for n in number],
            "split": np.array(["train", "val", "test", "train"])[number // 2 % 4],
            "source": "made",
            "file": names,
            "sex": np.array(["F", "M", ""])[number % 3],
            "view": np.array(["PA", "AP", "lateral", ""])[number % 4],
            "label:Edema": np.array([1.0, 0.0, -1.0, U, 0.0])[number % 5],
            "label:Pleural Effusion": np.array([-1.0, 1.0, 0.0])[number % 3],
        }
    )


def exclusive(count: int = 90) -> pd.DataFrame:
    classes = np.array([0, 1, 2, 0, 0, 1])[np.arange(count) % 6]
    rows = table(count).drop(columns=["label:Edema", "label:Pleural Effusion"])
    return rows.assign(**{f"label:{n}": (classes == n).astype(float) for n in range(3)})


def chosen(**settings):
    return select(table(), "multilabel", Selection(**settings), 0)


def refusal(rows: pd.DataFrame, task: str = "multilabel", **settings) -> str:
    with pytest.raises(MedrobustError) as caught:
        select(rows, task, Selection(**settings), 0)
    return str(caught.value)


def test_by_default_all_stays_and_uncertain_is_unknown() -> None:
    rows, task, notes, left_out = chosen()
    assert task == "multilabel"
    assert left_out == {}
    assert notes == ["214 uncertain labels count as unknown"]
    assert rows["label:Edema"].isna().sum() == 160
    assert rows.drop(columns=rows.filter(like="label:")).equals(
        table().drop(columns=table().filter(like="label:"))
    )


def test_uncertain_policies_per_finding() -> None:
    rows, _, notes, _ = chosen(uncertain="zeros", uncertain_of={"oedema": "ones"})
    before = table()
    assert (rows["label:Edema"][before["label:Edema"] == -1] == 1).all()
    assert (rows["label:Pleural Effusion"][before["label:Pleural Effusion"] == -1] == 0).all()
    assert notes == [
        "80 uncertain labels count as positive",
        "134 uncertain labels count as negative",
    ]


def test_findings_by_any_name_in_the_order_asked() -> None:
    rows, *_ = chosen(findings=("effusion", "Edema"))
    assert rows.filter(like="label:").columns.tolist() == ["label:Pleural Effusion", "label:Edema"]
    assert refusal(table(), findings=("Edma",)) == (
        "there is no finding 'Edma', did you mean 'Edema'? there are Edema, Pleural Effusion"
    )


def test_views_and_what_they_leave_out() -> None:
    rows, _, _, left_out = chosen(views=("frontal",))
    assert set(rows["view"]) == {"PA", "AP"}
    assert left_out == {"view is lateral": 100, "view is unknown": 100}
    assert set(chosen(views=("pa", "Lateral"))[0]["view"]) == {"PA", "lateral"}
    assert refusal(table(), views=("oblique",)) == (
        "no image has view 'oblique': there are AP, PA, lateral"
    )
    assert refusal(table().drop(columns="view"), views=("PA",)) == (
        "the data set does not know the views of its images"
    )


def test_a_fraction_is_of_patients_nested_and_does_not_depend_on_the_order() -> None:
    some, more = (set(chosen(fraction=f)[0]["patient_id"]) for f in (0.2, 0.5))
    assert some < more
    assert 20 < len(some) < 60
    assert 75 < len(more) < 125
    backwards = table().iloc[::-1].reset_index(drop=True)
    again, *_ = select(backwards, "multilabel", Selection(fraction=0.2), 0)
    assert set(again["patient_id"]) == some
    assert (again.groupby("patient_id").size() == 2).all()
    other, _, _, left_out = select(table(), "multilabel", Selection(fraction=0.2), 1)
    assert set(other["patient_id"]) != some
    assert left_out == {"not in the 0.2 of the patients": 400 - len(other)}


def test_derived_labels_replace_the_others_unless_asked_for() -> None:
    rows, *_ = chosen(labels={"female": "sex:F", "both": "Effusion & sex:F"})
    assert rows.filter(like="label:").columns.tolist() == ["label:female", "label:both"]
    np.testing.assert_array_equal(rows["label:female"][:3], [1, 0, U])
    kept, *_ = chosen(labels={"female": "sex:F"}, findings=("Edema",))
    assert kept.filter(like="label:").columns.tolist() == ["label:Edema", "label:female"]
    assert refusal(table(), labels={"x": "sexx:F"}).startswith(
        "label x=sexx:F: there is no column 'sexx': there are image_id, patient_id, split, "
    )


def test_groups_as_exclusive_classes() -> None:
    labels = {"woman": "sex:F", "man": "sex:M"}
    rows, task, *_ = chosen(labels=labels, exclusive=True)
    assert task == "exclusive"
    np.testing.assert_array_equal(
        rows[["label:woman", "label:man"]].to_numpy()[:3], [[1, 0], [0, 1], [U, U]]
    )


def test_some_of_several_exclusive_classes() -> None:
    rows, task, _, left_out = select(exclusive(), "exclusive", Selection(findings=("2", "0")), 0)
    assert task == "exclusive"
    assert rows.filter(like="label:").columns.tolist() == ["label:2", "label:0"]
    assert (rows.filter(like="label:").sum(axis=1) == 1).all()
    assert left_out == {"class is not one of those asked for": 30}


def test_own_split_forgets_the_data_sets() -> None:
    assert "split" not in chosen(own_split=True)[0]


def test_nothing_left() -> None:
    only = table(4).assign(view="")
    only.loc[0, "view"] = "PA"
    assert refusal(only, views=("PA",), fraction=1e-9) == (
        "nothing is left: view is unknown, not in the 1e-09 of the patients"
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"uncertain": "maybe"}, "uncertain labels: expected zeros, ones, ignore, found 'maybe'"),
        ({"uncertain_of": {"Edema": "x"}}, "uncertain labels: expected zeros, ones, ignore, fou"),
        ({"fraction": 0}, "fraction must be above 0 and at most 1, got 0"),
        ({"fraction": 1.5}, "fraction must be above 0 and at most 1, got 1.5"),
    ],
)
def test_selections_that_cannot_be(settings, text: str) -> None:
    with pytest.raises(MedrobustError, match=text):
        Selection(**settings)


def test_balance_thins_train_only_to_the_rarest_class() -> None:
    rows, left_out = balance(exclusive(), "exclusive", 0)
    before, after = exclusive(), rows
    train = after[after["split"] == "train"].filter(like="label:").sum()
    rarest = before[before["split"] == "train"].filter(like="label:").sum().min()
    assert train.tolist() == [rarest] * 3
    for split in ("val", "test"):
        assert after[after["split"] == split].equals(
            before[before["split"] == split].set_axis(after.index[after["split"] == split])
        )
    assert left_out == {"more of a class than of the rarest (balance)": len(before) - len(after)}


def test_balance_does_not_depend_on_the_order_and_leaves_unknown_out() -> None:
    rows = table()[["image_id", "split", "label:Edema"]].replace(-1.0, U)
    kept, left_out = balance(rows, "multilabel", 0)
    again, _ = balance(rows.iloc[::-1].reset_index(drop=True), "multilabel", 0)
    assert set(kept["image_id"]) == set(again["image_id"])
    unknown = int((rows["label:Edema"].isna() & (rows["split"] == "train")).sum())
    assert left_out["class is unknown (balance)"] == unknown
    train = kept[kept["split"] == "train"]["label:Edema"]
    assert (train == 1).sum() == (train == 0).sum() == len(train) / 2


def test_what_cannot_be_balanced() -> None:
    with pytest.raises(MedrobustError, match=r"found 2 findings that may occur together$"):
        balance(table(), "multilabel", 0)
    with pytest.raises(MedrobustError, match="expected at least two classes in train"):
        balance(table()[["image_id", "split"]].assign(**{"label:x": 1.0}), "multilabel", 0)
