"""What has become of the rows of a data set so far: on disk, to go on after a crash."""

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from medrobust.data.convert import Image
from medrobust.files import flush

ROWS = 256
"""Rows after which it is time to commit."""


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one row: an image of the store, or a reject."""

    reason: str = ""
    """Why it cannot be used; the rest is empty then."""
    shape: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    digest: str = ""
    look: int = 0
    brightest: int = 0
    note: str = ""
    masks: tuple[tuple[str, str], ...] = ()
    """Name and kind of each."""
    boxes: tuple[tuple[Any, ...], ...] = ()
    """finding, x, y(, z), w, h(, d) of each."""

    @classmethod
    def of(cls, image: Image) -> Self:
        """What is to be remembered of an image."""
        return cls(
            shape=image.pixels.shape,
            numbers=image.numbers,
            digest=image.digest,
            look=image.look,
            brightest=int(image.pixels.max()),
            note=image.note,
            masks=tuple((mask.name, mask.kind) for mask in image.masks),
            boxes=tuple((box.finding, *box.origin[::-1], *box.extent[::-1]) for box in image.boxes),
        )


class Journal:
    """Records in a file, a line each; opening it drops a line that a crash left unfinished."""

    def __init__(self, path: Path) -> None:
        self.records, end = _read(path)
        self._written = len(self.records)
        self._file = path.open("ab")
        self._file.truncate(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what is not on the disk yet is not missed
            self._file.close()

    def add(self, record: Record) -> bool:
        """Remember a record; returns whether it is time to commit."""
        self.records.append(record)
        return len(self.records) - self._written >= ROWS

    def commit(self) -> None:
        """Make the disk hold all records."""
        for record in self.records[self._written :]:
            self._file.write(json.dumps(dataclasses.astuple(record)).encode() + b"\n")
        flush(self._file)
        self._written = len(self.records)


def _read(path: Path) -> tuple[list[Record], int]:
    """Return the whole records of a file and where they end."""
    records: list[Record] = []
    end = 0
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                records.append(_record(json.loads(line)))
            except ValueError:
                break
            if not line.endswith(b"\n"):
                records.pop()
                break
            end += len(line)
    return records, end


def _record(values: list[Any]) -> Record:
    reason, shape, numbers, digest, look, brightest, note, masks, boxes = values
    pairs, rows = tuple(map(tuple, masks)), tuple(map(tuple, boxes))
    return Record(reason, tuple(shape), tuple(numbers), digest, look, brightest, note, pairs, rows)
