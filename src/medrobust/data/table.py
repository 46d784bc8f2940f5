"""The table of a data set: how it is read, and what must hold before any image is decoded."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.source import Task
from medrobust.data.splits import SPLITS
from medrobust.errors import MedrobustError

LABEL = "label:"
GEOMETRY = ("spacing", "scale", "offset")
NUMBERS = {"age", "native_low", "native_high", *(f"{g}_{axis}" for g in GEOMETRY for axis in "zyx")}
RESERVED = {"image_id", "patient_id", "branch", "macro", "file", "class", "class_margin"}
"""Names of other columns in predictions and metrics, which a finding must not have."""
SHOWN = 5


def label_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of the label columns, in order."""
    return [column for column in table.columns if column.startswith(LABEL)]


def findings_of(table: pd.DataFrame) -> list[str]:
    """Return the names behind `label:`, in order."""
    return [column.removeprefix(LABEL) for column in label_columns(table)]


def read_table(path: Path, numbers: Collection[str] = NUMBERS) -> pd.DataFrame:
    """Read a CSV file of a store: text stays text (patient 007), empty is unknown (NaN).

    Label columns and the columns in `numbers` are float64.
    Raises `MedrobustError` when the file cannot be read so.
    """
    try:
        columns = pd.read_csv(path, nrows=0).columns
        numeric = {name for name in columns if name.startswith(LABEL) or name in numbers}
        return pd.read_csv(
            path,
            dtype={name: np.float64 if name in numeric else str for name in columns},
            keep_default_na=False,
            na_values=[""],
        )
    except (OSError, ValueError) as error:
        raise MedrobustError(f"{path} cannot be read as a table: {error}") from error


def verify(table: pd.DataFrame, task: Task) -> list[str]:
    """Check a whole table, splits included; return what a user should be warned of.

    Raises one `MedrobustError` that lists every problem: image ids that are missing, repeated or
    not usable in file names; findings without a usable name; labels other than 0, 1 and empty;
    exclusive labels that are not one-hot; unknown splits, a patient in two splits, an empty
    split; no finding with a positive and a negative to learn from.
    """
    problems = [
        *_id_problems(table),
        *_finding_problems(findings_of(table)),
        *_split_problems(table),
    ]
    if table.columns.is_unique:
        problems += _label_problems(table)
        problems += _exclusive_problems(table) if task == "exclusive" else []
    problems = problems or _scoring_problems(table)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise MedrobustError(f"{count} in the table of images: " + "; ".join(problems))
    return [*_class_warnings(table), *_split_warnings(table)]


def class_numbers(labels: NDArray[Any], task: Task, option: str) -> NDArray[np.int64]:
    """(N,) class numbers of labels (N, K): the exclusive class, or a finding's 0 and 1; -1 unknown.

    Raises `MedrobustError` that names the `option` when several findings may occur together.
    """
    if task == "multilabel" and labels.shape[1] > 1:
        raise MedrobustError(
            f"{option}: expected exclusive classes or a single finding, found "
            f"{labels.shape[1]} findings that may occur together"
        )
    known = ~np.isnan(labels).any(axis=1)
    numbers = labels.argmax(axis=1) if task == "exclusive" else np.nan_to_num(labels[:, 0])
    return np.where(known, numbers, -1).astype(np.int64)


def examples(values: Collection[Any]) -> str:
    """Return the first few values, and how many more there are."""
    shown = ", ".join(str(value) for value in list(values)[:SHOWN])
    more = len(values) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _id_problems(table: pd.DataFrame) -> Iterator[str]:
    if not len(table):
        yield "it has no rows"
    ids = table["image_id"]
    text = ids.fillna("").astype(str)
    if (text == "").any():
        yield f"image_id is empty in {int((text == '').sum())} rows"
    odd = text[text.str.contains(r"[/\\\x00-\x1f]", regex=True)]
    if len(odd):
        yield f"image_id may not contain '/', '\\' or control characters: {examples(odd.map(repr))}"
    repeated = text[text.duplicated() & (text != "")].unique()
    if len(repeated):
        yield f"image_id is not unique: {examples(repeated)}"


def _finding_problems(findings: list[str]) -> Iterator[str]:
    if not findings:
        yield "there is no label column (label:<finding>)"
    folded = [finding.casefold() for finding in findings]
    for finding in findings:
        bad = not finding.strip() or any(c in "/\\:" or not c.isprintable() for c in finding)
        if bad or finding.casefold() in RESERVED or folded.count(finding.casefold()) > 1:
            yield (
                f"finding {finding!r} needs another name (unique, without '/', '\\' or ':', "
                f"and none of {', '.join(sorted(RESERVED))})"
            )


def _label_problems(table: pd.DataFrame) -> Iterator[str]:
    for column in label_columns(table):
        numbers = pd.to_numeric(table[column], errors="coerce")
        wrong = table[column].notna() & ~numbers.isin([0, 1])
        if wrong.any():
            places = [
                f"{value!r} at {image}"
                for value, image in zip(
                    table.loc[wrong, column].tolist(), table.loc[wrong, "image_id"], strict=True
                )
            ]
            yield f"{column} must be 0, 1 or empty (unknown), found {examples(places)}"


def _exclusive_problems(table: pd.DataFrame) -> Iterator[str]:
    columns = label_columns(table)
    if len(columns) == 1:
        yield "exclusive labels need at least two columns; a binary task is multilabel"
    labels = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    unknown = np.isnan(labels).all(axis=1)
    wrong = ~unknown & ~(np.nansum(labels, axis=1) == 1) | (np.isnan(labels).any(axis=1) & ~unknown)
    if len(columns) > 1 and wrong.any():
        where = examples(table.loc[wrong, "image_id"])
        yield f"exclusive labels must be one 1 and else 0, or all empty: not so at {where}"


def _split_problems(table: pd.DataFrame) -> Iterator[str]:
    split = table["split"]
    if split.isna().any():
        yield f"split is empty for {examples(table.loc[split.isna(), 'image_id'])}"
    unknown = split[split.notna() & ~split.isin(SPLITS)].unique()
    if len(unknown):
        yield f"split must be train, val or test, found {examples(unknown)}"
    splits = table.groupby("patient_id")["split"].transform("nunique")
    shared = table["patient_id"][splits > 1]
    if len(shared):
        rows = np.flatnonzero((table["patient_id"] == shared.iloc[0]).to_numpy()) + 1
        yield (
            f"{shared.nunique()} patients are in more than one split, such as that of rows "
            f"{examples(rows.tolist())} (--own-split divides patients here)"
        )
    for name in SPLITS:
        if len(table) and not _only_test(table) and not (split == name).any():
            yield f"split {name} has no images"


def _scoring_problems(table: pd.DataFrame) -> list[str]:
    learned = table if _only_test(table) else table[table["split"] == "train"]
    where = "test" if _only_test(table) else "train"
    if any(learned[column].nunique() == 2 for column in label_columns(table)):
        return []
    return [f"no finding has both a positive and a negative image in {where}"]


def _class_warnings(table: pd.DataFrame) -> Iterator[str]:
    for split, part in table.groupby("split"):
        for column in label_columns(table):
            missing = {0.0: "negative", 1.0: "positive"}.keys() - set(part[column].dropna())
            for value in sorted(missing):
                kind = "positive" if value else "negative"
                yield f"{column.removeprefix(LABEL)} has no {kind} image in {split}"


def _split_warnings(table: pd.DataFrame) -> Iterator[str]:
    if _only_test(table):
        yield "every image is in test: an external test set, not one to train on"


def _only_test(table: pd.DataFrame) -> bool:
    return bool((table["split"] == "test").all())
