from collections.abc import Callable

import pandas as pd
import pytest
import torch

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.similarity import gram, u_centred
from medrobust.explain.similarity_stage import CKA, write_cka
from medrobust.explain.subject import Subject, open_subject
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]


@pytest.fixture
def subject(dual_run: RunDir, copy_of: Copy) -> Subject:
    return open_subject(copy_of(dual_run), batch_size=16, device="cpu")


@pytest.fixture
def standard(standard_run: RunDir) -> Subject:
    return open_subject(standard_run, device="cpu")


def table(subject: Subject) -> pd.DataFrame:
    found = pd.read_csv(subject.folder / "cka.csv", keep_default_na=False)
    assert list(found) == CKA
    return found


def pairs(found: pd.DataFrame) -> list[tuple[str, ...]]:
    columns = found[["branch", "other_run", "other_branch"]]
    return list(dict.fromkeys(columns.itertuples(index=False, name=None)))


def test_branches_with_each_other(subject: Subject) -> None:
    counted: list[int] = []
    assert write_cka(subject, track=lambda total, title: counted.append) == []
    assert sum(counted) == 16
    found = table(subject)
    assert pairs(found) == [("clean", "", "clean"), ("clean", "", "adv"), ("adv", "", "adv")]
    assert set(found["images"]) == {16}
    own = found[(found["branch"] == found["other_branch"])]
    own = own[own["layer"] == own["other_layer"]]
    assert own["value"].to_numpy() == pytest.approx(1)
    images = subject.images(subject.store.rows("test"))
    with torch.no_grad():
        logits = {name: network(images) for name, network in subject.networks.items()}
    last = found["layer"].iloc[-1]
    one = found[(found["layer"] == last) & (found["other_layer"] == last)]
    between = one[(one["branch"] == "clean") & (one["other_branch"] == "adv")]["value"].item()
    assert last.endswith("fc")
    one, other = (u_centred(gram(logits[branch])) for branch in ("clean", "adv"))
    expected = (one * other).sum() / (one.norm() * other.norm())
    assert between == pytest.approx(expected.item(), abs=1e-6)


def test_another_run_and_rows_that_stay(subject: Subject, standard: Subject) -> None:
    write_cka(subject, layers=["backbone.conv1", "backbone.fc"])
    write_cka(subject, standard, layers=["backbone.fc"])
    found = table(subject)
    assert pairs(found)[3:] == [
        ("clean", "standard/0", "single"),
        ("adv", "standard/0", "single"),
    ]
    assert len(found) == 3 * 4 + 2
    write_cka(subject, layers=["backbone.fc"])
    again = table(subject)
    assert len(again) == 2 + 3
    assert pairs(again)[:2] == pairs(found)[3:]


def test_batches_are_of_nearly_the_same_size(dual_run: RunDir, copy_of: Copy) -> None:
    subject = open_subject(copy_of(dual_run), batch_size=15, device="cpu")
    counted: list[int] = []
    write_cka(subject, images=16, track=lambda total, title: counted.append)
    assert counted == [8, 8]


def test_a_layer_that_never_changes_is_told(subject: Subject) -> None:
    with torch.no_grad():
        for network in subject.networks.values():
            network.get_parameter("backbone.fc.weight").zero_()
    notes = write_cka(subject, layers=["backbone.conv1", "backbone.fc"])
    assert notes == [
        "CKA of clean: backbone.fc and 1 more is not defined: its output never changes"
    ]
    assert (table(subject)["value"] == "").sum() == 3 * 3


def test_bad_input(subject: Subject, standard_run: RunDir, other_store: Store) -> None:
    with pytest.raises(MedrobustError) as caught:
        write_cka(subject, open_subject(standard_run, other_store, device="cpu"))
    assert str(caught.value) == (
        f"CKA: expected both runs to be shown the same store, found {subject.store.path} and "
        f"{other_store.path}; name one for both with --store"
    )
    with pytest.raises(MedrobustError) as caught:
        write_cka(subject, layers=["layer9"])
    text = str(caught.value)
    assert text.startswith("layer: expected modules that images pass, such as backbone.conv1, ")
    assert text.endswith(", backbone.fc, found 'layer9'")
    with pytest.raises(MedrobustError) as caught:
        write_cka(subject, images=2)
    assert str(caught.value) == (
        "CKA: expected at least 4 images in every batch, found 2; take more images or larger "
        "batches"
    )
    assert not subject.folder.exists()
