from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medrobust.data.batches import (
    _to_device,
    channel_statistics,
    load_images,
    load_labels,
    training_batches,
)
from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.arrays import Arrays


def make(folder: Path, dtype: type = np.uint8) -> Store:
    number = np.arange(30)
    images = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (30, 6, 5)).astype(dtype)
    labels = np.where(number == 4, np.nan, number % 2)
    split = np.repeat([0, 1, 2], [20, 5, 5])
    np.savez(folder / "a.npz", images=images, labels=labels, split=split)
    bits = 16 if dtype == np.uint16 else 8
    return prepare(Arrays(folder / "a.npz", split="split"), folder / "store", size=None, bits=bits)


def batches(store: Store, **changes: object) -> list[list[int]]:
    settings = {"batch_size": 6, "seed": 0, "device": torch.device("cpu"), "on_device": True}
    made = training_batches(store, **(settings | changes))  # type: ignore[arg-type]
    return [batch.rows.tolist() for batch in made.epoch(0)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_are_the_stores_integers_over_their_range(tmp_path: Path, dtype: type) -> None:
    store = make(tmp_path, dtype)
    rows = np.array([3, 1, 29])
    found = load_images(store, rows, "cpu")
    expected = store.images[rows].astype(np.float64) / np.iinfo(dtype).max
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-7)
    assert found.dtype == torch.float32
    labels = load_labels(store, np.array([4, 5]), "cpu")
    assert torch.isnan(labels[0, 0])
    assert labels[1, 0] == 1


@pytest.mark.parametrize("on_device", [True, False])
def test_an_epoch_is_an_order_of_the_training_images(tmp_path: Path, on_device: bool) -> None:
    store = make(tmp_path)
    made = training_batches(
        store, batch_size=6, seed=0, device=torch.device("cpu"), on_device=on_device
    )
    assert len(made) == 3  # 2 of 20 images are left out
    seen: set[int] = set()
    for epoch in range(6):
        rows = torch.cat([batch.rows for batch in made.epoch(epoch)]).tolist()
        assert len(set(rows)) == 18
        seen |= set(rows)
    assert seen == set(store.rows("train").tolist())
    batch = next(made.epoch(0))
    torch.testing.assert_close(batch.images, load_images(store, batch.rows.numpy(), "cpu"))
    torch.testing.assert_close(
        batch.labels, load_labels(store, batch.rows.numpy(), "cpu"), equal_nan=True
    )


def test_order_depends_on_seed_and_epoch_only(tmp_path: Path) -> None:
    store = make(tmp_path)
    assert batches(store) == batches(store, on_device=False)
    assert batches(store) != batches(store, seed=1)
    made = training_batches(store, batch_size=6, seed=0, device=torch.device("cpu"), on_device=True)
    one, two = (next(made.epoch(epoch)) for epoch in (0, 1))
    assert one.rows.tolist() != two.rows.tolist()
    flat = [row for batch in batches(store) for row in batch]
    assert flat == [row for batch in batches(store, batch_size=9) for row in batch]


def test_an_images_attack_key_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    store = make(tmp_path)

    def keys(size: int, epoch: int) -> dict[int, int]:
        made = training_batches(
            store, batch_size=size, seed=0, device=torch.device("cpu"), on_device=True
        )
        pairs = [(batch.rows.tolist(), batch.keys.tolist()) for batch in made.epoch(epoch)]
        return {row: key for rows, found in pairs for row, key in zip(rows, found, strict=True)}

    small, large = keys(4, 0), keys(10, 0)
    assert all(small[row] == large[row] for row in small.keys() & large.keys())
    assert small[next(iter(small))] != keys(4, 1).get(next(iter(small)))


def test_a_split_smaller_than_a_batch_is_one_batch(tmp_path: Path) -> None:
    assert [len(batch) for batch in batches(make(tmp_path), batch_size=64)] == [20]


def test_channel_statistics(tmp_path: Path) -> None:
    store = make(tmp_path)
    mean, spread = channel_statistics(store, store.rows("train"))
    values = store.images[:20].astype(float) / 255
    assert mean == pytest.approx([values.mean()], abs=1e-6)
    assert spread == pytest.approx([values.std(ddof=1)], abs=1e-6)


def test_balanced_batches(tmp_path: Path) -> None:
    number = np.arange(40)
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5)).astype(np.uint8)
    labels, split = (number % 10 == 0).astype(int), np.repeat([0, 1, 2], [20, 11, 9])
    np.savez(tmp_path / "a.npz", images=images, labels=labels, split=split)
    store = prepare(Arrays(tmp_path / "a.npz", split="split"), tmp_path / "store", size=None)
    settings = {"batch_size": 4, "seed": 0, "device": torch.device("cpu"), "on_device": True}
    made = training_batches(store, **settings, balanced=True)
    assert len(made) == 5
    seen = list(made.epoch(0))
    assert torch.cat([batch.labels for batch in seen]).mean() == 0.5
    numbers = torch.cat([batch.rows for batch in seen])
    keys = torch.cat([batch.keys for batch in seen])
    # the two positives come five times each, every time with random numbers of their own
    assert len(set(numbers.tolist())) == len(set(keys.tolist())) == 20
    assert set((numbers % 40).tolist()) <= set(range(20))
    for batch in seen:
        expected = load_images(store, batch.rows.numpy() % 40, "cpu")
        assert torch.equal(batch.images, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_split_kept_on_a_device_gives_the_same_images(tmp_path: Path, dtype: type) -> None:
    store = make(tmp_path, dtype)
    settings = {"batch_size": 6, "seed": 0, "device": torch.device("cpu"), "on_device": True}
    read = training_batches(store, **settings)
    pixels = store.pixels(read.rows)
    kept = replace(read, whole=_to_device(pixels, "cpu"))
    assert kept.whole is not None
    assert kept.whole.nbytes == pixels.nbytes
    for one, other in zip(read.epoch(0), kept.epoch(0), strict=True):
        assert torch.equal(one.images, other.images)


@pytest.mark.parametrize("shape", [(3, 5, 4), (1, 400, 500), (7, 5, 4)])
def test_conversion_in_parts_is_that_of_the_whole(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, *shape)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(9) % 2, split=np.arange(9) % 3)
    source = Arrays(tmp_path / "a.npz", split="split")
    store = prepare(source, tmp_path / "store", size=None)
    rows = np.array([8, 0, 3, 3])
    exact = torch.from_numpy(store.pixels(rows)).to(torch.float32) / 255.0
    assert torch.equal(load_images(store, rows, "cpu"), exact)
