"""A small study to serve, and visitors to it."""

import hashlib
import json
import re
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from medrobust.study.pictures import deep, overlay, photograph, write_picture
from medrobust.study.web.app import make_app, open_room
from medrobust.study.web.room import Room

with warnings.catch_warnings():  # of the client's next major version, which is another package
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from starlette.testclient import TestClient

QUESTIONS: Sequence[Mapping[str, Any]] = (
    {"id": "useful", "kind": "scale", "text": "How useful is it for this finding: {finding}?"},
    {"id": "there", "kind": "presence", "text": "Is the finding present: {finding}?"},
    {"id": "place", "kind": "location", "text": "Where?", "shape": "point"},
    {"id": "words", "kind": "text", "text": "Anything else?", "longest": 100},
)
START = datetime(2030, 1, 1, 8, tzinfo=UTC)


def name_of(*parts: Any) -> str:
    """32 hexadecimal digits."""
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


def write_study(
    folder: Path,
    readers: Sequence[str] = ("ann", "bob"),
    blocks: Sequence[int] = (3, 2),
    practice: int = 1,
    size: int = 24,
    has_deep: bool = False,
    **changes: Any,
) -> Path:
    """A study's folder as `medrobust study create` would write it, of drawn pictures."""
    (folder / "pictures").mkdir(parents=True)
    told = {
        **{"version": 1, "title": "Which maps help?", "created": "2030-01-01T00:00:00+00:00"},
        **{"medrobust": "0", "readers": list(readers), "questions": list(QUESTIONS)},
        **{"blocks": len(blocks), "washout_days": 0.0, "back": True, "idle_seconds": 60},
        **{"picture": {"width": size, "height": size, "deep": has_deep}, "key_sha256": "0" * 64},
    }
    order, items = {}, {}
    for reader in readers:
        counts = iter(range(practice + sum(blocks)))
        named = [[name_of(reader, next(counts)) for _ in range(n)] for n in (practice, *blocks)]
        order[reader] = {"practice": named[0], "blocks": named[1:]}
        for place, item in enumerate(item for part in named for item in part):
            items[item] = _item(folder / "pictures", place, size, has_deep, place < practice)
    (folder / "study.yaml").write_text(yaml.safe_dump(told | changes, sort_keys=False))
    (folder / "items.json").write_text(json.dumps({"version": 1, "items": items}))
    (folder / "order.json").write_text(json.dumps({"version": 1, "readers": order}))
    (folder / "sealed").mkdir()
    (folder / "sealed" / "key.json").write_text('{"condition": "SEALED"}')
    return folder


def _item(folder: Path, place: int, size: int, has_deep: bool, practice: bool) -> dict[str, Any]:
    image, chart = name_of("image", place), name_of("map", place)
    lungs, heat = drawn(place, size)
    write_picture(folder, image, photograph(lungs))
    write_picture(folder, chart, overlay(heat))
    if has_deep:
        write_picture(folder, name_of("deep", place), deep(lungs))
    return {
        **{"finding": "effusion", "image": f"{image}.png", "map": f"{chart}.png"},
        **{"deep": f"{name_of('deep', place)}.png" if has_deep else None, "practice": practice},
    }


def drawn(place: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """An image in 16 bits and a map."""
    down, across = np.mgrid[0:size, 0:size] / size
    hill = np.exp(-((down - 0.6) ** 2 + (across - 0.3 - 0.05 * place) ** 2) * 30)
    grey = (0.2 + 0.6 * np.sin(across * np.pi) * np.sin(down * np.pi) + 0.1 * hill) * 65_535
    return grey.astype(np.uint16)[None], (hill - 0.05).astype(np.float32)


@dataclass
class Clock:
    """A clock that tests move."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, **step: float) -> None:
        self.now += timedelta(**step)


@dataclass
class Served:
    """A study, open, with everybody's token."""

    folder: Path
    clock: Clock
    room: Room
    tokens: dict[str, str]

    @property
    def app(self) -> Any:
        return make_app(self.room)

    def client(self) -> TestClient:
        """A browser that hasn't come in."""
        return TestClient(self.app, follow_redirects=False, raise_server_exceptions=False)

    def visitor(self, name: str) -> "Visitor":
        """Somebody who came in by a link."""
        visitor = Visitor(self.client(), name)
        assert visitor.enter(self.tokens[name]).status_code == 303
        return visitor

    def items(self, reader: str) -> list[str]:
        return [item for stretch in self.room.study.stretches(reader) for item in stretch.items]


def open_served(folder: Path, clock: Clock | None = None, **options: Any) -> Served:
    """Serve a study's folder; everybody gets a link."""
    clock = clock or Clock()
    room = open_room(folder, now=clock, **options)
    names = (*room.study.settings.readers, "admin")
    return Served(folder, clock, room, {name: room.tokens.issue(name) for name in names})


def close_served(served: Served) -> None:
    for part in (served.room.answers, served.room.tokens, served.room.sessions):
        part.close()


@dataclass
class Visitor:
    """What a browser does, without a browser."""

    client: TestClient
    name: str = ""

    def enter(self, token: str) -> httpx.Response:
        form = hidden(self.client.get("/").text, "form")
        return self.client.post("/enter", data={"form": form, "token": token})

    def read(self) -> str:
        """The page that says where the reader is."""
        return self.client.get("/read").text

    def going_on(self) -> str:
        """The item that the page leads to."""
        found = re.search(r'href="/item/([0-9a-f]{32})"', self.read())
        assert found
        return found[1]

    def form(self) -> str:
        return hidden(self.read(), "form")

    def send(self, item: str, kind: str, body: Any = None, **changes: Any) -> httpx.Response:
        event = {"id": str(uuid.uuid4()), "kind": kind, "body": body or {}} | changes
        headers = {"X-Form-Token": self.form()}
        return self.client.post(f"/item/{item}/events", json=event, headers=headers)

    def answer(self, item: str, **values: Any) -> httpx.Response:
        return self.send(item, "answered", {"values": values})

    def judge(self, item: str, **values: Any) -> None:
        """A whole case."""
        given = {"useful": 3, "there": {"present": True, "confidence": 80}} | values
        for response in (
            self.send(item, "shown"),
            self.answer(item, **given),
            self.send(item, "finished"),
        ):
            assert response.status_code == 200, response.text


def hidden(page: str, name: str) -> str:
    """A hidden field's value."""
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found, page
    return found[1]
