"""In which order an epoch of training sees its images."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medrobust.data.source import Task
from medrobust.data.table import class_numbers
from medrobust.errors import MedrobustError
from medrobust.randomness import image_keys, key, uniform


@dataclass(frozen=True)
class Order:
    """The images of an epoch, one after the other."""

    places: Tensor
    """(M,) places in the list of rows."""
    repeats: Tensor
    """(M,) how often a place came before in this epoch."""


def shuffled(seed: int, epoch: int, rows: NDArray[np.int64]) -> Order:
    """Each row once, in an order of (seed, epoch)."""
    places = _shuffle(key(seed, "order", epoch), torch.from_numpy(rows))
    return Order(places, torch.zeros_like(places))


def balanced(seed: int, epoch: int, rows: NDArray[np.int64], classes: NDArray[np.int64]) -> Order:
    """As many images of each class, about as many in all as there are rows of known class.

    A class is drawn in whole shuffled rounds: images of a rare one come again, those of a
    frequent one wait for another epoch. `classes`: (N,) numbers of each row, -1 unknown (never
    drawn).
    """
    names = np.unique(classes[classes >= 0])
    share = int((classes >= 0).sum()) // len(names)
    places, repeats = [], []
    for name in names.tolist():
        members = np.flatnonzero(classes == name)
        rounds = -(-share // len(members))
        drawn = [
            torch.from_numpy(members)[
                _shuffle(key(seed, "order", epoch, number), torch.from_numpy(rows[members]))
            ]
            for number in range(rounds)
        ]
        places.append(torch.cat(drawn)[:share])
        repeats.append(torch.arange(rounds).repeat_interleave(len(members))[:share])
    mixed = _shuffle(key(seed, "mix", epoch), torch.arange(share * len(names)))
    return Order(torch.cat(places)[mixed], torch.cat(repeats)[mixed])


def classes_of(labels: NDArray[np.float32], task: Task) -> NDArray[np.int64]:
    """(N,) class numbers of labels (N, K); see `table.class_numbers`.

    Raises:
        MedrobustError: several findings that may occur together have no classes; or there are
            fewer than two classes, and nothing to balance.
    """
    classes = class_numbers(labels, task, "train.balanced")
    found = len(np.unique(classes[classes >= 0]))
    if found < 2:
        what = "one class" if found else "unknown labels only"
        raise MedrobustError(
            f"train.balanced: expected training images of two classes or more, found {what}"
        )
    return classes


def _shuffle(purpose: int, numbers: Tensor) -> Tensor:
    lots = uniform(image_keys(purpose, numbers), (2,)).double()
    return torch.argsort(lots[:, 0] + lots[:, 1] * 2.0**-23)  # 46 bits: no ties
