import numpy as np
import pytest
from scipy.stats import binomtest

from medrobust.data.store import Store
from medrobust.inspection import labels


@pytest.mark.parametrize(("positive", "known"), [(0, 5), (3, 10), (10, 10), (120, 5000)])
def test_wilson_is_scipys(positive: int, known: int) -> None:
    expected = binomtest(positive, known).proportion_ci(method="wilson")
    assert labels.wilson(positive, known) == pytest.approx((expected.low, expected.high))


def test_nothing_known_says_nothing() -> None:
    assert labels.wilson(0, 0) == (0, 1)


def test_prevalence_counts_every_image(plain: Store) -> None:
    table = labels.prevalence(plain)
    assert table[["positive", "negative", "unknown"]].sum().sum() == 3 * len(plain.table)
    test = table[(table["split"] == "test") & (table["finding"] == "Nodule")].iloc[0]
    known = plain.table.loc[plain.table["split"] == "test", "label:Nodule"]
    assert (test["positive"], test["negative"]) == ((known == 1).sum(), (known == 0).sum())
    assert test["share"] == known.mean()
    assert table["unknown"].sum() == 4


def test_together_is_the_table_counted(plain: Store) -> None:
    table = labels.together(plain)
    assert len(table) == 6
    for finding, other, both, known, share in table.itertuples(index=False, name=None):
        having = plain.table[plain.table[f"label:{finding}"] == 1][f"label:{other}"]
        assert (both, known) == ((having == 1).sum(), having.notna().sum())
        assert share == pytest.approx(both / known)


def test_exclusive_classes_never_come_together(any_store: Store) -> None:
    several = any_store.info.task == "multilabel" and len(any_store.findings) > 1
    assert labels.together(any_store).empty is not several


def test_sizes_and_images_per_patient(plain: Store) -> None:
    sizes = labels.split_sizes(plain)
    assert sizes["split"].tolist() == ["train", "val", "test"]
    assert sizes["images"].sum() == len(plain.table) == 59
    assert sizes["patients"].sum() == 30
    found = labels.images_per_patient(plain)
    assert found["most"].tolist() == [2, 2, 2]
    assert np.flatnonzero(found["one"]).tolist() == [2]  # the patient of the unusable image


def test_unknown_patients_have_no_images(make_store) -> None:
    assert labels.images_per_patient(make_store("colour16")).empty
