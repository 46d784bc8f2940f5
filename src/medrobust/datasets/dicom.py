"""A folder tree of DICOM files, and a table (CSV) of labels."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from medrobust.data.dicom import expect_pydicom, read_dicom
from medrobust.data.dicom_header import KEYS, Header, read_header
from medrobust.data.isolation import Failure, isolated_map
from medrobust.data.source import Card, Picture, Task
from medrobust.data.table import examples
from medrobust.data.window import Window
from medrobust.datasets.arrays import own_card
from medrobust.datasets.label_table import LabelTable
from medrobust.datasets.raw import MISSING_FILE, files_below
from medrobust.errors import MedrobustError

OTHER_FILES = {".csv", ".tsv", ".txt", ".md", ".json", ".xml", ".html", ".pdf", ".xlsx"}
"""Suffixes of what lies beside images."""


class Dicom:
    """All images below a folder, with the labels of a table.

    `key`: what tells which row of the table belongs to which file: `file` (path below the root),
    `SOPInstanceUID`, `AccessionNumber` or `PatientID`; several files may share a row. `key_column`
    is the table's name for it, if another one. `labels`, `metadata` and `split_column` are as in
    `LabelTable`. `window`: that of the files if not given. `frame`: which of several frames,
    counted from 1; the middle one if not given. `workers`: processes that read the headers.

    Of the headers only patient id, age, sex, view, modality, laterality, body part and
    manufacturer are taken; never names, dates or free text. Labels without an image, and images
    without labels, are counted in `notes`.

    Raises `MedrobustError` when there is no such folder, the key is another, or the extra
    `dicom` is not installed.
    """

    def __init__(
        self,
        root: Path,
        table: Path,
        labels: Mapping[str, str],
        *,
        key: str = "file",
        key_column: str | None = None,
        split_column: str | None = None,
        metadata: Mapping[str, str] | None = None,
        task: Task = "multilabel",
        window: Window | None = None,
        frame: int | None = None,
        workers: int = 0,
        card: Card | None = None,
    ) -> None:
        self.root, self.task, self.card = Path(root), task, card or own_card(Path(table))
        self.notes: list[str] = []
        self._table = LabelTable(Path(table), labels, metadata, split_column)
        self._key, self._key_column = key, key_column or key
        self._window, self._frame, self._workers = window, frame, workers
        if key != "file" and key not in KEYS:
            raise MedrobustError(f"key: expected file, {', '.join(KEYS)}, found {key!r}")
        if not self.root.is_dir():
            raise MedrobustError(f"expected a folder of DICOM files at {self.root}, found none")
        expect_pydicom()

    def index(self) -> pd.DataFrame:
        """One row per image that has a row in the table, by path."""
        described = self._described()
        files = self._files()
        headers = list(self._headers(files))
        keys = files if self._key == "file" else [header.keys.get(self._key) for header in headers]
        rows = pd.DataFrame([_row(header) for header in headers])
        rows.insert(0, "image_id", [file.replace("/", "-") for file in files])
        rows.insert(1, "source", self.card.name)
        rows.insert(2, "file", files)
        known = np.array([key in described.index for key in keys])
        self._expect_some(known)
        known |= self._may_be_meant(headers)
        self._note(keys, known, described)
        matched = described.reindex(keys).reset_index(drop=True)
        own = rows.drop(columns=[name for name in matched if name in rows])
        table: pd.DataFrame = pd.concat([own, matched], axis=1)[known].reset_index(drop=True)
        return pd.concat([table, self._missing(described, keys)], ignore_index=True)

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Decode one file."""
        return read_dicom(self.root / str(row["file"]), self._window, self._frame)

    def _described(self) -> pd.DataFrame:
        """The table's labels and metadata, by key."""
        keys = self._table.column(self._key_column)
        if self._key == "file":
            keys = keys.str.replace("\\", "/").str.removeprefix("./")
        repeated = keys[keys.duplicated() & (keys != "")].unique()
        if len(repeated):
            raise MedrobustError(
                f"{self._table.path}: column {self._key_column!r} has {len(repeated)} values more "
                "than once; expected one row for each"
            )
        described = self._table.described().set_axis(keys, axis="index")
        known: pd.DataFrame = described[described.index != ""]
        return known

    def _files(self) -> list[str]:
        """Paths of everything that may be an image, sorted."""
        files = sorted(file for file in files_below(self.root) if _may_be_image(file))
        if not files:
            raise MedrobustError(f"expected DICOM files below {self.root}, found none")
        odd = [file for file in files if not file.isprintable()]  # what is not UTF-8 is neither
        if odd:
            raise MedrobustError(
                f"{self.root}: expected printable file names in UTF-8, found {odd[0]!a} "
                f"({len(odd)} such files): rename them"
            )
        return files

    def _headers(self, files: list[str]) -> Iterator[Header]:
        paths = [self.root / file for file in files]
        for found in isolated_map(read_header, paths, workers=self._workers):
            yield Header({}, problem=found.reason) if isinstance(found, Failure) else found

    def _may_be_meant(self, headers: list[Header]) -> Any:
        """Files whose key cannot be read: no label can be theirs, but they must not vanish."""
        return np.array([bool(header.problem) and self._key != "file" for header in headers])

    def _note(self, keys: list[Any], known: Any, described: pd.DataFrame) -> None:
        self.notes = []
        others = int((~known).sum())
        if others:
            self.notes.append(f"{others} files have no row in the table of labels")
        lost = described.index.difference(pd.Index([key for key in keys if key]))
        if len(lost) and self._key != "file":
            self.notes.append(f"{len(lost)} rows of the table of labels have no file")

    def _expect_some(self, known: Any) -> None:
        if not known.any():
            raise MedrobustError(
                f"none of {len(known)} files below {self.root} has a row in {self._table.path}: "
                f"its column {self._key_column!r} must hold each file's {self._key} "
                "(--key, --key-column)"
            )

    def _missing(self, described: pd.DataFrame, files: list[Any]) -> pd.DataFrame:
        """Rows of the table that name files that are not there."""
        if self._key != "file":
            return pd.DataFrame()
        lost = described.loc[described.index.difference(pd.Index(files), sort=False)]
        bad = [file for file in lost.index if file.startswith("/") or ".." in file.split("/")]
        if bad:
            raise MedrobustError(
                f"{self._table.path}: expected paths below the folder of images, found "
                f"{examples(bad)}"
            )
        table = lost.reset_index(names="file")
        ids = table["file"].str.replace("/", "-")
        return table.assign(image_id=ids, source=self.card.name, problem=MISSING_FILE)


def _row(header: Header) -> dict[str, Any]:
    return {
        "patient_id": header.keys.get("PatientID") or None,
        "age": header.age,
        "sex": header.sex or None,
        "view": header.view or None,
        "modality": header.modality or None,
        "laterality": header.laterality or None,
        "body_part": header.body_part or None,
        "manufacturer": header.manufacturer or None,
        "problem": header.problem,
    }


def _may_be_image(file: str) -> bool:
    path = PurePosixPath(file)
    hidden = path.name.startswith(".") or path.name.upper() == "DICOMDIR"
    return not hidden and path.suffix.lower() not in OTHER_FILES
