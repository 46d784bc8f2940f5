"""Personal links: a secret in each, of which the study keeps nothing but a hash."""

import hashlib
import hmac
import secrets
import sqlite3
import threading
from pathlib import Path

from medrobust.errors import MedrobustError
from medrobust.study.database import Closing, connect, explained, transaction
from medrobust.study.events import check_name

ACCESS = "access.sqlite"
"""Tokens and sessions, apart from the answers, so that these can be passed on."""
ACCESS_SCHEMA = (
    "CREATE TABLE tokens (holder TEXT PRIMARY KEY, digest TEXT NOT NULL)",
    """CREATE TABLE sessions (
    digest TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token TEXT NOT NULL,
    started REAL NOT NULL,
    seen REAL NOT NULL
)""",
)
_LONGEST = 128


def new_secret() -> str:
    """256 random bits as 43 letters that need no escaping in an address."""
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """The SHA-256 of a secret, as it is kept.

    A slow hash (scrypt) would protect what can be guessed. 256 random bits can't, at any speed;
    and it would let strangers keep the server busy with wrong tokens.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def connect_access(path: Path) -> sqlite3.Connection:
    """Open `access.sqlite`, which nobody else on the machine may read."""
    connection = connect(path, ACCESS_SCHEMA)
    path.chmod(0o600)
    return connection


class Tokens(Closing):
    """Who may come in: one token for each reader, and one for the admin (`events.ADMIN`).

    Raises:
        MedrobustError: the study's `access.sqlite` can't be used.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ACCESS
        self._connection = connect_access(self.path)
        self._lock = threading.Lock()

    def issue(self, holder: str) -> str:
        """A new token, told once; an older one of this holder stops working, with its sessions.

        Raises:
            EventError: the name is not one that a reader can have.
        """
        check_name(holder, "reader")
        token = new_secret()
        with self._lock, explained(self.path), transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO tokens VALUES (?, ?)", (holder, digest_of(token))
            )
            self._connection.execute("DELETE FROM sessions WHERE holder = ?", (holder,))
        return token

    def revoke(self, holder: str) -> None:
        """Let the holder's token and sessions work no longer.

        Raises:
            MedrobustError: there is no such holder.
        """
        if holder not in self.holders():
            known = ", ".join(self.holders()) or "no one"
            raise MedrobustError(f"reader: expected one with a link ({known}), found another")
        with self._lock, explained(self.path), transaction(self._connection):
            self._connection.execute("DELETE FROM tokens WHERE holder = ?", (holder,))
            self._connection.execute("DELETE FROM sessions WHERE holder = ?", (holder,))

    def holder_of(self, token: str) -> str | None:
        """Whose token this is, if anybody's; it takes the same time for all of one length."""
        if len(token) > _LONGEST:
            return None
        digest, found = digest_of(token), None
        with self._lock, explained(self.path):
            rows = self._connection.execute("SELECT holder, digest FROM tokens").fetchall()
        for holder, kept in rows:
            if hmac.compare_digest(digest, kept):
                found = str(holder)
        return found

    def holders(self) -> list[str]:
        """Who has a token, by name."""
        with self._lock, explained(self.path):
            rows = self._connection.execute("SELECT holder FROM tokens ORDER BY holder").fetchall()
        return [holder for (holder,) in rows]

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
