"""Sessions in the browser: they outlive a restart of the server, and end with their token."""

import hashlib
import hmac
import threading
from dataclasses import dataclass
from pathlib import Path

from medrobust.errors import MedrobustError
from medrobust.study.database import Closing, explained, transaction
from medrobust.study.tokens import ACCESS, connect_access, digest_of, new_secret

_LIVE = """SELECT sessions.holder, started, seen FROM sessions JOIN tokens
ON tokens.holder = sessions.holder AND tokens.digest = sessions.token WHERE sessions.digest = ?"""
_STEP = 30.0
"""Seconds after which it is noted again that a session is in use: not every request writes."""


@dataclass(frozen=True)
class Lifetime:
    """How long a session lives, in seconds; its link opens another."""

    idle: float = 2 * 3600.0
    """Without a request."""
    total: float = 12 * 3600.0

    def is_over(self, started: float, seen: float, now: float) -> bool:
        """Whether it has ended; also if the clock was set back by as much."""
        return abs(now - started) > self.total or abs(now - seen) > self.idle


class Sessions(Closing):
    """Who is in, by the secret in their cookie, of which a hash is kept.

    Times are seconds since the epoch, passed in.

    Raises:
        MedrobustError: the study's `access.sqlite` can't be used.
    """

    def __init__(self, folder: Path, lifetime: Lifetime | None = None) -> None:
        self.path = folder / ACCESS
        self.lifetime = lifetime or Lifetime()
        self._lock = threading.Lock()
        self._connection = connect_access(self.path)

    def open(self, holder: str, now: float) -> str:
        """A session for somebody whose token was right: the secret for the cookie.

        Raises:
            MedrobustError: the token has been revoked meanwhile.
        """
        session = new_secret()
        with self._lock, explained(self.path), transaction(self._connection):
            row = self._connection.execute(
                "SELECT digest FROM tokens WHERE holder = ?", (holder,)
            ).fetchone()
            if row is None:
                raise MedrobustError("expected a reader with a link, found a link that was revoked")
            self._remove_old(now)
            values = (digest_of(session), holder, row[0], now, now)
            self._connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", values)
        return session

    def holder_of(self, session: str, now: float) -> str | None:
        """Who is in with this cookie; nobody if it is unknown, over, or its token was revoked."""
        digest = digest_of(session)
        with self._lock, explained(self.path):
            row = self._connection.execute(_LIVE, (digest,)).fetchone()
            if row is None or self.lifetime.is_over(row[1], row[2], now):
                return None
            if abs(now - row[2]) > _STEP:
                update = "UPDATE sessions SET seen = ? WHERE digest = ?"
                self._connection.execute(update, (now, digest))
        return str(row[0])

    def end(self, session: str) -> None:
        """Log out."""
        with self._lock, explained(self.path):
            self._connection.execute("DELETE FROM sessions WHERE digest = ?", (digest_of(session),))

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def _remove_old(self, now: float) -> None:
        self._connection.execute(
            "DELETE FROM sessions WHERE abs(? - started) > ? OR abs(? - seen) > ?",
            (now, self.lifetime.total, now, self.lifetime.idle),
        )


def form_token(session: str) -> str:
    """What every form and post of a session must carry, so that no other site can make one."""
    return hmac.new(session.encode(), b"form", hashlib.sha256).hexdigest()


def is_form_token(session: str, given: str) -> bool:
    """Whether a post carries its session's token, compared in constant time."""
    return hmac.compare_digest(form_token(session).encode(), given.encode("utf-8", "replace"))
