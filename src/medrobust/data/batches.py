"""From a store to batches of images in [0, 1]."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medrobust.data.order import Order, balanced, classes_of, shuffled
from medrobust.data.store import Store
from medrobust.randomness import image_keys, key
from medrobust.regimes import Batch

_IN_MEMORY = 8 * 2**30
"""Bytes up to which a split is kept in a GPU's memory as a whole."""
_AT_ONCE = 2**17
"""Pixels that are converted at once: what stays in a processor's cache."""


def load_images(store: Store, rows: NDArray[np.int64], device: torch.device | str) -> Tensor:
    """(N, C, ...) float32 in [0, 1] of these rows."""
    if torch.device(device).type == "cpu":
        return torch.from_numpy(_converted(store, rows))
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
    next epoch's order leaves out others. A split smaller than a batch is one batch. With
    `classes` an epoch has as many images of each; see `order.balanced`.
    """

    store: Store
    rows: NDArray[np.int64]
    batch_size: int
    seed: int
    device: torch.device
    whole: Tensor | None
    """The raw pixels of all rows on a GPU, where they fit."""
    classes: NDArray[np.int64] | None = None
    """(N,) of each row."""
    share: tuple[int, int] = (0, 1)
    """(number, count): of each batch that one of so many equal parts."""

    def __len__(self) -> int:
        return max(1, self._drawn // self.batch_size)

    @property
    def images(self) -> int:
        """Of a whole batch."""
        return min(self.batch_size, self._drawn)

    @property
    def _drawn(self) -> int:
        """Images of an epoch before what does not fill a batch is left out."""
        if self.classes is None:
            return len(self.rows)
        known = self.classes[self.classes >= 0]
        names = len(np.unique(known))
        return len(known) // names * names

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches; their `keys` belong to the attack."""
        order = self._order(epoch)
        number, count = self.share
        size = self.images // count
        for step in range(len(self)):
            first = step * self.batch_size + number * size
            part = slice(first, first + size)
            yield self._batch(order.places[part], order.repeats[part], epoch)

    def _order(self, epoch: int) -> Order:
        if self.classes is None:
            return shuffled(self.seed, epoch, self.rows)
        return balanced(self.seed, epoch, self.rows, self.classes)

    def _batch(self, places: Tensor, repeats: Tensor, epoch: int) -> Batch:
        rows = self.rows[places.numpy()]
        if self.whole is None:
            images = load_images(self.store, rows, self.device)
        else:
            images = _unit(self.whole[places.to(self.device)], self.store)
        # an image that comes again in an epoch is augmented and attacked anew
        numbers = torch.from_numpy(rows) + repeats * len(self.store.table)
        keys = image_keys(key(self.seed, "attack", epoch), numbers)
        labels = load_labels(self.store, rows, self.device)
        return Batch(images, labels, keys.to(self.device), numbers.to(self.device))


def training_batches(
    store: Store,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    on_device: bool,
    balanced: bool = False,
    share: tuple[int, int] = (0, 1),
) -> TrainingBatches:
    """Batches of the training split, which stays in a GPU's memory where it fits.

    On a CPU images are read from the store's file, which the system keeps in memory anyway.
    `share`: see `TrainingBatches`.

    Raises:
        MedrobustError: `balanced`, and several findings that may occur together.
    """
    rows = store.rows("train")
    size = len(rows) * store.images[0].nbytes
    whole = None
    if on_device and device.type != "cpu" and size <= _IN_MEMORY:
        whole = _to_device(store.pixels(rows), device)
    classes = classes_of(store.labels[rows], store.info.task) if balanced else None
    return TrainingBatches(store, rows, batch_size, seed, device, whole, classes, share)


def _converted(store: Store, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Integers as numbers in [0, 1], a few images at a time so that each is still in the cache."""
    pixels = np.empty((len(rows), *store.images.shape[1:]), dtype=np.float32)
    full = np.float32(np.iinfo(store.images.dtype).max)
    step = max(1, _AT_ONCE // max(1, pixels[:1].size))
    for first in range(0, len(rows), step):
        part = pixels[first : first + step]
        part[...] = store.pixels(rows[first : first + step])
        part /= full
    return pixels


def _to_device(pixels: NDArray[np.generic], device: torch.device | str) -> Tensor:
    """The stored integers; those of 16 bits as int16, since PyTorch computes little with uint16."""
    if pixels.dtype == np.uint16:
        pixels = pixels.view(np.int16)
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device)


def _unit(pixels: Tensor, store: Store) -> Tensor:
    """What `_to_device` gave as numbers in [0, 1]."""
    if pixels.dtype == torch.int16:
        pixels = pixels.to(torch.int32) & 0xFFFF
    return pixels.to(torch.float32) / float(np.iinfo(store.images.dtype).max)
