"""From a data set to a store: plan, read, write.

The images are read in worker processes and written in the order of the index, and what is
written is noted in a journal, so that neither the number of workers nor an interruption changes
a byte of the store.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust import __version__
from medrobust.data.convert import Image, Reject, convert
from medrobust.data.copies import find_copies
from medrobust.data.isolation import Failure, Limits, isolated_map
from medrobust.data.journal import Journal, Record
from medrobust.data.plan import Plan, make_plan
from medrobust.data.selection import Selection
from medrobust.data.settings import Duplicates, Settings, Size
from medrobust.data.similar import near_duplicates
from medrobust.data.source import Card, Source
from medrobust.data.splits import SPLITS, Fractions
from medrobust.data.store import VERSION, Store, StoreInfo, combined_checksum, open_store
from medrobust.data.table import GEOMETRY, label_columns, verify
from medrobust.data.writer import StoreWriter, checksums_of, without
from medrobust.errors import MedrobustError
from medrobust.files import refuse_existing, resumable_folder, write_csv, write_json

Progress = Callable[[int, int], None]

DARK = 0.25
"""Stores whose brightest pixel is below this share of the range get a warning."""
FIRST = ["image_id", "patient_id", "split", "source", "file"]


def prepare(
    source: Source,
    out: Path,
    *,
    size: Size,
    bits: Literal[8, 16] = 8,
    keep_aspect: bool = False,
    splits: Fractions = (0.7, 0.1, 0.2),
    seed: int = 0,
    max_rejects: float = 0.01,
    duplicates: Duplicates | None = None,
    selection: Selection | None = None,
    salt: bytes | None = None,
    workers: int = 0,
    limits: Limits | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Store:
    """Write the store of a data set to the folder `out` and open it; see `Settings`.

    An interrupted call (crash, interruption, full disk) leaves a hidden folder beside `out`; the
    same call goes on from there, and the store is the same to the byte.

    Args:
        source: the data set.
        out: a new folder.
        size, bits, keep_aspect, splits, seed, max_rejects, duplicates: see `Settings`.
        selection: which rows and labels of the data set; all if not given.
        salt: patients, images and files are then named by hashes keyed with it.
        workers: processes that read; 0 reads in this one, without limits.
        limits: what reading one image may cost.
        options: with what the data set was made, to be kept in store.json.
        progress: called with (images read, images in all) after each image.
        overwrite: replaces an older store at `out`, only once the new one is complete.
        name: what predictions and reports call the store; the data set's own name if not given.

    Raises:
        MedrobustError: the table or the images do not pass (nothing is left behind then), or
            the disk is full.
    """
    settings = Settings(size, bits, keep_aspect, splits, seed, max_rejects, duplicates)
    selection = selection or Selection()
    card = _card(source, name)
    _refuse_foreign(out, overwrite)
    plan = make_plan(source, selection, settings, salt)
    with resumable_folder(out, plan.fingerprint(card, settings), overwrite) as work:
        reader = partial(convert, source=source, settings=settings)
        records = _read(plan, work, settings, reader, workers, limits or Limits(), progress)
        described = asdict(settings) | {"selection": asdict(selection), "options": options or {}}
        _finish(work / "result", plan, records, card, settings, described)
    return open_store(out)


def _read(
    plan: Plan,
    work: Path,
    settings: Settings,
    reader: Callable[[Mapping[str, Any]], Image | Reject],
    workers: int,
    limits: Limits,
    progress: Progress | None,
) -> list[Record]:
    """Read the rows that the journal does not speak of yet; return what became of each row."""
    files, total = plan.table["file"], len(plan.rows)
    with Journal(work / "journal.jsonl") as journal:
        for number, record in enumerate(journal.records):
            if record.reason:
                plan.rejects.add(files[number], record.reason)
        rows = _rows(plan.rows, len(journal.records))
        with StoreWriter(work / "result", settings.bits, journal) as writer:
            for found in isolated_map(reader, rows, workers=workers, limits=limits):
                if isinstance(found, Failure):
                    found = Reject(found.reason)
                record = writer.add(found)
                done = len(journal.records)
                if record.reason:
                    plan.rejects.add(files[done - 1], record.reason)
                if progress is not None:
                    progress(done, total)
        return journal.records


def _rows(table: pd.DataFrame, start: int) -> Iterator[dict[str, Any]]:
    columns = list(table.columns)
    for values in table.iloc[start:].itertuples(index=False, name=None):
        yield dict(zip(columns, values, strict=True))


def _finish(
    folder: Path,
    plan: Plan,
    records: list[Record],
    card: Card,
    settings: Settings,
    described: dict[str, Any],
) -> None:
    """Write everything but the images, which are there."""
    kept = [record for record in records if not record.reason]
    stored = _stored_table(plan.table, records)
    policy = settings.duplicates or ("stop" if plan.split_here else "report")
    copies = find_copies(stored, [record.digest for record in kept], policy)
    if copies.dropped.any():
        _drop(folder, kept, copies.dropped)
        kept = [record for record, gone in zip(kept, copies.dropped, strict=True) if not gone]
        stored = stored[~copies.dropped].reset_index(drop=True)
    warnings = plan.warnings + verify(stored, plan.task)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    near, notes = near_duplicates(images, [record.look for record in kept], stored, copies.table)
    warnings += _image_warnings(kept, len(plan.rejects.rows), settings) + copies.warnings + notes
    tables = {
        "table.csv": stored,
        "duplicates.csv": copies.table,
        "near_duplicates.csv": near,
        "rejects.csv": plan.rejects.table(),
    } | _truth_tables(stored["image_id"], kept)
    for name, table in tables.items():
        write_csv(folder / name, table)
    counts = _counts(stored) | {
        "rejects": len(plan.rejects.rows),
        "duplicate_groups": copies.table["group"].nunique(),
        "near_duplicate_pairs": len(near),
    }
    info = _info(card, plan, stored, kept[0].shape, settings, described, counts, warnings, folder)
    write_json(folder / "store.json", info.model_dump(mode="json"))


def _refuse_foreign(out: Path, overwrite: bool) -> None:
    refuse_existing(out, overwrite)
    if out.is_dir() and any(out.iterdir()) and not (out / "store.json").is_file():
        raise MedrobustError(f"{out} is not a store and is not overwritten: choose another place")


def _stored_table(table: pd.DataFrame, records: list[Record]) -> pd.DataFrame:
    """Return the rows of the store, with the numbers learned from their images."""
    kept = [number for number, record in enumerate(records) if not record.reason]
    axes = "zyx"[1 - len(records[kept[0]].shape) :]
    columns = ["native_low", "native_high"]
    columns += [f"{quantity}_{axis}" for quantity in GEOMETRY for axis in axes]
    numbers = pd.DataFrame([records[number].numbers for number in kept], columns=columns)
    rows = table.iloc[kept].reset_index(drop=True)
    labels = rows[label_columns(rows)].astype(float)
    metadata = rows.drop(columns=[*FIRST, *labels.columns])
    return pd.concat([rows[FIRST], metadata, numbers, labels], axis=1)


def _drop(folder: Path, kept: list[Record], dropped: NDArray[np.bool_]) -> None:
    """Remove images, and their masks, from the arrays."""
    # Arrays and journal disagree from here on: an interruption now means to start anew.
    (folder.parent / "plan").unlink()
    without(folder / "images.npy", dropped)
    if (folder / "masks.npy").exists():
        without(folder / "masks.npy", dropped.repeat([len(record.masks) for record in kept]))


def _truth_tables(image_ids: "pd.Series[str]", kept: list[Record]) -> dict[str, pd.DataFrame]:
    """masks.csv and boxes.csv, where there is something to say."""
    pairs = list(zip(image_ids, kept, strict=True))
    masks = [(image_id, *mask) for image_id, record in pairs for mask in record.masks]
    boxes = [(image_id, *box) for image_id, record in pairs for box in record.boxes]
    tables = {}
    if masks:
        table = pd.DataFrame(masks, columns=["image_id", "name", "kind"])
        table.insert(0, "mask", range(len(table)))
        tables["masks.csv"] = table
    if boxes:
        axes = (len(boxes[0]) - 2) // 2
        columns = ["image_id", "finding", *"xyz"[:axes], *"whd"[:axes]]
        tables["boxes.csv"] = pd.DataFrame(boxes, columns=columns)
    return tables


def _image_warnings(kept: list[Record], rejects: int, settings: Settings) -> list[str]:
    notes = Counter(part for record in kept for part in record.note.split("; ") if part)
    warnings = [f"{count} images: {note}" for note, count in notes.items()]
    if rejects:
        warnings.append(f"{rejects} images could not be used (rejects.csv)")
    brightest = max(record.brightest for record in kept) / (2**settings.bits - 1)
    if brightest < DARK:
        warnings.append(
            f"no pixel is brighter than x = {brightest:.3f}: the images use little of the window"
        )
    return warnings


def _counts(stored: pd.DataFrame) -> dict[str, int]:
    per_split = {split: int((stored["split"] == split).sum()) for split in SPLITS}
    return {"images": len(stored), "patients": stored["patient_id"].nunique(), **per_split}


def _card(source: Source, name: str | None) -> Card:
    if name is None:
        return source.card
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise MedrobustError(f"name: expected letters, digits, - and _, found {name!r}")
    return replace(source.card, name=name)


def _info(
    card: Card,
    plan: Plan,
    stored: pd.DataFrame,
    shape: tuple[int, ...],
    settings: Settings,
    described: dict[str, Any],
    counts: dict[str, int],
    warnings: list[str],
    folder: Path,
) -> StoreInfo:
    windows = stored[["native_low", "native_high"]].drop_duplicates().to_numpy(float)
    checksums = checksums_of(folder)
    return StoreInfo(
        version=VERSION,
        medrobust=__version__,
        **asdict(card),
        task=plan.task,
        patients=plan.patients,
        channels=shape[0],
        size=shape[1:],
        bits=settings.bits,
        window=(windows[0, 0], windows[0, 1]) if len(windows) == 1 else None,
        counts=counts,
        left_out=plan.left_out,
        settings=described,
        warnings=warnings,
        checksums=checksums,
        checksum=combined_checksum(checksums),
    )
