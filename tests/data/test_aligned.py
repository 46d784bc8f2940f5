import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medrobust.data.aligned import align
from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.phantom import Phantom
from medrobust.errors import MedrobustError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Findings consolidation, effusion, nodule."""
    source = Phantom(30, 32, 0, ("consolidation", "effusion", "nodule"))
    return prepare(source, tmp_path_factory.mktemp("aligned") / "store", size=None)


def test_the_same_findings_need_nothing(store: Store) -> None:
    aligned = align(store, store.findings, "multilabel")
    assert aligned.store is store
    assert (aligned.missing, aligned.notes) == ((), ())


def test_aliases_another_order_and_what_is_left_out(store: Store) -> None:
    aligned = align(store, ["Edema", "Pleural Effusion", "Consolidation"], "multilabel")
    assert aligned.store.findings == ["Edema", "Pleural Effusion", "Consolidation"]
    assert np.isnan(aligned.store.labels[:, 0]).all()
    assert np.array_equal(aligned.store.labels[:, 1:], store.labels[:, [1, 0]])
    assert aligned.missing == ("Edema",)
    assert aligned.notes == (
        "left out, since the store has no labels of them: Edema",
        "left out, since the model does not know them: nodule",
    )
    assert aligned.store.checksum == store.checksum
    assert np.array_equal(aligned.store.images, store.images)


def test_masks_are_found_by_any_name(store: Store) -> None:
    aligned = align(store, ["Pleural Effusion"], "multilabel").store
    truth = aligned.truth("Pleural Effusion")
    assert truth
    assert truth.keys() == store.truth("effusion").keys()
    assert aligned.truth("Cardiomegaly") == {}


def test_it_stays_so_in_another_process(store: Store) -> None:
    aligned = align(store, ["Pleural Effusion"], "multilabel").store
    again = pickle.loads(pickle.dumps(aligned))
    assert again.findings == ["Pleural Effusion"]
    assert np.array_equal(again.labels, aligned.labels)
    assert len(pickle.dumps(aligned)) < aligned.images.nbytes


def test_nothing_shared(store: Store) -> None:
    text = (
        rf"^expected a finding that model and store share: the model has Edema; {store.path} has "
        r"consolidation, effusion, nodule$"
    )
    with pytest.raises(MedrobustError, match=text):
        align(store, ["Edema"], "multilabel")


def test_exclusive_classes_must_be_the_same_in_any_order(store: Store) -> None:
    info = store.info.model_copy(update={"task": "exclusive"})
    exclusive = replace(store, info=info)
    turned = align(exclusive, ["Nodule", "Effusion", "consolidation"], "exclusive")
    assert np.array_equal(turned.store.labels, store.labels[:, [2, 1, 0]])
    assert turned.notes == ()
    with pytest.raises(MedrobustError, match="expected the same exclusive classes in model and"):
        align(exclusive, ["nodule", "effusion"], "exclusive")


def test_a_very_name_goes_before_an_alias(tmp_path: Path) -> None:
    class Both(Phantom):
        def index(self):
            return super().index().assign(**{"label:Pleural Effusion": 0.0})

    source = Both(30, 32, 0, ("effusion",))
    both = prepare(source, tmp_path / "store", size=None)
    for name, column in (("effusion", 0), ("Pleural Effusion", 1)):
        aligned = align(both, [name], "multilabel").store
        assert np.array_equal(aligned.labels[:, 0], both.labels[:, column])
