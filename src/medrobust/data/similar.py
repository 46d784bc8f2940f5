"""Near duplicates: images that look the same although their pixels differ.

Candidates are pairs with similar perceptual hashes; what decides is the correlation of their
pixels. Films of one kind all look alike, so a pair is only a candidate for a look by eye.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from medrobust.data.geometry import resize

Pairs = NDArray[np.int32]
"""(P, 2): two row numbers, the smaller one first."""

SIDE, WAVES = 32, 9
"""The hash: an image reduced to SIDE x SIDE, and its WAVES x WAVES longest waves."""
MOST_BITS = 8
"""Of 64 that may differ. Re-compression, rescaling, other contrast or a crop by 1 % change up to
6 bits of a chest film; of 1,000 pairs of unrelated films one is as near."""
MOST_CANDIDATES = 2_000_000
MOST_LISTED = 10_000
SIEVES = ((16, 0.02), (32, 0.0))
"""Pixels per side at which candidates are compared, and by how much they may miss the threshold:
most are sieved out by small pictures, which fit in memory."""
TILE = (64, 4096)
"""Hashes compared at once: what the processor's cache holds."""
BATCH = 256
COLUMNS = ["image_id", "other_image_id", "split", "other_split", "correlation"]


def perceptual_hash(image: NDArray[Any]) -> int:
    """64 bits of an image (C, H, W) or the mean slice of a volume (C, D, H, W).

    Images that look alike differ in few bits. A bit says whether one of the 64 longest waves of
    the cosine transform, the mean left out, is above their median (Zauner, "Implementation and
    benchmarking of perceptual image hash functions", 2010), so brightness and contrast do not
    matter. 0 for an image of one value.
    """
    grey = image.reshape(-1, *image.shape[-2:]).mean(axis=0, dtype=np.float32)
    small = resize(grey, (SIDE, SIDE), Image.Resampling.BOX)
    waves = _waves() @ (small - small.mean(dtype=np.float64)) @ _waves().T
    coefficients = waves.ravel()[1 : 1 + 64]
    bits = np.packbits(coefficients > np.median(coefficients))
    return int.from_bytes(bits.tobytes(), "big")


def near_duplicates(
    images: NDArray[Any],
    hashes: Sequence[int],
    table: pd.DataFrame,
    copies: pd.DataFrame,
    threshold: float = 0.99,
) -> tuple[pd.DataFrame, list[str]]:
    """List pairs of images that are nearly the same, but not exactly.

    Args:
        images: (N, C, H, W) or (N, C, D, H, W); only candidates are read.
        hashes: of each image, by `perceptual_hash`.
        table: `image_id` and `split` of each image.
        copies: `group` and `image_id` of identical images; they are not listed again. Of each
            group one image per split is compared with others.
        threshold: the smallest Pearson correlation of the pixels, reduced to at most 32 x 32
            (volumes: 32 x 32 x 32) by area, of a pair that is listed.

    Returns:
        A table of `image_id, other_image_id, split, other_split, correlation`, pairs in different
        splits first, then by correlation; and whether some pairs were not compared or listed
        because there are too many.
    """
    groups = _groups(table, copies)
    pairs, notes = _candidates(np.asarray(hashes, dtype=np.uint64), groups)
    correlation = np.zeros(0)
    for side, slack in SIEVES:
        correlation = _correlations(images, pairs, side)
        kept = correlation >= threshold - slack
        pairs, correlation = pairs[kept], correlation[kept]
    near = _listed(pairs, correlation, table)
    if len(near) > MOST_LISTED:
        notes.append(
            f"{len(near)} pairs of images look nearly the same, of which {MOST_LISTED} are listed"
        )
    return near.head(MOST_LISTED), notes


@cache
def _waves() -> NDArray[np.float64]:
    """(WAVES, SIDE): the rows of the cosine transform of the second kind."""
    places = np.arange(SIDE) + 0.5
    waves: NDArray[np.float64] = np.cos(np.pi / SIDE * np.arange(WAVES)[:, None] * places)
    return waves


def _groups(table: pd.DataFrame, copies: pd.DataFrame) -> NDArray[np.int64]:
    """(N,) number of the group of identical images, -1: no copies, -2: stands back for a copy."""
    groups = np.full(len(table), -1, dtype=np.int64)
    rows = pd.Index(table["image_id"]).get_indexer(pd.Index(copies["image_id"]))
    here, numbers = rows[rows >= 0], copies["group"].to_numpy(np.int64)[rows >= 0]
    groups[here] = numbers
    members = pd.DataFrame({"group": numbers, "split": table["split"].to_numpy()[here]}, here)
    groups[members.index[members.duplicated()]] = -2
    return groups


def _candidates(hashes: NDArray[np.uint64], groups: NDArray[np.int64]) -> tuple[Pairs, list[str]]:
    """Pairs with similar hashes, without pairs of identical images; at most MOST_CANDIDATES."""
    rows = np.flatnonzero(groups != -2)
    found, limit, total = [_no_pairs()], MOST_BITS, 0
    for pairs, bits in _similar(hashes[rows]):
        pairs = rows[pairs].astype(np.int32)
        first, second = groups[pairs].T
        new = (bits <= limit) & ((first != second) | (first == -1))
        found.append(np.column_stack([pairs[new], bits[new]]).astype(np.int32))
        total += int(new.sum())
        while total > MOST_CANDIDATES and limit > 0:
            limit -= 1
            merged = np.concatenate(found)
            found = [merged[merged[:, 2] <= limit]]
            total = len(found[0])
        if total > MOST_CANDIDATES:
            break
    candidates = np.concatenate(found)[:MOST_CANDIDATES, :2]
    return candidates, _limits(limit, total)


def _limits(limit: int, total: int) -> list[str]:
    if total > MOST_CANDIDATES:
        return [
            f"so many images look alike that only {MOST_CANDIDATES} pairs were searched for near "
            "duplicates"
        ]
    if limit < MOST_BITS:
        return [
            "so many images look alike that only pairs whose hashes differ in at most "
            f"{limit} of 64 bits, not {MOST_BITS}, were searched for near duplicates"
        ]
    return []


def _no_pairs() -> NDArray[np.int32]:
    return np.zeros((0, 3), dtype=np.int32)


def _similar(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Pairs (P, 2) of places that differ in at most MOST_BITS bits, and in how many, in parts.

    Every pair is compared: 112,000 images take some 10 s, whatever the hashes are like.
    """
    height, width = TILE
    for top in range(0, len(hashes), height):
        rows = hashes[top : top + height, None]
        for left in range(top, len(hashes), width):
            bits = np.bitwise_count(rows ^ hashes[None, left : left + width])
            near = np.flatnonzero(bits <= MOST_BITS)
            first, second = np.divmod(near, bits.shape[1])
            pairs = np.column_stack([first + top, second + left])
            once = pairs[:, 0] < pairs[:, 1]
            if once.any():
                yield pairs[once], bits.ravel()[near[once]]


def _correlations(images: NDArray[Any], pairs: Pairs, side: int) -> NDArray[np.float64]:
    """Pearson correlation of the pixels of each pair, reduced to at most `side` per axis.

    Images of one value correlate with nothing but images of the same value.
    """
    rows, places = np.unique(pairs, return_inverse=True)
    units = [_unit(images[row], side) for row in rows]
    vectors = np.stack(units) if units else np.zeros((0, 1), np.float16)
    first, second = places.reshape(-1, 2).T
    correlation = np.zeros(len(pairs))
    for start in range(0, len(pairs), BATCH):
        part = slice(start, start + BATCH)
        products = vectors[first[part]].astype(np.float32) * vectors[second[part]]
        correlation[part] = products.sum(axis=1, dtype=np.float64)
    flat = np.array([not vector.any() for vector in vectors], dtype=bool)
    for number in np.flatnonzero(flat[first] & flat[second]):
        one, other = pairs[number]
        correlation[number] = float(np.array_equal(images[one], images[other]))
    return np.minimum(correlation, 1.0)


def _unit(image: NDArray[Any], side: int) -> NDArray[np.float16]:
    """The reduced pixels of all channels without their mean, as a vector of length 1 or 0."""
    shape = tuple(min(side, length) for length in image.shape[1:])
    small = np.stack([resize(channel, shape, Image.Resampling.BOX) for channel in image])
    centred = small.ravel() - small.mean(dtype=np.float64)
    length = np.linalg.norm(centred)
    unit: NDArray[np.float16] = (centred / (length or 1)).astype(np.float16)
    return unit


def _listed(pairs: Pairs, correlation: NDArray[np.float64], table: pd.DataFrame) -> pd.DataFrame:
    ids, splits = table["image_id"].to_numpy(), table["split"].to_numpy()
    first, second = pairs.T
    near = pd.DataFrame(
        {
            "image_id": ids[first],
            "other_image_id": ids[second],
            "split": splits[first],
            "other_split": splits[second],
            "correlation": correlation.round(4),
        },
        columns=COLUMNS,
    )
    order = np.lexsort([second, first, -correlation, splits[first] == splits[second]])
    return near.iloc[order].reset_index(drop=True)
