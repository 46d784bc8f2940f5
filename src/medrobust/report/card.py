"""The data card: what the images are, how many, of whom, and what they look like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.store import Store
from medrobust.report import pictures, text
from medrobust.report.tables import Cell, Group, Row, Table

SPLITS = ("train", "val", "test")
EXAMPLES = 8
SIDE = 160
MOST_VALUES = 6


@dataclass(frozen=True)
class Example:
    """A test image with the findings it is labelled with."""

    picture: str
    caption: str


@dataclass(frozen=True)
class DataCard:
    """What a reader must know of a store before reading a number."""

    facts: Sequence[tuple[str, str]]
    counts: Table
    examples: Sequence[Example]


def data_card(store: Store) -> DataCard:
    """The card of one store."""
    return DataCard(_facts(store), counts_table(store), _examples(store))


def counts_table(store: Store) -> Table:
    """Images, patients, findings and metadata per split."""
    splits = [s for s in SPLITS if (store.table["split"] == s).any()]
    parts = [store.table[store.table["split"] == s] for s in splits]
    labels = [Row(f, [_label_cell(part[f"label:{f}"]) for part in parts]) for f in store.findings]
    about = [
        Row(name.capitalize(), [_metadata_cell(part[name]) for part in parts])
        for name in ("age", "sex", "view")
        if name in store.table and store.table[name].notna().any()
    ]
    return Table(
        "Images per split. For each finding: positive images, their share of the images with a "
        "known label, and how many labels are unknown.",
        ["", *({"train": "Training", "val": "Validation", "test": "Test"}[s] for s in splits)],
        [
            Group("", [_size_row(store, parts), *_patient_rows(store, parts)]),
            Group("Findings", labels),
            *([Group("Who and how", about)] if about else []),
        ],
    )


def image(store: Store, row: int) -> NDArray[np.floating]:
    """One image as the network sees it: (C, H, W) in [0, 1], a volume's middle slice."""
    pixels = store.images[row]
    return pictures.plane(pixels, len(store.info.size)) / np.iinfo(pixels.dtype).max


def positives(store: Store, row: int) -> list[str]:
    """The findings an image is labelled with."""
    return [f for f, y in zip(store.findings, store.labels[row], strict=True) if y == 1]


def _facts(store: Store) -> list[tuple[str, str]]:
    info = store.info
    size = " × ".join(str(n) for n in info.size)
    kind = "volumes" if len(info.size) == 3 else "images"
    colour = "grey" if info.channels == 1 else f"{info.channels} channels"
    task = "one class per image" if info.task == "exclusive" else "findings, any number per image"
    if len(store.findings) == 1:
        task = f"one finding: {store.findings[0]}"
    facts = [
        ("Name", f"{info.title} ({info.name})" if info.title != info.name else info.name),
        ("Source", info.source),
        ("Licence", info.licence),
        ("Citation", info.citation),
        ("Task", task),
        ("Pixels", f"{size}, {colour}, {info.bits} bits ({kind})"),
        ("Patients", "known" if info.patients == "known" else "not known: intervals are per image"),
        ("Caveats", info.caveats),
        ("Checksum", info.checksum[:16]),
    ]
    return [(name, value) for name, value in facts if value]


def _size_row(store: Store, parts: Sequence[pd.DataFrame]) -> Row:
    noun = "Volumes" if len(store.info.size) == 3 else "Images"
    return Row(noun, [Cell(text.count(len(part))) for part in parts])


def _patient_rows(store: Store, parts: Sequence[pd.DataFrame]) -> list[Row]:
    if store.info.patients == "unknown":
        return []
    return [Row("Patients", [Cell(text.count(p["patient_id"].nunique())) for p in parts])]


def _label_cell(labels: "pd.Series[float]") -> Cell:
    positive, known = int(labels.eq(1).sum()), int(labels.notna().sum())
    share = f" ({text.percent(positive / known)})" if known else ""
    unknown = len(labels) - known
    return Cell(f"{positive:,}{share}", f"{unknown:,} unknown" if unknown else "")


def _metadata_cell(values: "pd.Series[str]") -> Cell:
    known = values.dropna()
    missing = len(values) - len(known)
    note = f"{missing:,} unknown" if missing else ""
    if known.empty:
        return Cell(text.DASH, note)
    if pd.api.types.is_numeric_dtype(known):
        low, middle, high = np.quantile(known.to_numpy(float), [0.25, 0.5, 0.75])
        return Cell(f"median {middle:.0f} (quartiles {low:.0f}{text.DASH}{high:.0f})", note)
    shares = known.astype(str).value_counts(normalize=True)
    shown = [f"{name} {text.percent(share)}" for name, share in shares.head(MOST_VALUES).items()]
    return Cell(", ".join(shown), note)


def _examples(store: Store) -> list[Example]:
    return [
        Example(
            pictures.data_uri(pictures.photograph(pictures.fit(image(store, row), SIDE))),
            ", ".join(positives(store, row)) or "no finding",
        )
        for row in _example_rows(store)
    ]


def _example_rows(store: Store) -> list[int]:
    """The first test image of every finding, and the first without any."""
    rows = np.flatnonzero(store.table["split"].eq("test").to_numpy())
    if not rows.size:
        rows = np.arange(len(store.table))
    labels = store.labels[rows]
    firsts = [np.flatnonzero(labels[:, k] == 1)[:1] for k in range(labels.shape[1])]
    without = np.flatnonzero((labels == 0).all(axis=1))[:1]
    chosen = dict.fromkeys(int(rows[i]) for i in np.concatenate([*firsts, without]))
    return list(chosen)[:EXAMPLES]
