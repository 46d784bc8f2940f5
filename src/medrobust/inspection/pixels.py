"""What the pixel values are like: levels, clipping, spacing, windows."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.store import Store
from medrobust.inspection.labels import splits_of

IMAGES = 2000
"""Read at most, of all splits together."""
PIXELS = 200_000_000
"""Read at most, which takes about a second."""
FEWEST = 10
"""Images read of a split whatever their size."""
BINS = 64
SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILES = [f"p{round(100 * share)}" for share in SHARES]


def intensities(store: Store) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stored values as x in [0, 1], of a sample of each split that depends on nothing but N.

    Returns:
        Per split: `images` read, `zero` and `full` (shares of pixels of exactly 0 and 1), `flat`
        (images of one value), `mean, sd`, and percentiles `p1` ... `p99`.
        Per split and bin: `x` (its middle), `share` of the pixels.
    """
    table, bins = [], []
    splits = splits_of(store)
    for split in splits:
        rows = _sample(store, split, len(splits))
        levels, flat = _levels(store.images, rows)
        table.append((split, len(rows), *_ends(levels), flat, *_moments(levels)))
        shares = _binned(levels)
        bins += [(split, (place + 0.5) / BINS, share) for place, share in enumerate(shares)]
    columns = ["split", "images", "zero", "full", "flat", "mean", "sd", *QUANTILES]
    return pd.DataFrame(table, columns=columns), pd.DataFrame(bins, columns=["split", "x", "share"])


def spacing(store: Store) -> pd.DataFrame:
    """Millimetres per store pixel: `axis, known, low, q1, median, q3, high`."""
    rows = []
    for axis in "zyx":
        if f"spacing_{axis}" in store.table:
            known = store.table[f"spacing_{axis}"].dropna().to_numpy(np.float64)
            if len(known):
                quantiles = np.quantile(known, [0, 0.25, 0.5, 0.75, 1])
                rows.append((axis, len(known), *quantiles))
    return pd.DataFrame(rows, columns=["axis", "known", "low", "q1", "median", "q3", "high"])


def windows(store: Store) -> pd.DataFrame:
    """Native values of x = 0 and x = 1, the commonest first: `low, high, images`."""
    pairs = store.table.groupby(["native_low", "native_high"], dropna=False).size()
    table = pairs.rename("images").reset_index()
    table.columns = pd.Index(["low", "high", "images"])
    return table.sort_values(["images", "low"], ascending=[False, True], ignore_index=True)


def _sample(store: Store, split: str, splits: int) -> NDArray[np.int64]:
    rows = store.rows(split)
    affordable = min(IMAGES, PIXELS // int(np.prod(store.images.shape[1:]))) // splits
    count = min(len(rows), max(FEWEST, affordable))
    chosen = np.random.default_rng(0).choice(rows, count, replace=False)
    return np.sort(chosen)


def _levels(
    images: NDArray[np.unsignedinteger], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """How often each level is there, and how many images have one level only."""
    size = np.iinfo(images.dtype).max + 1
    levels, flat = np.zeros(size, dtype=np.int64), 0
    for row in rows:
        found = np.bincount(images[row].ravel(), minlength=size)
        levels += found
        flat += int(np.count_nonzero(found) == 1)
    return levels, flat


def _ends(levels: NDArray[np.int64]) -> tuple[float, float]:
    total = levels.sum()
    return float(levels[0] / total), float(levels[-1] / total)


def _moments(levels: NDArray[np.int64]) -> tuple[float, ...]:
    x = np.linspace(0, 1, len(levels))
    shares = levels / levels.sum()
    mean = float(shares @ x)
    deviation = float(np.sqrt(shares @ (x - mean) ** 2))
    at = np.searchsorted(levels.cumsum(), np.array(SHARES) * levels.sum())
    return mean, deviation, *x[at].tolist()


def _binned(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = levels.reshape(BINS, -1).sum(axis=1) / levels.sum()
    return shares
