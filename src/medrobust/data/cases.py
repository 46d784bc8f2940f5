"""A few images of a split to look at, chosen before any result is known."""

import hashlib
import heapq
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from medrobust.data.store import Store

NEGATIVES = 2


def gallery_rows(store: Store, split: str, per_finding: int = 4) -> NDArray[np.int64]:
    """Row numbers of up to `per_finding` positives of each finding, then two images without any.

    Among the positives those with a mask of the finding come first; otherwise the order is that
    of a hash of the image id, so that the choice depends on no outcome and on no row order. No
    row comes twice. Raises `MedrobustError` if the split is empty.
    """
    rows = store.rows(split)
    labels = store.labels[rows]
    chosen: list[int] = []
    for column, finding in enumerate(store.findings):
        positive = rows[labels[:, column] == 1]
        chosen += first_cases(store, positive, per_finding, store.truth(finding))
    negative = rows[np.nansum(labels, axis=1) == 0]
    chosen += first_cases(store, negative, NEGATIVES)
    return np.array(list(dict.fromkeys(chosen)), dtype=np.int64)


def stratified_rows(store: Store, split: str, count: int) -> NDArray[np.int64]:
    """About `count` rows of a split, ascending, with the same share of every pattern of labels.

    Within a pattern the order is that of a hash of the image id, as above, so that a smaller choice
    is part of a larger one's pattern by pattern. A pattern has at least one image.
    """
    rows = store.rows(split)
    if count >= len(rows):
        return rows
    _, pattern = np.unique(np.nan_to_num(store.labels[rows], nan=2), axis=0, return_inverse=True)
    chosen: list[int] = []
    for number in range(pattern.max() + 1):
        same = rows[pattern.ravel() == number]
        chosen += first_cases(store, same, max(1, round(count * len(same) / len(rows))))
    return np.array(sorted(chosen), dtype=np.int64)


def first_cases(
    store: Store, rows: NDArray[np.int64], count: int, preferred: Collection[int] = ()
) -> list[int]:
    """The first `count` of these rows by a hash of the image id, `preferred` ones before others."""
    ids = store.table["image_id"].to_numpy()

    def rank(row: int) -> tuple[bool, bytes]:
        return row not in preferred, hashlib.blake2b(str(ids[row]).encode()).digest()

    return heapq.nsmallest(count, rows.tolist(), key=rank)
