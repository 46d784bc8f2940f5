"""The answers of a study: events that are only ever added, each on the disk when acknowledged.

What waits while the disk is busy is saved together, in one transaction: so many readers at once
wait little longer than one (group commit; DeWitt et al., SIGMOD 1984).
"""

import hashlib
import sqlite3
import threading
import uuid
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from medrobust.errors import MedrobustError
from medrobust.files import sha256_of
from medrobust.study.chain import Link, canonical, genesis, linked
from medrobust.study.database import (
    Closing,
    connect,
    connect_to_read,
    explained,
    transaction,
)
from medrobust.study.events import ADMIN, Event, RefusedError
from medrobust.study.heads import HEAD, Head, read_heads, write_head
from medrobust.study.resume import State, asked_before, follow

DATABASE = "answers.sqlite"
DESIGN = ("study.yaml", "items.json", "order.json")
"""What readers are asked, and in which order: bound to the first event."""
SCHEMA = (
    """CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    reader TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    body TEXT NOT NULL,
    at TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    UNIQUE (reader, id)
)""",
    "CREATE INDEX of_an_item ON events (reader, item, kind)",
    """CREATE TRIGGER never_altered BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never altered'); END""",
    """CREATE TRIGGER never_removed BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never removed'); END""",
)

# Statements hold our own names only; whatever comes from outside is a parameter.
_COLUMNS = ", ".join(Link._fields)
_ALL = f"SELECT {_COLUMNS} FROM events"  # noqa: S608
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


class Receipt(NamedTuple):
    """That an event is saved: on the disk, and bound to all before it."""

    sequence: int
    hash: str
    saved_before: bool
    """The same event had been sent already, and was not saved again."""

    @property
    def code(self) -> str:
        """What a reader can keep; `study verify` finds the event by it."""
        return Head(self.sequence, self.hash).code


def utc_now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


@dataclass
class _Request:
    """An event that is to be saved, and what came of it."""

    event: Event
    done: bool = False
    receipt: Receipt | None = None
    error: BaseException = field(default_factory=lambda: MedrobustError("it still waits"))
    """Why there is no receipt."""


class Answers(Closing):
    """The events of the study in a folder, for one process and all its threads.

    Several processes may have the same folder open: SQLite lets one of them write at a time.

    Args:
        folder: a study; its `DESIGN` is not changed from now on, as the first event is bound to it.
        now: the clock, in UTC; it may go backwards.

    Raises:
        MedrobustError: the database can't be used, is another study's, or has lost its tail.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = utc_now) -> None:
        self.path = folder / DATABASE
        self._heads = folder / HEAD
        self._now = now
        self._start = genesis(design_of(folder))
        self._waiting: deque[_Request] = deque()
        self._states: dict[str, tuple[int, State]] = {}
        self._writing, self._reading = threading.Lock(), threading.Lock()
        known, _ = read_heads(self._heads)  # before the database, which only grows
        self._connection = connect(self.path, SCHEMA)
        self._reader = connect_to_read(self.path)  # reads while the other waits for the disk
        try:
            self._check(known)
        except MedrobustError:
            self.close()
            raise

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open or begin the answers of a study."""
        return cls(folder)

    def append(self, event: Event) -> Receipt:
        """Save an event, once, and return when it is on the disk.

        The same event again (same reader and id) is answered with its first receipt, also after
        the study was closed.

        Raises:
            RefusedError: the study is closed; the reader has finished and would answer; the item
                was never shown to this reader; or the id was used for something else.
            MedrobustError: the database can't be written; nothing was saved.
        """
        request = _Request(event)
        self._waiting.append(request)
        with self._writing:
            if not request.done:
                self._save_waiting()
        if request.receipt is None:
            raise request.error
        return request.receipt

    def close_study(self) -> Receipt:
        """Accept nothing more, for good."""
        return self.append(Event(ADMIN, "closed", str(uuid.uuid4())))

    def events(self, reader: str | None = None) -> list[Link]:
        """All events, or those of a reader, in the order of saving."""
        if reader is None:
            return self._read(f"{_ALL} ORDER BY sequence")
        return self._read(f"{_ALL} WHERE reader = ? ORDER BY sequence", reader)

    def latest(self, reader: str) -> State:
        """Where a reader is, to go on exactly there: a copy, of which only news is read."""
        query = f"{_ALL} WHERE reader IN (?, ?) AND sequence > ? ORDER BY sequence"
        with self._reading:
            known, state = self._states.get(reader, (0, State(reader)))
            with explained(self.path):
                rows = self._reader.execute(query, (reader, ADMIN, known)).fetchall()
            links = [Link(*row) for row in rows]
            follow(state, links)
            self._states[reader] = (links[-1].sequence if links else known, state)
            return deepcopy(state)

    def head(self) -> Head | None:
        """The last event; to be kept elsewhere, since it proves all before it."""
        links = self._read(f"{_ALL} ORDER BY sequence DESC LIMIT 1")
        return Head(links[0].sequence, links[0].hash) if links else None

    def close(self) -> None:
        """Let go of the database."""
        with self._writing, self._reading:
            self._reader.close()
            self._connection.close()

    def _read(self, query: str, *values: str) -> list[Link]:
        with self._reading, explained(self.path):
            return [Link(*row) for row in self._reader.execute(query, values)]

    def _check(self, known: list[Head]) -> None:
        """That the chain begins with this study and reaches the last head; heads catch up."""
        first, head = self._read(f"{_ALL} ORDER BY sequence LIMIT 1"), self.head()
        if first and first[0].previous != self._start:
            raise MedrobustError(
                f"expected the answers to this study in {self.path}, found those to another: put "
                f"{', '.join(DESIGN)} back as they were when the first answer was given"
            )
        reached = max((one.sequence for one in known), default=0)
        here = 0 if head is None else head.sequence
        if reached > here:
            raise MedrobustError(
                f"expected {reached} events in {self.path}, as in {HEAD}, found {here}: the last "
                "ones were lost; restore the database from a copy"
            )
        if head is not None and here > reached:
            write_head(self._heads, head)

    def _save_waiting(self) -> None:
        """Save all that waits, and leave the outcome in each request."""
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            with explained(self.path), transaction(self._connection):
                saved = [link for request in batch if (link := self._save(request))]
            if saved:
                write_head(self._heads, Head(saved[-1].sequence, saved[-1].hash))
        except BaseException as error:  # no one is told that it was saved, whatever happened
            for request in batch:
                request.receipt, request.error = None, error
        finally:
            for request in batch:
                request.done = True

    def _save(self, request: _Request) -> Link | None:
        """Add the event unless it is there or refused; the link if it was added."""
        try:
            before = self._saved(request.event)
            if before is None:
                self._refuse(request.event)
        except RefusedError as error:
            request.error = error
            return None
        link = before or self._insert(request.event)
        request.receipt = Receipt(link.sequence, link.hash, saved_before=before is not None)
        return None if before else link

    def _saved(self, event: Event) -> Link | None:
        """This event, if it was saved already."""
        query = f"{_ALL} WHERE reader = ? AND id = ?"
        link = _one(self._connection, query, event.reader, event.id)
        if link is None:
            return None
        kind = "answered" if link.kind == "edited" else link.kind
        if (kind, link.item, link.body) != (event.kind, event.item, event.text):
            raise RefusedError("id: expected a new one for a new event, found one that was used")
        return link

    def _refuse(self, event: Event) -> None:
        if self._has(ADMIN, "", "closed"):
            raise RefusedError("the study is closed: nothing more is accepted")
        if event.kind == "answered" and self._has(event.reader, "", "finished"):
            raise RefusedError("this reader has finished the study: no more answers are accepted")
        if (
            event.item
            and event.kind != "shown"
            and not self._has(event.reader, event.item, "shown")
        ):
            raise RefusedError("item: expected one that was shown to this reader, found another")

    def _has(self, reader: str, item: str, kind: str) -> bool:
        query = f"{_ALL} WHERE reader = ? AND item = ? AND kind = ? LIMIT 1"
        return _one(self._connection, query, reader, item, kind) is not None

    def _insert(self, event: Event) -> Link:
        last = self._last()
        sequence, previous = (0, self._start) if last is None else (last.sequence, last.hash)
        at = self._now().isoformat(timespec="microseconds")
        names = (event.reader, event.id, self._kind(event), event.item, event.text)
        link = linked(Link(sequence + 1, *names, at, previous, ""))
        self._connection.execute(_INSERT, link)
        return link

    def _kind(self, event: Event) -> str:
        """`edited` if any of the questions had an answer."""
        if event.kind != "answered":
            return event.kind
        query = f"{_ALL} WHERE reader = ? AND item = ? AND kind IN ('answered', 'edited')"
        rows = self._connection.execute(query, (event.reader, event.item))
        return "edited" if asked_before(map(Link._make, rows), event.body["values"]) else "answered"

    def _last(self) -> Link | None:
        return _one(self._connection, f"{_ALL} ORDER BY sequence DESC LIMIT 1")


def design_of(folder: Path) -> str:
    """The SHA-256 over the SHA-256 of each file of the `DESIGN`.

    Raises:
        MedrobustError: one of them is missing.
    """
    for name in DESIGN:
        if not (folder / name).is_file():
            raise MedrobustError(
                f"expected a study in {folder}, found no {name}: make one with `medrobust study "
                "create`"
            )
    hashes = {name: sha256_of(folder / name) for name in DESIGN}
    return hashlib.sha256(canonical(hashes).encode()).hexdigest()


def read_events(folder: Path) -> list[Link]:
    """All events as they are, to read only, whatever was done to them.

    Raises:
        MedrobustError: there is no database, or it can't be read.
    """
    path = folder / DATABASE
    connection = connect_to_read(path)
    try:
        with explained(path):
            return [Link(*row) for row in connection.execute(f"{_ALL} ORDER BY sequence")]
    finally:
        connection.close()


def _one(connection: sqlite3.Connection, query: str, *values: str) -> Link | None:
    row = connection.execute(query, values).fetchone()
    return None if row is None else Link(*row)
