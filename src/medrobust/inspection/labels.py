"""How often each finding is there, and which findings come together."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.splits import SPLITS
from medrobust.data.store import Store

NORMAL = 1.959963984540054
"""The normal distribution's 97.5th percentile."""


def splits_of(store: Store) -> list[str]:
    """The splits that have images, in order."""
    there = set(store.table["split"].unique())
    return [split for split in SPLITS if split in there]


def wilson(positive: int, known: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, J Am Stat Assoc 22:209, 1927); (0, 1) if nothing is known.

    It takes images for independent, and is too narrow where patients have several.
    """
    if known == 0:
        return 0.0, 1.0
    share, z2 = positive / known, NORMAL**2
    middle = (share + z2 / (2 * known)) / (1 + z2 / known)
    spread = share * (1 - share) / known + z2 / (4 * known**2)
    half = NORMAL * np.sqrt(spread) / (1 + z2 / known)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def prevalence(store: Store) -> pd.DataFrame:
    """Per finding and split: `positive, negative, unknown, share` of the known, `low, high`."""
    rows = []
    for split in splits_of(store):
        labels = store.labels[store.rows(split)]
        for column, finding in enumerate(store.findings):
            positive = int((labels[:, column] == 1).sum())
            negative = int((labels[:, column] == 0).sum())
            known = positive + negative
            share = positive / known if known else np.nan
            counts = (positive, negative, len(labels) - known)
            rows.append((finding, split, *counts, share, *wilson(positive, known)))
    columns = ["finding", "split", "positive", "negative", "unknown", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def together(store: Store) -> pd.DataFrame:
    """Per pair of different findings, over all splits: `finding, other, both, known, share`.

    `known` counts the images with `finding` in which `other` is known, `share` is both of those.
    No rows for exclusive classes and for a single finding.
    """
    columns = ["finding", "other", "both", "known", "share"]
    findings = store.findings
    if store.info.task == "exclusive" or len(findings) < 2:
        return pd.DataFrame(columns=columns)
    positive = (store.labels == 1).astype(np.float64)
    both = positive.T @ positive
    known = positive.T @ (~np.isnan(store.labels)).astype(np.float64)
    pairs = [(i, j) for i in range(len(findings)) for j in range(len(findings)) if i != j]
    rows = [
        (findings[i], findings[j], int(both[i, j]), int(known[i, j]), _ratio(both, known, i, j))
        for i, j in pairs
    ]
    return pd.DataFrame(rows, columns=columns)


def split_sizes(store: Store) -> pd.DataFrame:
    """Per split: `split, images, patients`."""
    groups = store.table.groupby("split")
    sizes = pd.DataFrame({"images": groups.size(), "patients": groups["patient_id"].nunique()})
    return sizes.loc[splits_of(store)].rename_axis("split").reset_index()


def images_per_patient(store: Store) -> pd.DataFrame:
    """Per split: `split, one, median, most`: share of patients with one image; images of each."""
    if store.info.patients == "unknown":
        return pd.DataFrame(columns=["split", "one", "median", "most"])
    images = store.table.groupby(["split", "patient_id"]).size()
    rows = []
    for split in splits_of(store):
        counts = images[images.index.get_level_values("split") == split].to_numpy()
        one, median = float((counts == 1).mean()), float(np.median(counts))
        rows.append((split, one, median, int(counts.max())))
    return pd.DataFrame(rows, columns=["split", "one", "median", "most"])


def _ratio(both: NDArray[np.float64], known: NDArray[np.float64], i: int, j: int) -> float:
    return float(both[i, j] / known[i, j]) if known[i, j] else float("nan")
