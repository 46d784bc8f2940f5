"""A study with its key opened: a row for every map that a reader was to judge."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from medrobust.errors import MedrobustError
from medrobust.study.analysis.answered import columns
from medrobust.study.answers import read_events
from medrobust.study.chain import Link
from medrobust.study.events import ADMIN
from medrobust.study.export import answers_table
from medrobust.study.heads import Head
from medrobust.study.integrity import KEY, verify
from medrobust.study.questions import Asked, Question
from medrobust.study.reading_time import reading_times
from medrobust.wording import plural

PLACES = ("study", "store", "split", "reader", "case", "condition", "repeat")
"""First columns of the readings: which map a reader judged, and whether for the second time."""


@dataclass(frozen=True)
class Study:
    """What the analysis knows."""

    name: str
    title: str
    store: str
    split: str
    questions: tuple[Question, ...]
    conditions: tuple[str, ...]
    """In the order of the settings."""
    readers: tuple[str, ...]
    readings: pd.DataFrame
    """`PLACES`, then what is known of the case, when and how long it was read, and the columns of
    every answer (`answered.columns`). Without practice; maps that were not answered have NaN."""
    sessions: dict[str, int]
    """By reader."""
    finished: tuple[str, ...]
    """Readers who said that they have."""
    closed: bool = True
    faults: tuple[str, ...] = ()
    """What `study verify` found wrong, if it is analysed all the same."""
    code: str = ""
    """The last event: tells which answers were analysed."""

    @property
    def first(self) -> pd.DataFrame:
        """The readings without the hidden repeats."""
        return self.readings[~self.readings["repeat"]]


def read_study(
    folder: Path, *, despite_faults: bool = False, without: Collection[str] = ()
) -> Study:
    """Verify a study, open its key, and put answers and key together.

    Args:
        folder: the study; it may be served meanwhile.
        despite_faults: whether to go on where it doesn't verify.
        without: readers to leave out.

    Raises:
        MedrobustError: there is no study, no key or no answers; the study does not verify; a
            reader to leave out is none of its readers, or nobody would be left.
    """
    faults = _faults(folder, despite_faults)
    settings = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    key, links = _opened(folder), read_events(folder)
    readers = _readers(settings["readers"], without)
    questions = Asked.model_validate({"questions": settings["questions"]}).questions
    name = folder.resolve().name
    readings = readings_table(name, key, questions, readers, links)
    if not readings["answered"].any():
        raise MedrobustError(f"expected answers in {folder}, found none yet: nothing to analyse")
    last = links[-1]
    return Study(
        name,
        settings["title"],
        key["store"]["name"],
        key["store"]["split"],
        questions,
        tuple(key["conditions"]),
        readers,
        readings,
        {reader: _count(links, reader, "opened") for reader in readers},
        tuple(r for r in readers if any(_says(link, r, "finished") for link in links)),
        any(_says(link, ADMIN, "closed") for link in links),
        faults,
        Head(last.sequence, last.hash).code,
    )


@dataclass(frozen=True)
class _Item:
    """What became of an item on its reader's screen."""

    cells: dict[str, str]
    """By question, as in `answers.csv`."""
    edits: int
    seconds: float
    timing: str


def readings_table(
    name: str,
    key: dict[str, Any],
    questions: Sequence[Question],
    readers: Sequence[str],
    links: Sequence[Link],
) -> pd.DataFrame:
    """The readings of a study from its key and its events in order; see `Study.readings`.

    Raises:
        MedrobustError: events that no server would have accepted.
    """
    items = _items(links, name)
    store = {"study": name, "store": key["store"]["name"], "split": key["store"]["split"]}
    rows = [
        {**store, **_reading(entry, items.get((entry["reader"], item), _UNSEEN), questions)}
        for item, entry in key["items"].items()
        if entry["reader"] in readers and not entry["practice"]
    ]
    return pd.DataFrame(rows).sort_values(["reader", "position"], ignore_index=True)


def _reading(entry: dict[str, Any], item: _Item, questions: Sequence[Question]) -> dict[str, Any]:
    known = ("patient", "image_id", "finding", "truth", "block", "position")
    row = {field: entry[field] for field in ("reader", "case", "condition")}
    row |= {"repeat": entry["repeat_of"] is not None}
    row |= {field: entry[field] for field in known}
    row |= {"answered": any(item.cells.values()), "edits": item.edits}
    row |= {"seconds": item.seconds, "timing": item.timing}
    for question in questions:
        row |= columns(question, item.cells.get(question.id), entry["boxes"])
    return row


def _items(links: Sequence[Link], name: str) -> dict[tuple[str, str], _Item]:
    """By reader and item; those that were shown."""
    try:
        answers, times = answers_table(links, name), reading_times(links)
    except (KeyError, ValueError) as error:
        raise MedrobustError(
            "expected events as the server saves them, found some that can't be read: see "
            "`medrobust study verify`"
        ) from error
    cells: dict[tuple[str, str], dict[str, str]] = {}
    edits: dict[tuple[str, str], int] = {}
    told = zip(
        *(answers[c] for c in ("reader", "item", "question", "value", "changed")), strict=True
    )
    for reader, item, question, value, changed in told:
        cells.setdefault((reader, item), {})[question] = value
        edits[reader, item] = edits.get((reader, item), 0) + changed
    return {
        key: _Item(
            cells.get(key, {}),
            edits.get(key, 0),
            float("nan") if time.seconds is None else time.seconds,
            time.trouble,
        )
        for key, time in times.items()
    }


_UNSEEN = _Item({}, 0, float("nan"), "")


def _faults(folder: Path, despite: bool) -> tuple[str, ...]:
    wrong = [finding for finding in verify(folder) if finding.verdict == "wrong"]
    if wrong and not despite:
        raise MedrobustError(
            f"expected answers as they were given in {folder}, found "
            f"{plural(len(wrong), 'fault')} ({wrong[0].note}): see `medrobust study verify`, "
            "or analyse them all the same (--despite-faults), which the page will say"
        )
    return tuple(f"{finding.what}: {finding.note}" for finding in wrong)


def _opened(folder: Path) -> dict[str, Any]:
    path = folder / KEY
    if not path.is_file():
        raise MedrobustError(
            f"expected the sealed key at {path}, found none: only it says what readers saw; "
            "analyse where the study was made, or put its key there"
        )
    try:
        return dict(json.loads(path.read_bytes()))
    except ValueError as error:
        raise MedrobustError(
            f"expected the sealed key at {path}, found a file that is no JSON: restore it"
        ) from error


def _readers(known: Sequence[str], without: Collection[str]) -> tuple[str, ...]:
    if strange := sorted(set(without) - set(known)):
        raise MedrobustError(
            f"--without: expected some of {', '.join(known)}, found {strange[0]!r}"
        )
    left = tuple(reader for reader in known if reader not in without)
    if not left:
        raise MedrobustError("--without: expected at least one reader to be left, found none")
    return left


def _says(link: Link, reader: str, kind: str) -> bool:
    return link.reader == reader and link.kind == kind and not link.item


def _count(links: Sequence[Link], reader: str, kind: str) -> int:
    return sum(_says(link, reader, kind) for link in links)
