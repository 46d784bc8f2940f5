"""What there is to know of a store before a network is trained on it, as plain tables."""

from dataclasses import dataclass

import pandas as pd

from medrobust.data.store import Store, StoreInfo
from medrobust.data.table import read_table
from medrobust.inspection import labels, metadata, pixels, truth
from medrobust.report.trust import Trust, duplicates, near_duplicates, trust

EXAMPLES = 3


@dataclass(frozen=True)
class Inspection:
    """Tables with a row per what their first columns name; see the functions that fill them."""

    info: StoreInfo
    findings: list[str]
    sizes: pd.DataFrame
    """See `labels.split_sizes`."""
    per_patient: pd.DataFrame
    """See `labels.images_per_patient`."""
    prevalence: pd.DataFrame
    """See `labels.prevalence`."""
    together: pd.DataFrame
    """See `labels.together`."""
    numbers: pd.DataFrame
    """See `metadata.numbers`."""
    categories: pd.DataFrame
    """See `metadata.categories`."""
    unshown: list[str]
    """See `metadata.unshown`."""
    differences: pd.DataFrame
    """See `metadata.differences`."""
    intensities: pd.DataFrame
    """See `pixels.intensities`."""
    histogram: pd.DataFrame
    """See `pixels.intensities`."""
    spacing: pd.DataFrame
    """See `pixels.spacing`."""
    windows: pd.DataFrame
    """See `pixels.windows`."""
    trust: Trust
    duplicates: pd.DataFrame
    """See `report.trust.duplicates`."""
    near: pd.DataFrame
    """See `report.trust.near_duplicates`."""
    rejects: pd.DataFrame
    """`reason, files, examples`, the commonest first."""
    truths: pd.DataFrame
    """See `truth.truths`."""

    @property
    def splits(self) -> list[str]:
        """The splits that have images."""
        return [str(split) for split in self.sizes["split"]]


def inspect_store(store: Store) -> Inspection:
    """Look through the tables of a store, and through a sample of its images."""
    levels, histogram = pixels.intensities(store)
    return Inspection(
        info=store.info,
        findings=store.findings,
        sizes=labels.split_sizes(store),
        per_patient=labels.images_per_patient(store),
        prevalence=labels.prevalence(store),
        together=labels.together(store),
        numbers=metadata.numbers(store),
        categories=metadata.categories(store),
        unshown=metadata.unshown(store),
        differences=metadata.differences(store),
        intensities=levels,
        histogram=histogram,
        spacing=pixels.spacing(store),
        windows=pixels.windows(store),
        trust=trust(store),
        duplicates=duplicates(store),
        near=near_duplicates(store),
        rejects=_rejects(store),
        truths=truth.truths(store),
    )


def _rejects(store: Store) -> pd.DataFrame:
    file = store.path / "rejects.csv"
    rows = read_table(file) if file.exists() else pd.DataFrame(columns=["file", "reason"])
    groups = rows.groupby("reason", sort=False)["file"]
    table = pd.DataFrame({"files": groups.size(), "examples": groups.agg(_first)})
    return table.sort_values("files", ascending=False, kind="stable").reset_index()


def _first(files: "pd.Series[str]") -> str:
    return ", ".join(files.head(EXAMPLES))
