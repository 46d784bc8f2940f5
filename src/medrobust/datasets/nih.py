"""NIH ChestX-ray14 (Wang et al., CVPR 2017): 112,120 chest radiographs of 30,805 patients."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.decode import read_grey
from medrobust.data.source import Box, Card, Picture, Task
from medrobust.datasets.nih_boxes import Boxes, read_boxes, scaled
from medrobust.datasets.nih_table import (
    FINDINGS,
    SEXES,
    VIEWS,
    ages_of,
    extent_of,
    labels_of,
    listed_splits,
    names_of,
    patients_of,
    split_column,
)
from medrobust.datasets.raw import (
    MISSING_FILE,
    RawTable,
    find_folder,
    read_text,
    refuse_problems,
)
from medrobust.errors import MedrobustError

CARD = Card(
    name="nih",
    title="NIH ChestX-ray14",
    source="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    licence=(
        "no restriction on use; the NIH Clinical Center asks to be acknowledged, to link to the "
        "download site and to cite the paper"
    ),
    citation="Wang et al., ChestX-ray8: hospital-scale chest X-ray database and benchmarks, "
    "CVPR 2017, 2097-2106",
    caveats=(
        "Labels were mined from reports and are noisy: radiologists who read the images disagree "
        "with many (Oakden-Rayner, Acad Radiol 2020). What a report does not mention is negative; "
        "No Finding only means none of the 14. Many pneumothoraces are treated ones with a drain. "
        "Boxes are there for 880 images and 8 findings only. The PNG files were stretched to "
        "1024x1024 with 8 bits, whatever the shape of the radiograph: pixels are not square."
    ),
)

TABLE, BOX_TABLE = "Data_Entry", "BBox"
LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}


class NIH:
    """ChestX-ray14 as downloaded, or a part of it.

    `root` is the folder with Data_Entry_2017.csv or Data_Entry_2017_v2020.csv, or the one above;
    the PNG files lie in it, in `images`, or in images_001/images to images_012/images. Tables and
    lists may be gzipped. `table` and `boxes` name, relative to `root`, a table of images and one
    of boxes if there are others than the one `Data_Entry*.csv` and the one `BBox*.csv`.

    train_val_list.txt is train, of which `prepare` takes val; test_list.txt is test. Without these
    lists a column `official_split` or `split` of the table counts, if there is one.

    `only_present` leaves out rows whose file is not there, as when one of the twelve archives was
    downloaded; else they are rejects. Ages above 120 years (the 2017 table has some) are unknown.
    Spacing is that of the detector: the original pixels' times how much the image was shrunk.

    After `index`, `notes` says what was left out or is not known.

    Raises `MedrobustError` when there is no such folder, and from `index` one for all problems of
    the tables.
    """

    task: Task = "multilabel"
    card = CARD

    def __init__(
        self,
        root: Path,
        *,
        table: Path | str | None = None,
        boxes: Path | str | None = None,
        only_present: bool = False,
    ) -> None:
        self.root = _find_root(Path(root), table)
        found = _choose(self.root, table, TABLE)
        if found is None:
            raise MedrobustError(f"expected one {TABLE}*.csv in {self.root}: name the table")
        self.table, self.box_table = found, _choose(self.root, boxes, BOX_TABLE)
        self.notes: list[str] = []
        self._only_present = only_present
        self._boxes: Boxes | None = None

    def index(self) -> pd.DataFrame:
        """One row per row of the table; `width_mm` and `height_mm` are the image's, if known."""
        table = RawTable(self.table)
        box_table = RawTable(self.box_table) if self.box_table else None
        names = names_of(table)
        rows = self._rows(table, names)
        self._boxes = read_boxes(box_table, FINDINGS) if box_table else {}
        refuse_problems([table, box_table] if box_table else [table])
        self._tell_strangers(names)
        return self._present(rows) if self._only_present else rows

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Decode one file; its boxes are those of the table, in its own pixels."""
        pixels, note = read_grey(self.root / str(row["file"]))
        shape = pixels.shape[1:]
        high = float(np.iinfo(pixels.dtype).max)
        boxes = scaled(self._boxes_of(str(row["image_id"])), shape)
        return Picture(pixels, 0.0, high, _spacing(row, shape), boxes=boxes, note=note)

    def _rows(self, table: RawTable, names: "pd.Series[str]") -> pd.DataFrame:
        places = _places(self.root)
        ages, self.notes = ages_of(table)
        columns: dict[str, Any] = {
            "image_id": names.str.removesuffix(".png"),
            "patient_id": patients_of(table),
            **self._split(table, names),
            "source": self.card.name,
            "file": [places.get(name, name) for name in names],
            "age": ages,
            "sex": table.values(("Patient Gender", "Patient Sex"), SEXES.__getitem__, "M or F"),
            "view": table.values(("View Position",), VIEWS.__getitem__, "PA or AP"),
            **extent_of(table),
            "problem": [("" if name in places else MISSING_FILE) for name in names],
        }
        return pd.DataFrame(columns | labels_of(table))

    def _split(self, table: RawTable, names: "pd.Series[str]") -> dict[str, NDArray[np.object_]]:
        """Return the column `split`, or none."""
        lists = {split: _read_list(self.root, name) for split, name in LISTS.items()}
        missing = [LISTS[split] for split, listed in lists.items() if listed is None]
        if len(missing) == 1:
            table.problems.append(f"expected both official lists, found no {missing[0]}")
        if len(missing) < len(LISTS):
            return {"split": listed_splits(table, names, lists)}
        column = table.find("official_split", "split")
        return {"split": split_column(table, column)} if column else {}

    def _present(self, rows: pd.DataFrame) -> pd.DataFrame:
        there = (rows["problem"] == "").to_numpy()
        if not there.any():
            raise MedrobustError(f"none of the {len(rows)} images of {self.table.name} is there")
        if not there.all():
            missing = int((~there).sum())
            self.notes.append(f"{missing} of {len(rows)} images have no file and were left out")
        return rows[there].reset_index(drop=True)

    def _tell_strangers(self, names: "pd.Series[str]") -> None:
        """Note boxes of images that the table does not have."""
        known = set(names.str.removesuffix(".png"))
        strange = sum(
            len(found) for name, found in (self._boxes or {}).items() if name not in known
        )
        if strange:
            self.notes.append(f"{strange} boxes belong to images that the table does not have")

    def _boxes_of(self, image_id: str) -> tuple[Box, ...]:
        if self._boxes is None:
            if self.box_table is None:
                return ()
            table = RawTable(self.box_table)
            self._boxes = read_boxes(table, FINDINGS)
            refuse_problems([table])
        return self._boxes.get(image_id, ())


def _find_root(root: Path, table: Path | str | None) -> Path:
    if table is None:
        return find_folder(root, lambda folder: bool(_matching(folder, TABLE)), f"{TABLE}*.csv")
    return find_folder(root, lambda _: True, "a folder")


def _matching(folder: Path, start: str) -> list[Path]:
    found = [*folder.glob(f"{start}*.csv"), *folder.glob(f"{start}*.csv.gz")]
    return sorted(path for path in found if path.is_file())


def _choose(root: Path, given: Path | str | None, start: str) -> Path | None:
    """Return the given table, or the only one whose name starts so, if there is one."""
    if given is not None:
        here = Path(given)
        return here if here.is_file() else root / here
    found = _matching(root, start)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise MedrobustError(f"expected one {start}*.csv in {root}, found {names}: name one")
    return found[0] if found else None


def _places(root: Path) -> dict[str, str]:
    """Return name -> path below the root of every PNG file in it and in folders `images*`."""
    places: dict[str, str] = {}
    for folder, name in _pictures(root, ""):
        if name in places:
            raise MedrobustError(
                f"expected each image once, found {places[name]} and {folder}{name}: move one away"
            )
        places[name] = folder + name
    return places


def _pictures(root: Path, folder: str) -> Iterator[tuple[str, str]]:
    with os.scandir(root / folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.endswith(".png"):
            yield folder, entry.name
        elif entry.name.startswith("images") and entry.is_dir():
            yield from _pictures(root, f"{folder}{entry.name}/")


def _read_list(root: Path, name: str) -> set[str] | None:
    for path in (root / name, root / f"{name}.gz"):
        if path.is_file():
            return set(read_text(path).split())
    return None


def _spacing(row: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[float, ...] | None:
    extent = [float(row.get(name, np.nan)) for name in ("height_mm", "width_mm")]
    if np.isnan(extent).any():
        return None
    return tuple(mm / pixels for mm, pixels in zip(extent, shape, strict=True))
