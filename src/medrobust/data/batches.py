"""From a store to batches of images in [0, 1]."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medrobust.data.store import Store
from medrobust.randomness import image_keys, key, uniform
from medrobust.regimes import Batch

_IN_MEMORY = 8 * 2**30
"""Bytes up to which a split is kept in the device's memory as a whole."""


def load_images(store: Store, rows: NDArray[np.int64], device: torch.device | str) -> Tensor:
    """(N, C, ...) float32 in [0, 1] of these rows."""
    return _unit(_to_device(store.pixels(rows), device), store)


def load_labels(store: Store, rows: NDArray[np.int64], device: torch.device | str) -> Tensor:
    """(N, K) float32 in {0, 1}, NaN = unknown."""
    return torch.from_numpy(store.labels[rows]).to(device)


def channel_statistics(store: Store, rows: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over (at most 4,000 of) the rows, in [0, 1]."""
    some = rows[:: -(-len(rows) // 4000)]
    sums = torch.zeros(3, store.images.shape[1], dtype=torch.float64)
    for first in range(0, len(some), 64):
        images = load_images(store, some[first : first + 64], "cpu").transpose(0, 1).flatten(1)
        values = images.double()
        ones = torch.ones_like(values)
        sums += torch.stack([ones.sum(1), values.sum(1), values.square().sum(1)])
    count, total, squares = sums
    mean = total / count
    spread = ((squares - total * mean) / (count - 1)).clamp(min=0).sqrt()
    return mean.tolist(), spread.clamp(min=1e-3).tolist()


@dataclass(frozen=True)
class TrainingBatches:
    """Batches of a split in an order of (seed, epoch).

    What does not fill a batch is left out of that epoch (batch norm needs full batches); the
    next epoch's order leaves out others. A split smaller than a batch is one batch.
    """

    store: Store
    rows: NDArray[np.int64]
    batch_size: int
    seed: int
    device: torch.device
    whole: Tensor | None
    """The raw pixels of all rows on the device, where they fit."""

    def __len__(self) -> int:
        return max(1, len(self.rows) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches; their `keys` belong to the attack."""
        order = self._order(epoch)
        for step in range(len(self)):
            yield self._batch(order[step * self.batch_size : (step + 1) * self.batch_size], epoch)

    def _order(self, epoch: int) -> Tensor:
        numbers = torch.from_numpy(self.rows)
        lots = uniform(image_keys(key(self.seed, "order", epoch), numbers), (2,)).double()
        return torch.argsort(lots[:, 0] + lots[:, 1] * 2.0**-23)  # 46 bits: no ties

    def _batch(self, positions: Tensor, epoch: int) -> Batch:
        rows = self.rows[positions.numpy()]
        if self.whole is None:
            pixels = _to_device(self.store.pixels(rows), self.device)
        else:
            pixels = self.whole[positions.to(self.device)]
        keys = image_keys(key(self.seed, "attack", epoch), torch.from_numpy(rows))
        return Batch(
            _unit(pixels, self.store),
            load_labels(self.store, rows, self.device),
            keys.to(self.device),
            torch.from_numpy(rows).to(self.device),
        )


def training_batches(
    store: Store,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    on_device: bool,
) -> TrainingBatches:
    """Batches of the training split, which stays in the device's memory where it fits."""
    rows = store.rows("train")
    size = len(rows) * store.images[0].nbytes
    whole = None
    if on_device and size <= _IN_MEMORY:
        whole = _to_device(store.pixels(rows), device)
    return TrainingBatches(store, rows, batch_size, seed, device, whole)


def _to_device(pixels: NDArray[np.generic], device: torch.device | str) -> Tensor:
    if pixels.dtype == np.uint16:  # which PyTorch can hardly compute with
        pixels = pixels.astype(np.int32)
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device)


def _unit(pixels: Tensor, store: Store) -> Tensor:
    return pixels.to(torch.float32) / float(np.iinfo(store.images.dtype).max)
