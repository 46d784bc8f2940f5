"""Answers and the use of the viewer as tidy CSV: a row for each answer, a row for each change."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medrobust.errors import MedrobustError
from medrobust.files import write_csv
from medrobust.study.answers import read_events
from medrobust.study.chain import Link, canonical
from medrobust.study.integrity import verify
from medrobust.study.reading_time import Key, reading_times
from medrobust.study.spreadsheets import without_formulas
from medrobust.wording import plural

ANSWERS = (
    *("study", "reader", "session", "item", "question", "value", "changed", "seconds", "timing"),
    *("first_shown", "answered", "block", "position", "practice", "repeat_of", "sequence"),
)
"""Columns of `answers.csv`. A row is a reader's latest value of a question about an item.

`session`: the reader's first, second, … in which that value was given. `value`: empty for null,
objects and lists as JSON, a text that a spreadsheet would run with a `'` before it
(`spreadsheets.as_text`). `changed`: how often it was given anew. `seconds`, `timing`:
those of the item (`ReadingTime`), the same for all its questions. `first_shown`, `answered`: the
server's clock. `block` (empty in practice) and `position` (practice included) count from 1, as in
the sealed key; events count both from 0. `repeat_of` is empty, as only the key knows. `sequence`:
the event.
"""
VIEWS = ("study", "reader", "session", "item", "at", "tool", "value", "sequence")
"""Columns of `views.csv`: what a reader set a tool of the viewer to, as JSON."""


@dataclass
class _Answer:
    """A question's values so far."""

    changed: int = -1
    told: dict[str, Any] = field(default_factory=dict)


def export(folder: Path, study: str) -> tuple[Path, Path]:
    """Write `export/answers.csv` and `export/views.csv`, and return where they are.

    Args:
        folder: the study; it may be served meanwhile.
        study: its name, for the first column.

    Raises:
        MedrobustError: there is no study or no answers, or they don't verify.
    """
    wrong = [finding for finding in verify(folder) if finding.verdict == "wrong"]
    if wrong:
        raise MedrobustError(
            f"expected answers as they were given in {folder}, found "
            f"{plural(len(wrong), 'fault')} ({wrong[0].note}): see `medrobust study verify`"
        )
    links = read_events(folder)
    answers, views = folder / "export" / "answers.csv", folder / "export" / "views.csv"
    write_csv(answers, without_formulas(answers_table(links, study), ["value"]))
    write_csv(views, views_table(links, study))
    return answers, views


def answers_table(links: Sequence[Link], study: str) -> pd.DataFrame:
    """The `ANSWERS` of all events of a study in order; rows by reader, item as shown, question."""
    shown = _first_shown(links)
    given: dict[Key, dict[str, _Answer]] = {key: {} for key in shown}
    for session, link in _with_sessions(links):
        if link.kind in ("answered", "edited"):
            of_item = given[link.reader, link.item]
            for question, value in json.loads(link.body)["values"].items():
                answer = of_item.setdefault(question, _Answer())
                answer.changed += 1
                answer.told = {
                    **{"session": session, "value": _cell(value)},
                    **{"answered": link.at, "sequence": link.sequence},
                }
    times = reading_times(links)
    rows = [
        {
            **{"study": study, "reader": key[0], "item": key[1], "question": question},
            **{"changed": answer.changed, "seconds": times[key].seconds},
            **{"timing": times[key].trouble, "first_shown": shown[key].at, "repeat_of": ""},
            **_place(shown[key]),
            **answer.told,
        }
        for key in sorted(given, key=lambda key: (key[0], shown[key].sequence))
        for question, answer in given[key].items()
    ]
    return pd.DataFrame(rows, columns=list(ANSWERS)).astype({"block": "Int64"})


def _place(shown: Link) -> dict[str, Any]:
    """Where an item stood; events count from 0, people from 1."""
    place = json.loads(shown.body)
    block = None if place["block"] is None else place["block"] + 1
    return {**place, "block": block, "position": place["position"] + 1}


def views_table(links: Sequence[Link], study: str) -> pd.DataFrame:
    """The `VIEWS` of all events of a study in order."""
    rows = [
        {
            **{"study": study, "reader": link.reader, "session": session, "item": link.item},
            **{"at": link.at, "tool": tool, "value": canonical(value), "sequence": link.sequence},
        }
        for session, link in _with_sessions(links)
        if link.kind == "viewed"
        for tool, value in json.loads(link.body).items()
    ]
    return pd.DataFrame(rows, columns=list(VIEWS))


def _first_shown(links: Iterable[Link]) -> dict[Key, Link]:
    shown: dict[Key, Link] = {}
    for link in links:
        if link.kind == "shown":
            shown.setdefault((link.reader, link.item), link)
    return shown


def _with_sessions(links: Iterable[Link]) -> Iterator[tuple[int, Link]]:
    """Each event with the number of its reader's session, from 1; 0 before the first."""
    sessions: dict[str, int] = {}
    for link in links:
        sessions[link.reader] = sessions.get(link.reader, 0) + (link.kind == "opened")
        yield sessions[link.reader], link


def _cell(value: Any) -> str:
    """Texts with one kind of line end, nothing for null, all else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return canonical(value)
