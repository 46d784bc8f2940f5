"""What every data set must do, so that `prepare` can trust it."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pandas as pd

from medrobust.data.prepare import prepare
from medrobust.data.selection import Selection
from medrobust.data.source import Picture, Source
from medrobust.data.store import Store
from medrobust.data.table import label_columns

NEEDED = ("image_id", "source", "file")
EASY = {"max_rejects": 0.5, "duplicates": "report", "splits": (0.5, 0.2, 0.3)}
"""So that a tiny tree becomes a store."""


def check_card(source: Source) -> None:
    """It says what it is, and its name may stand in file names."""
    card = source.card
    assert all([card.name, card.title, card.source, card.licence])
    assert card.name.replace("-", "").replace("_", "").isalnum()
    assert source.task in ("multilabel", "exclusive")


def check_index(source: Source, again: Source) -> pd.DataFrame:
    """The same table every time, with ids, files and labels that may be."""
    table = source.index()
    pd.testing.assert_frame_equal(table, source.index())
    pd.testing.assert_frame_equal(table, again.index())
    assert set(NEEDED) <= set(table)
    assert table["image_id"].is_unique
    assert table[list(NEEDED)].notna().all(axis=None)
    assert not table["file"].str.startswith("/").any()
    labels = table[label_columns(table)].to_numpy(float)
    assert labels.shape[1]
    assert np.isin(labels[~np.isnan(labels)], [-1, 0, 1]).all()
    return table


def check_pictures(source: Source, table: pd.DataFrame) -> None:
    """Whole pictures, the same in any order and after a journey to another process."""
    rows = table.to_dict("records")
    pictures = [source.read(row) for row in rows]
    travelled: Source = pickle.loads(pickle.dumps(source))
    for row, picture in reversed(list(zip(rows, pictures, strict=True))):
        check_picture(picture)
        other = travelled.read(row)
        assert np.array_equal(other.pixels, picture.pixels)
        assert (other.low, other.high, other.note) == (picture.low, picture.high, picture.note)


def check_picture(picture: Picture) -> None:
    """Finite pixels, a window, and truth in the picture's own pixels."""
    space = picture.pixels.shape[1:]
    assert picture.pixels.ndim in (3, 4)
    assert np.isfinite(picture.pixels.astype(float)).all()
    assert picture.low != picture.high
    assert picture.spacing is None or len(picture.spacing) == len(space)
    assert all(mask.pixels.shape == space for mask in picture.masks)
    for box in picture.boxes:
        ends = np.add(box.origin, box.extent)
        assert (np.array(box.origin) >= -1e-6).all()
        assert (ends <= np.array(space) + 1e-6).all()


def check_store(source: Source, table: pd.DataFrame, folder: Path) -> None:
    """Stores of any depth; native values come back from what is stored."""
    for bits in (8, 16):
        store = prepare(source, folder / f"small{bits}", size=16, bits=bits, **EASY)
        assert store.images.dtype == f"uint{bits}"
        assert store.images.shape[2:] == (16,) * (store.images.ndim - 2)
        assert (store.table.groupby("patient_id")["split"].nunique() == 1).all()
        assert store.info.counts["rejects"] == 0
    check_native(source, table, prepare(source, folder / "own", size=None, bits=16, **EASY))


def check_native(source: Source, table: pd.DataFrame, store: Store) -> None:
    """native = low + x (high - low), within half a step of the store."""
    rows = {row["image_id"]: row for row in table.to_dict("records")}
    for number, stored in store.table.iterrows():
        picture = source.read(rows[stored["image_id"]])
        low, high = stored["native_low"], stored["native_high"]
        native = low + store.images[number] / 65535.0 * (high - low)
        expected = np.clip(picture.pixels, min(low, high), max(low, high))
        assert np.abs(native - expected).max() <= abs(high - low) / 65535 * 0.51 + 1e-3


def check_rejects(source: Source, broken: str, folder: Path) -> None:
    """A file that cannot be used is rejected, with a reason that can be counted."""
    prepare(source, folder, size=16, selection=Selection(own_split=True), **EASY)
    rejects = pd.read_csv(folder / "rejects.csv")
    assert len(rejects)
    assert rejects["file"].str.contains(Path(broken).stem, regex=False).all()
    assert not rejects["reason"].str.contains(Path(broken).stem, regex=False).any()
    assert not rejects["reason"].str.contains("/", regex=False).any()


def fingerprint(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
