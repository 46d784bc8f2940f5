"""Where a reader is in a study, from what happened: enough to go on exactly there."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medrobust.study.chain import Link
from medrobust.study.events import ADMIN


@dataclass
class State:
    """What a reader had done by the last event."""

    reader: str
    item: str = ""
    """The item on the screen; empty before the first and after going on from one."""
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The latest value of every question, by item."""
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Window, zoom and overlay as they were left, by item."""
    shown: dict[str, str] = field(default_factory=dict)
    """When each item was first shown, in the order of showing."""
    done: dict[str, str] = field(default_factory=dict)
    """When each item was last gone on from."""
    sessions: int = 0
    finished: bool = False
    closed: bool = False
    """The whole study, by its admin."""


def follow(state: State, links: Iterable[Link]) -> None:
    """Take the state over these later events, of which those of other readers are not looked at."""
    for link in links:
        if link.reader == state.reader:
            _take(state, link)
        elif link.reader == ADMIN:
            state.closed |= link.kind == "closed"


def asked_before(links: Iterable[Link], values: Mapping[str, Any]) -> bool:
    """Whether any of the questions in `values` was answered in these events."""
    return any(values.keys() & json.loads(link.body)["values"].keys() for link in links)


def _take(state: State, link: Link) -> None:
    body, item = json.loads(link.body), link.item
    match link.kind:
        case "opened":
            state.sessions += 1
        case "shown":
            state.item = item
            state.shown.setdefault(item, link.at)
        case "answered" | "edited":
            state.answers[item] = state.answers.get(item, {}) | body["values"]
        case "viewed":
            state.views[item] = state.views.get(item, {}) | body
        case "finished" if item:
            state.done[item] = link.at
            state.item = "" if state.item == item else state.item
        case "finished":
            state.finished = True
