"""A few images of a split to look at, chosen before any result is known."""

import hashlib
import heapq
from collections.abc import Collection
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medrobust.data.store import Store
from medrobust.data.vocabulary import same_finding

NEGATIVES = 2


def gallery_rows(store: Store, split: str, per_finding: int = 4) -> NDArray[np.int64]:
    """Row numbers of up to `per_finding` positives of each finding, then two images without any.

    Among the positives those with a mask or a box of the finding come first; otherwise the order
    is that of a hash of the image id, so that the choice depends on no outcome and on no row
    order. No row comes twice. Raises `MedrobustError` if the split is empty.
    """
    rows = store.rows(split)
    labels = store.labels[rows]
    chosen: list[int] = []
    for column, finding in enumerate(store.findings):
        positive = rows[labels[:, column] == 1]
        chosen += first_cases(store, positive, per_finding, _outlined(store, finding))
    negative = rows[np.nansum(labels, axis=1) == 0]
    chosen += first_cases(store, negative, NEGATIVES)
    return np.array(list(dict.fromkeys(chosen)), dtype=np.int64)


def stratified_rows(store: Store, split: str, count: int) -> NDArray[np.int64]:
    """`count` rows of a split, ascending, with the same share of every pattern of labels.

    Shares are rounded by largest remainders; where there are no more patterns than rows, each has
    at least one. Within a pattern the order is that of a hash of the image id, as above.
    """
    rows = store.rows(split)
    if count >= len(rows):
        return rows
    labels = np.nan_to_num(store.labels[rows], nan=2)
    _, pattern, sizes = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    chosen: list[int] = []
    for number, quota in enumerate(_quotas(sizes, count)):
        chosen += first_cases(store, rows[pattern.ravel() == number], quota)
    return np.array(sorted(chosen), dtype=np.int64)


def _outlined(store: Store, finding: str) -> Collection[int]:
    """Rows that have a mask of the finding; those that have a box of it, where none has a mask."""
    masks = store.truth(finding)
    if masks or store.boxes is None:
        return masks
    same = store.boxes["finding"].map(partial(same_finding, finding)).astype(bool)
    images = set(store.boxes["image_id"][same])
    return set(np.flatnonzero(store.table["image_id"].isin(images)).tolist())


def _quotas(sizes: NDArray[np.int64], count: int) -> list[int]:
    """How many of `count` each group gets, in proportion to its size."""
    least = int(len(sizes) <= count)
    exact = (count - least * len(sizes)) * sizes / sizes.sum()
    quotas = np.minimum(np.floor(exact).astype(int) + least, sizes)
    for group in np.argsort(np.floor(exact) - exact, kind="stable"):
        if quotas.sum() < count and quotas[group] < sizes[group]:
            quotas[group] += 1
    return [int(quota) for quota in quotas]


def first_cases(
    store: Store, rows: NDArray[np.int64], count: int, preferred: Collection[int] = ()
) -> list[int]:
    """The first `count` of these rows by a hash of the image id, `preferred` ones before others."""
    ids = store.table["image_id"].to_numpy()

    def rank(row: int) -> tuple[bool, bytes]:
        return row not in preferred, hashlib.blake2b(str(ids[row]).encode()).digest()

    return heapq.nsmallest(count, rows.tolist(), key=rank)
