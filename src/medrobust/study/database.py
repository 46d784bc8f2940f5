"""SQLite that holds on to what it has acknowledged."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from medrobust.errors import MedrobustError

PATIENCE = 30.0
"""Seconds to wait for another process's transaction."""


class Closing(ABC):
    """What holds a database, and lets go of it at the end of a `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(path: Path, schema: Sequence[str]) -> sqlite3.Connection:
    """Open a database, making it with these statements if it is new.

    A write-ahead log with full synchronisation: a commit returns when the disk has it. The
    connection may be used from several threads, one at a time.

    Raises:
        MedrobustError: it can't be opened, or is not a database.
    """
    with explained(path):
        connection = sqlite3.connect(
            path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, schema)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that is there, to read only; texts that aren't UTF-8 are kept readable.

    Raises:
        MedrobustError: it is missing or can't be opened.
    """
    if not path.is_file():
        raise MedrobustError(f"expected a database at {path}, found none: no one has answered yet")
    with explained(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """The only writer, until the block ends: all of it is saved, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in a `MedrobustError` what SQLite could not do."""
    try:
        yield
    except sqlite3.Error as error:
        raise MedrobustError(
            f"expected to use the database {path}, found: {error}; free some space, repair or "
            "restore it, and try again"
        ) from error


def schema_of(connection: sqlite3.Connection) -> set[str]:
    """The statements that made its tables, indices and triggers."""
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {statement for (statement,) in rows}


def _prepare(connection: sqlite3.Connection, schema: Sequence[str]) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError(f"no write-ahead log here (journal mode {mode})")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=ON")  # macOS: else its disk may hold back what it has
    with transaction(connection):
        if not schema_of(connection):
            for statement in schema:
                connection.execute(statement)
