from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medrobust.attacks import Ball
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.geometry_stage import ALL, GEOMETRY, write_landscape, write_lipschitz
from medrobust.explain.landscape import AXIS
from medrobust.explain.lipschitz import lipschitz_lower_bound
from medrobust.explain.subject import Subject, open_subject
from medrobust.losses import sigmoid_loss
from medrobust.randomness import image_keys, key, numbers_of
from medrobust.rundir import RunDir

Copy = Callable[[RunDir], RunDir]


@pytest.fixture
def subject(dual_run: RunDir, copy_of: Copy) -> Subject:
    return open_subject(copy_of(dual_run), batch_size=3, device="cpu")


def table(subject: Subject) -> pd.DataFrame:
    found = pd.read_csv(subject.folder / "geometry.csv", dtype={"image_id": str})
    assert list(found) == GEOMETRY
    return found


def values(found: pd.DataFrame, branch: str, measure: str) -> "pd.Series[float]":
    chosen = found[(found["branch"] == branch) & (found["measure"] == measure)]
    return chosen.set_index("image_id")["value"]


def surface(subject: Subject, name: str = ALL) -> dict[str, np.ndarray]:
    path = subject.folder / "landscape" / "phantom" / "test" / f"{name}.npz"
    with np.load(path) as file:
        return dict(file)


def test_surfaces_and_what_they_say_per_image(subject: Subject) -> None:
    told: list[tuple[int, str]] = []
    counted: list[int] = []

    def track(total: int, title: str) -> Callable[[int], None]:
        told.append((total, title))
        return counted.append

    write_landscape(subject, images=4, track=track)
    assert told == [(4 * 2 * 21, f"{subject.run.path}: loss surfaces")]
    assert sum(counted) == 4 * 2 * 21
    found, arrays = table(subject), surface(subject)
    ids = list(arrays["image_id"])
    assert float(arrays["eps"]) == pytest.approx(2 / 255)
    assert tuple(arrays["along"]) == tuple(arrays["across"]) == AXIS
    rows = np.array([list(subject.store.table["image_id"]).index(i) for i in ids])
    assert set(subject.store.table["split"].iloc[rows]) == {"test"}
    for branch, network in subject.networks.items():
        losses = arrays[f"loss:{branch}"]
        assert losses.shape == (4, 21, 21)
        with torch.no_grad():
            logits = network(subject.images(rows))
        expected = sigmoid_loss(logits, torch.from_numpy(subject.store.labels[rows]))
        assert np.allclose(losses[:, 10, 10], expected, atol=1e-6)
        assert np.allclose(values(found, branch, "loss")[ids], expected, atol=1e-6)
        rise = losses[:, 15, 10] - losses[:, 10, 10]
        assert np.allclose(values(found, branch, "rise_along_gradient")[ids], rise, atol=1e-6)
        rise = losses[:, 10, 15] - losses[:, 10, 10]
        assert np.allclose(values(found, branch, "rise_along_random")[ids], rise, atol=1e-6)
        norms = [values(found, branch, f"gradient_{name}") for name in ("l1", "l2", "linf")]
        assert (norms[0] >= norms[1]).all()
        assert (norms[1] >= norms[2]).all()
        assert (norms[2] > 0).all()
    assert set(found["finding"]) == {ALL}
    assert set(found["store"]) == {"phantom"}


def test_of_a_finding_there_are_as_many_with_it_as_without(subject: Subject) -> None:
    finding = subject.store.findings[0]
    write_landscape(subject, finding, images=4)
    arrays = surface(subject, finding)
    labels = subject.store.table.set_index("image_id")[f"label:{finding}"][arrays["image_id"]]
    assert sorted(labels) == [0, 0, 1, 1]
    assert set(table(subject)["finding"]) == {finding}


def test_asking_again_replaces_and_asking_otherwise_adds(subject: Subject) -> None:
    write_landscape(subject, images=4)
    first = table(subject)
    write_landscape(subject, images=2)
    second = table(subject)
    assert (len(first), len(second)) == (2 * 6 * 4, 2 * 6 * 2)
    write_landscape(subject, images=2, eps=0.01)
    write_lipschitz(subject, images=2, steps=1)
    third = table(subject)
    assert len(third) == 2 * len(second) + 2 * 2 * 2
    pd.testing.assert_frame_equal(third[: len(second)], second)


def test_lipschitz_bounds(subject: Subject) -> None:
    finding = subject.store.findings[1]
    write_lipschitz(subject, finding, norm="l2", eps=0.2, images=4, steps=3)
    found = table(subject)
    assert set(found["norm"]) == {"l2"}
    assert set(found["eps"]) == {0.2}
    for branch, network in subject.networks.items():
        bounds = values(found, branch, "lipschitz_lower_bound")
        ids = list(bounds.index)
        rows = np.array([list(subject.store.table["image_id"]).index(i) for i in ids])
        keys = image_keys(key(subject.seed, "evaluate", "lipschitz"), numbers_of(ids))
        expected = lipschitz_lower_bound(
            network, subject.images(rows), keys, ball=Ball("l2", 0.2), column=1, steps=3
        )
        np.testing.assert_allclose(bounds, expected, rtol=1e-4)
        with torch.no_grad():
            spread = network(subject.images(rows))[:, 1].numpy().std()
        relative = values(found, branch, "change_in_spreads")
        np.testing.assert_allclose(relative, bounds * 0.2 / spread, rtol=1e-4)


def test_what_the_box_holds_back_is_told(subject: Subject) -> None:
    notes = write_landscape(subject, images=2, eps=0.5)
    told = [note for note in notes if "held back" in note]
    assert [note.partition(":")[0] for note in told] == [
        "landscape, branch clean",
        "landscape, branch adv",
    ]
    assert all(note.endswith("% of the pixels, which can't move out of it") for note in told)


def test_a_loss_without_gradient_is_told(subject: Subject) -> None:
    with torch.no_grad():
        for network in subject.networks.values():
            for parameter in network.parameters():
                parameter.zero_()
    told = [note for note in write_landscape(subject, images=2) if "gradient" in note]
    assert told == [
        f"landscape, branch {branch}: the loss of 2 of 2 images has no gradient at all, so nothing "
        "moves along it"
        for branch in ("clean", "adv")
    ]


@pytest.mark.parametrize("write", [write_landscape, write_lipschitz])
def test_bad_input(write: Callable[..., list[str]], subject: Subject) -> None:
    with pytest.raises(MedrobustError) as caught:
        write(subject, eps=0.0)
    assert str(caught.value) == (
        "eps: expected a number above 0, found 0: a ball of no size has nothing in it to measure"
    )
    with pytest.raises(MedrobustError) as caught:
        write(subject, "gout")
    findings = ", ".join(subject.store.findings)
    assert str(caught.value) == f"finding: expected some of {findings}, found 'gout'"
    assert not subject.folder.exists()


def test_a_radius_of_another_norm(subject: Subject) -> None:
    with pytest.raises(MedrobustError) as caught:
        write_lipschitz(subject, norm="l2")
    assert str(caught.value) == (
        f"eps: expected a radius in l2, found none; {subject.run.path} was trained in linf, whose "
        "radius means something else. Give one"
    )


def test_no_labelled_images(subject: Subject, tiny_store: Store) -> None:
    subject.store.table.loc[:, [f"label:{f}" for f in subject.store.findings]] = np.nan
    with pytest.raises(MedrobustError) as caught:
        write_landscape(subject)
    assert str(caught.value) == (
        f"{tiny_store.path}: expected images with a known label of all findings in split test, "
        "found none"
    )


def test_folders_of_checkpoints(dual_run: RunDir, copy_of: Copy) -> None:
    subject = open_subject(copy_of(dual_run), checkpoint="last", device="cpu")
    write_lipschitz(subject, images=2, steps=1)
    assert Path(subject.folder / "geometry.csv").parent.name == "explain-last"
