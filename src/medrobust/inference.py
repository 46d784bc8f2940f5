"""Logits of many images, clean or attacked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medrobust.attacks import Attack
from medrobust.attacks.gradient import frozen, full_precision
from medrobust.data.batches import load_images, load_labels
from medrobust.data.store import Store
from medrobust.progress import Count
from medrobust.randomness import image_keys, key, numbers_of


@dataclass(frozen=True)
class Cases:
    """Images of a store to be evaluated, in batches."""

    store: Store
    rows: NDArray[np.int64]
    batch_size: int
    device: torch.device
    seed: int = 0

    def batches(
        self, attack: str, share: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor, Tensor]]:
        """Rows, images, labels and the keys of an attack's random starts.

        The keys depend on (seed, attack, image_id): not on batches, order or other images.
        `share` is (number, count): from that batch on, one of so many.
        """
        number, count = share
        step = self.batch_size
        for first in range(number * step, len(self.rows), count * step):
            rows = self.rows[first : first + self.batch_size]
            ids = self.store.table["image_id"].iloc[rows].tolist()
            keys = image_keys(key(self.seed, "evaluate", attack), numbers_of(ids))
            yield (
                rows,
                load_images(self.store, rows, self.device),
                load_labels(self.store, rows, self.device),
                keys.to(self.device),
            )


def logits_of(
    networks: Mapping[str, nn.Module],
    cases: Cases,
    *,
    attack: Attack | None = None,
    attacked: nn.Module | None = None,
    name: str = "",
    progress: Count = lambda done: None,
) -> dict[str, Tensor]:
    """Logits (N, K) of every network for the same images, on the CPU.

    Args:
        networks: by branch.
        cases: which images.
        attack: None for clean images.
        attacked: the network the attack is made on.
        name: of the attack; with the seed it decides the random starts.
        progress: is told how many images are done.
    """
    found: dict[str, list[Tensor]] = {branch: [] for branch in networks}
    for rows, images, labels, keys in cases.batches(name):
        if attack is not None and attacked is not None:
            images = attack(attacked, images, labels, keys)
        for branch, network in networks.items():
            with frozen(network):
                found[branch].append(full_precision(network(images)).cpu())
        progress(len(rows))
    return {branch: torch.cat(parts) for branch, parts in found.items()}


def probabilities(logits: Tensor, task: str) -> Tensor:
    """(N, K) probabilities."""
    return logits.softmax(1) if task == "exclusive" else logits.sigmoid()
