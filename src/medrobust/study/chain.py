"""The chain that binds each event of a study to all before it.

An event is written with the SHA-256 of its own content, which holds the hash of the event before.
So whoever knows the last hash knows all events: none can be altered, removed, inserted or moved
without changing it (Haber & Stornetta, Journal of Cryptology 1991). There is no secret in it: who
can write the file can write another chain. That is found out only by a hash kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from medrobust.errors import MedrobustError

FORMAT = "medrobust answers 1"


class Link(NamedTuple):
    """An event as it is stored: all columns of the table."""

    sequence: int
    """1, 2, 3, … in the order of saving."""
    reader: str
    id: str
    """A UUID that whoever sent the event made for it."""
    kind: str
    item: str
    """Empty if the event is about no item."""
    body: str
    """Canonical JSON."""
    at: str
    """The server's clock, ISO 8601 in UTC: told, never relied on."""
    previous: str
    """The hash of the event before; of the first, that of the study (`genesis`)."""
    hash: str


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII.

    Raises:
        MedrobustError: it isn't JSON: NaN, infinity, another type, or nested too deeply.
    """
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise MedrobustError(
            "expected JSON (finite numbers, texts, lists and objects, not nested deeply), found "
            "something else"
        ) from error


def genesis(design: str) -> str:
    """What the first event follows: the hash of what is asked, so that answers belong to it.

    `design` is a SHA-256 of the files that say what is asked.
    """
    return _sha256(f"{FORMAT}\n{design}")


def hash_of(link: Link) -> str:
    """64 hexadecimal digits: the SHA-256 of the canonical JSON of all columns but the hash."""
    return _sha256(canonical(link[:-1]))


def linked(link: Link) -> Link:
    """The same with its hash."""
    return link._replace(hash=hash_of(link))


def faults(links: Iterable[Link], start: str) -> Iterator[str]:
    """What is wrong with a chain that should begin after the hash `start`: nothing if it is whole.

    The first event at fault is where to look; what follows is compared with what is there, so
    that one change is told once or twice and not for every later event.
    """
    sequence, previous = 0, start
    for link in links:
        if link.sequence != sequence + 1:
            yield _gap(sequence, link.sequence)
        if link.previous != previous:
            yield _unbound(link.sequence, sequence)
        if not _is_whole(link):
            yield f"event {link.sequence} was altered: its hash isn't that of its content"
        sequence, previous = link.sequence, link.hash


def _gap(before: int, after: int) -> str:
    first, last = before + 1, after - 1
    if last < first:
        return f"event {after} comes after event {before}"
    missing = f"event {first} is" if first == last else f"events {first} to {last} are"
    return f"{missing} missing"


def _unbound(sequence: int, before: int) -> str:
    if before == 0:
        return (
            f"event {sequence} does not begin this study: the questions or the event were changed"
        )
    return f"event {sequence} does not follow from event {before}: one of them was exchanged"


def _is_whole(link: Link) -> bool:
    """Whether the hash and the form are right, whatever types the columns have."""
    try:
        same = link.hash == hash_of(link)
        return same and canonical(json.loads(link.body)) == link.body
    except (MedrobustError, ValueError, TypeError, RecursionError):
        return False


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
