"""Nothing that a browser receives tells which model, branch or method made a map, or the truth."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rooms import Clock, Served, close_served, open_served
from test_study_create import SECRET, runs, settings, study  # noqa: F401  (fixtures, settings)

from medrobust.data.store import Store

READER = "reader-2"


@pytest.fixture
def blinded(study: Path) -> Iterator[Served]:  # noqa: F811
    """The study that `create` makes from tiny runs, open."""
    served = open_served(study, Clock())
    yield served
    close_served(served)
    for path in study.glob("a*"):  # the answers, so that other tests find it as it was made
        path.unlink()


def received(served: Served) -> Iterator[tuple[str, str, Any]]:
    """Every response to a reader who answers the whole study: item, kind, response.

    Script and style sheet are left out: they are the package's own, the same in every study.
    """
    reader = served.visitor(READER)
    yield "", "door", reader.client.get("/")
    for item in served.items(READER):
        yield "", "read", reader.client.get("/read")
        yield item, "page", reader.client.get(f"/item/{item}")
        for kind in ("image", "map"):
            yield item, kind, reader.client.get(f"/item/{item}/{kind}")
        for kind, body in (
            ("shown", {}),
            ("answered", {"values": {"useful": 3}}),
            ("finished", {}),
        ):
            yield item, kind, reader.send(item, kind, body)
    yield "", "read", reader.client.get("/read")
    yield "", "progress", served.visitor("admin").client.get("/progress")


def test_nothing_tells_what_an_item_is(blinded: Served, tiny_store: Store) -> None:
    key = json.loads((blinded.folder / "sealed" / "key.json").read_text())["items"]
    words = {"standard", "dual", "clean", "adv", "single", "gradient", "grad-cam", "phantom"}
    words |= {"plain", "twin", "truth", "repeat_of", "case-0", "patient", SECRET.hex()}
    words |= {str(name).casefold() for name in tiny_store.table["image_id"]}
    shapes: dict[str, set[str]] = {}
    sizes: dict[str, set[str]] = {}
    for item, kind, response in received(blinded):
        assert response.status_code == 200, (kind, response.text)
        told = f"{response.headers} {response.content.decode('latin-1')}".casefold()
        told = re.sub(r'class="pane plain"', "", told)
        found = {word for word in words if word in told}
        assert found == set(), kind
        if kind in ("image", "map"):
            sizes.setdefault(kind, set()).add(str(response.headers))
        if kind == "page":
            finding = key[item]["finding"]
            bare = re.sub(r"[0-9a-f]{32,}|\d+", "", response.text)
            part = (
                finding,
                item in blinded.room.study.readings[READER].practice,
                place(blinded, item),
            )
            shapes.setdefault(str(part), set()).add(bare)
    assert {kind: len(seen) for kind, seen in sizes.items()} == {"image": 1, "map": 1}
    assert {len(seen) for seen in shapes.values()} == {1}  # pages differ in finding and place only


def place(served: Served, item: str) -> str:
    """First, last or between: what the buttons depend on."""
    stretch = next(one for one in served.room.study.stretches(READER) if item in one.items)
    return {stretch.items[0]: "first", stretch.items[-1]: "last"}.get(item, "between")
