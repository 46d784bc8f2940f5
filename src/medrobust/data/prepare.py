"""From a data set to a store: index, verify, split, convert, write."""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from medrobust import __version__
from medrobust.data.convert import Converted, Progress, Settings, convert_images
from medrobust.data.source import Card, Source, Task
from medrobust.data.splits import SPLITS, Fractions, assign_splits
from medrobust.data.store import VERSION, Store, StoreInfo, combined_checksum, open_store
from medrobust.data.table import GEOMETRY, label_columns, verify
from medrobust.data.writer import checksums_of
from medrobust.errors import MedrobustError
from medrobust.files import new_folder, refuse_existing, write_csv, write_json

DARK = 0.25
"""Stores whose brightest pixel is below this share of the range get a warning."""
FIRST = ["image_id", "patient_id", "split", "source", "file"]


def prepare(
    source: Source,
    out: Path,
    *,
    size: int | None,
    bits: Literal[8, 16] = 8,
    keep_aspect: bool = False,
    splits: Fractions = (0.7, 0.1, 0.2),
    seed: int = 0,
    max_rejects: float = 0.01,
    duplicates: Literal["report", "refuse"] = "report",
    progress: Progress | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Store:
    """Write the store of a data set to the folder `out` and open it; see `convert.Settings`.

    `progress` is called with (images read, images in all) after each image. `overwrite`
    replaces an older store at `out`, only once the new one is complete. `name` is what files of
    predictions and reports call the store; the data set's own name if not given.

    Raises `MedrobustError` when the table or the images do not pass, or the disk is full;
    nothing is left behind then.
    """
    settings = Settings(size, bits, keep_aspect, splits, seed, max_rejects, duplicates)
    card = _card(source, name)
    _refuse_foreign(out, overwrite)
    table = source.index().reset_index(drop=True)
    patients, warnings = _fill_patients(table)
    warnings += assign_splits(table, splits, seed)
    verify(table, source.task)
    with new_folder(out, overwrite) as folder:
        converted = convert_images(source, table, folder, settings, progress)
        stored = _stored_table(table, converted)
        warnings += verify(stored, source.task)
        copies = _duplicates(stored, converted.hashes)
        warnings += _image_warnings(converted, settings) + _copy_warnings(copies, settings)
        write_csv(folder / "table.csv", stored)
        write_csv(folder / "duplicates.csv", copies)
        rejects = pd.DataFrame(converted.rejects, columns=["file", "reason"])
        write_csv(folder / "rejects.csv", rejects)
        counts = _counts(stored) | {
            "rejects": len(rejects),
            "duplicate_groups": copies["group"].nunique(),
        }
        info = _info(
            card, source.task, settings, stored, converted.shape, patients, counts, warnings, folder
        )
        write_json(folder / "store.json", info.model_dump(mode="json"))
    return open_store(out)


def _refuse_foreign(out: Path, overwrite: bool) -> None:
    refuse_existing(out, overwrite)
    if out.is_dir() and any(out.iterdir()) and not (out / "store.json").is_file():
        raise MedrobustError(f"{out} is not a store and is not overwritten: choose another place")


def _fill_patients(table: pd.DataFrame) -> tuple[Literal["known", "unknown"], list[str]]:
    """Let an image without a patient be its own; say how many there are."""
    if "patient_id" not in table or table["patient_id"].isna().all():
        table["patient_id"] = table["image_id"]
        return "unknown", ["patients are unknown: every image counts as its own patient"]
    missing = int(table["patient_id"].isna().sum())
    table["patient_id"] = table["patient_id"].fillna(table["image_id"])
    text = f"{missing} images without a patient count as their own patient"
    return "known", [text] if missing else []


def _stored_table(table: pd.DataFrame, converted: Converted) -> pd.DataFrame:
    """Return the rows of the store, with the numbers learned from their images."""
    axes = "zyx"[1 - len(converted.shape) :]
    columns = ["native_low", "native_high"]
    columns += [f"{quantity}_{axis}" for quantity in GEOMETRY for axis in axes]
    numbers = pd.DataFrame(converted.numbers, columns=columns)
    kept = table.iloc[converted.kept].reset_index(drop=True)
    labels = kept[label_columns(kept)].astype(float)
    metadata = kept.drop(columns=[*FIRST, *labels.columns])
    return pd.concat([kept[FIRST], metadata, numbers, labels], axis=1)


def _duplicates(stored: pd.DataFrame, hashes: list[bytes]) -> pd.DataFrame:
    """Return the images whose native pixels equal another's, one group after the other."""
    digests = pd.Series(hashes, dtype=object)
    copies = stored[["image_id", "patient_id", "split", *label_columns(stored)]]
    copies = copies[digests.duplicated(keep=False).to_numpy()]
    groups, _ = pd.factorize(digests[copies.index])
    copies.insert(0, "group", groups)
    return copies.sort_values("group", kind="stable")


def _copy_warnings(copies: pd.DataFrame, settings: Settings) -> list[str]:
    groups = copies.groupby("group")
    crossing = int((groups["split"].nunique() > 1).sum())
    text = f"{crossing} groups of identical images lie in more than one split"
    if crossing and settings.duplicates == "refuse":
        raise MedrobustError(f"{text}: remove the copies, or let duplicates be reported only")
    labels = groups[label_columns(copies)].nunique(dropna=False)
    differing = int((labels > 1).any(axis=1).sum())
    return [f"{text} (duplicates.csv)"] * bool(crossing) + [
        f"{differing} groups of identical images have different labels (duplicates.csv)"
    ] * bool(differing)


def _image_warnings(converted: Converted, settings: Settings) -> list[str]:
    warnings = [f"{count} images: {note}" for note, count in converted.notes.items()]
    if converted.rejects:
        warnings.append(f"{len(converted.rejects)} images could not be used (rejects.csv)")
    brightest = converted.brightest / (2**settings.bits - 1)
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
    task: Task,
    settings: Settings,
    stored: pd.DataFrame,
    shape: tuple[int, ...],
    patients: Literal["known", "unknown"],
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
        task=task,
        patients=patients,
        channels=shape[0],
        size=shape[1:],
        bits=settings.bits,
        window=(windows[0, 0], windows[0, 1]) if len(windows) == 1 else None,
        counts=counts,
        settings=asdict(settings),
        warnings=warnings,
        checksums=checksums,
        checksum=combined_checksum(checksums),
    )
