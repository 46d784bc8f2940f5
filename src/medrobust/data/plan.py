"""Which images a store will have, decided and checked before the first one is read."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd

from medrobust import __version__
from medrobust.data.pseudonyms import pseudonymise
from medrobust.data.rejects import Rejects
from medrobust.data.selection import Selection, balance, select
from medrobust.data.settings import Settings
from medrobust.data.source import Card, Source, Task
from medrobust.data.splits import assign_splits
from medrobust.data.table import verify
from medrobust.errors import MedrobustError

ROW = "index row"
"""A column for the number of a row in the index, while the plan is made."""
NEEDED = ("image_id", "source", "file")


@dataclass(frozen=True)
class Plan:
    """The rows of a data set that are to be read, and what is known of them beforehand."""

    rows: pd.DataFrame
    """As the data set's index has them: what is given to its `read`."""
    table: pd.DataFrame
    """The same rows as the store will name them."""
    task: Task
    rejects: Rejects
    """Rows that cannot be read, known beforehand."""
    patients: Literal["known", "unknown"]
    split_here: bool
    """Whether train and test were divided here, not by the data set."""
    left_out: dict[str, int]
    """Reason -> rows that were not selected."""
    warnings: list[str]
    made_with: dict[str, str]
    """What the data set was made with, such as its window."""

    def fingerprint(self, card: Card, settings: Settings) -> str:
        """A hash of all that decides the images of the store."""
        described = asdict(card) | asdict(settings) | self.made_with
        described["medrobust"] = __version__
        for later in ("max_rejects", "duplicates"):  # which decide nothing about an image
            del described[later]
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for table in (self.rows, self.table):
            digest.update("\t".join(table.columns).encode())
            digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        return digest.hexdigest()


def make_plan(
    source: Source, selection: Selection, settings: Settings, salt: bytes | None = None
) -> Plan:
    """Index a data set, select, split and verify it.

    With a `salt` the store names patients, images and files by keyed hashes.

    Raises `MedrobustError` when the table does not pass or too many of its rows are known to be
    unusable.
    """
    made_with = _made_with(source)
    index = _indexed(source)
    warnings = list(getattr(source, "notes", ()))
    table = index.assign(**{ROW: range(len(index))})
    table, task, notes, left_out = select(table, source.task, selection, settings.seed)
    table, unusable = _usable(table)
    patients, more = _fill_patients(table)
    split_here = "split" not in table
    divided = assign_splits(table, settings.splits, settings.seed)
    if selection.own_split:
        divided = [f"split by patient with seed {settings.seed}, as asked for"]
    warnings += notes + more + divided
    if selection.balance:
        table, thinned = balance(table, task, settings.seed)
        left_out |= thinned
    rows = index.iloc[table.pop(ROW)].reset_index(drop=True)
    stored = table if salt is None else pseudonymise(table, salt)
    files = unusable if salt is None else pseudonymise(unusable, salt)
    rejects = Rejects(len(table) + len(unusable), settings.max_rejects)
    rejects.add_all(zip(files["file"], unusable["problem"], strict=True))
    _verify(stored, task, split_here)
    return Plan(rows, stored, task, rejects, patients, split_here, left_out, warnings, made_with)


def _made_with(source: Source) -> dict[str, str]:
    """The attributes of a data set before it is used, as far as they say what they are."""
    said = {
        name: sorted(v, key=repr) if isinstance(v, set) else v for name, v in vars(source).items()
    }
    # what has no words of its own says only where it lies in memory
    return {f"source.{name}": repr(v) for name, v in said.items() if " at 0x" not in repr(v)}


def _indexed(source: Source) -> pd.DataFrame:
    index = source.index().reset_index(drop=True)
    missing = [name for name in NEEDED if name not in index]
    if missing:
        raise MedrobustError(
            f"{source.card.name}: expected columns {', '.join(NEEDED)} of index(), "
            f"found no {', '.join(missing)}"
        )
    return index


def _verify(table: pd.DataFrame, task: Task, split_here: bool) -> None:
    """Check the table; what it warns of is asked again when the images are known."""
    try:
        verify(table, task)
    except MedrobustError as error:
        if split_here and "has no images" in str(error):
            raise MedrobustError(
                f"{error}: patients are few, and were divided here; other shares (--splits "
                "0.5,0.25,0.25) or another --seed may help"
            ) from error
        raise


def _usable(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide rows into those to be read and those whose problem is known."""
    if "problem" not in table:
        table = table.assign(problem="")
    bad = table["problem"].fillna("") != ""
    return table[~bad].drop(columns="problem").reset_index(drop=True), table[bad]


def _fill_patients(table: pd.DataFrame) -> tuple[Literal["known", "unknown"], list[str]]:
    """Let an image without a patient be its own; say how many there are."""
    if "patient_id" not in table or table["patient_id"].isna().all():
        table["patient_id"] = table["image_id"]
        return "unknown", ["patients are unknown: every image counts as its own patient"]
    missing = int(table["patient_id"].isna().sum())
    table["patient_id"] = table["patient_id"].fillna(table["image_id"])
    text = f"{missing} images without a patient count as their own patient"
    return "known", [text] if missing else []
