"""A study's folder without pictures, and events to put into it."""

import uuid
from pathlib import Path
from typing import Any

from medrobust.study.events import Event


def study_in(folder: Path) -> Path:
    """The files that answers are bound to, and no more."""
    for name in ("study.yaml", "items.json", "order.json"):
        (folder / name).write_text("{}\n")
    return folder


def new() -> str:
    """An id."""
    return str(uuid.uuid4())


def shown(reader: str = "r1", item: str = "a", position: int = 0) -> Event:
    """An item of the first block is put on the screen."""
    body = {"block": 0, "position": position, "practice": False}
    return Event(reader, "shown", new(), item, body)


def answer(reader: str = "r1", item: str = "a", **values: Any) -> Event:
    """Questions are answered."""
    return Event(reader, "answered", new(), item, {"values": values})
