"""`answers.head`: number and hash of the last event, a line whenever one was saved.

Events are in the database, and on the disk, before their line is written. So the file may be a
little behind after a crash, never ahead: a database that ends before it has lost its tail.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from medrobust.errors import MedrobustError

HEAD = "answers.head"
_CODE = re.compile(r"(\d{1,15})-([0-9a-f]{16,64})")
_LINE = re.compile(r"(\d{1,15})-([0-9a-f]{64})")


class Head(NamedTuple):
    """An event by its number and (the beginning of) its hash."""

    sequence: int
    hash: str

    @property
    def code(self) -> str:
        """Short enough to be written down: 80 bits of the hash."""
        return f"{self.sequence}-{self.hash[:20]}"


def read_code(code: str) -> Head:
    """A head from what somebody kept: number, hyphen, at least 16 digits of the hash.

    Raises:
        MedrobustError: it is something else.
    """
    match = _CODE.fullmatch(code.strip().lower())
    if not match:
        raise MedrobustError(
            "receipt: expected an event's number, a hyphen and 16 to 64 hexadecimal digits, as in "
            "12-0123456789abcdef0123; found something else"
        )
    return Head(int(match[1]), match[2])


def write_head(path: Path, head: Head) -> None:
    """Add a line; those of several processes don't mix.

    It begins with the end of the line before, which the power may have torn.
    """
    line = f"\n{head.sequence}-{head.hash}".encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def read_heads(path: Path) -> tuple[list[Head], int]:
    """The heads in a file, none if it is missing, and how many of its lines are none."""
    if not path.is_file():
        return [], 0
    lines = path.read_bytes().decode("utf-8", "replace").split()
    found = [Head(int(match[1]), match[2]) for line in lines if (match := _LINE.fullmatch(line))]
    return found, len(lines) - len(found)
