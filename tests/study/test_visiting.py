"""Visitors read a study whole, whatever the way to its server does to what they send."""

import importlib
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from rooms import Served

from medrobust.errors import MedrobustError
from medrobust.study import visiting
from medrobust.study.integrity import verify
from medrobust.study.visiting import Saved, Visitor

Serve = Callable[..., Served]
VALUES = {"useful": 4, "there": {"present": True, "confidence": 70}, "place": None, "words": "x"}
Fault = Callable[[int, str], str]
"""What befalls the n-th request of a method: "", "away", "lost" or "busy"."""


class Way:
    """The way to a served study, without a network."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.fault: Fault = lambda number, method: ""
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        fault = self.fault(len(self.asked), request.method)
        if fault == "away":
            raise httpx.ConnectError("refused")
        if fault == "busy":
            return httpx.Response(503)
        found = self.served.client().request(
            request.method, request.url.path, content=request.content, headers=request.headers
        )
        if fault == "lost":
            raise httpx.ReadError("reset")
        headers = [(n, v) for n, v in found.headers.multi_items() if n != "content-length"]
        return httpx.Response(found.status_code, headers=headers, content=found.content)

    def visitor(self, reader: str, **options: Any) -> Visitor:
        return Visitor(f"http://testserver/#{self.served.tokens[reader]}", **options)


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Callable[[Served], Way]:
    """Puts a study behind a `Way`; nobody sleeps."""
    monkeypatch.setattr(visiting.time, "sleep", lambda seconds: None)

    def put(served: Served) -> Way:
        way = Way(served)
        client = partial(httpx.Client, transport=httpx.MockTransport(way))
        monkeypatch.setattr(visiting.httpx, "Client", client)
        return way

    return put


def kinds(served: Served, reader: str) -> list[str]:
    return [link.kind for link in served.room.answers.events(reader)]


def check_whole(served: Served, reader: str, values: dict[str, Any] = VALUES) -> None:
    """Everything is answered, once."""
    items = served.items(reader)
    state = served.room.answers.latest(reader)
    assert state.finished
    assert state.answers == dict.fromkeys(items, values)
    count = Counter(kinds(served, reader))
    count.pop("opened")
    n = len(items)
    assert count == {"shown": n, "answered": n * len(values), "finished": n + 1}


def test_a_study_is_read_in_the_order_of_the_page(serve: Serve, reach: Any) -> None:
    served = serve(blocks=(2,), practice=1)
    way, saved = reach(served), list[Saved]()
    with way.visitor("ann", saved=saved.append) as ann:
        receipt = ann.read(lambda item: VALUES)
    check_whole(served, "ann")
    case = ["shown", *["answered"] * 4, "finished"]
    assert kinds(served, "ann") == ["opened", *case * 3, "finished"]
    links = [link for link in served.room.answers.events("ann") if link.item]
    assert [one.id for one in saved] == [link.id for link in links]
    assert [one.receipt for one in saved] == [f"{ln.sequence}-{ln.hash[:20]}" for ln in links]
    assert {one.attempts for one in saved} == {1}
    assert all(one.seconds >= 0 for one in saved)
    assert not [found for found in verify(served.folder, [receipt]) if found.check == "receipt"
                and found.verdict != "ok"]  # fmt: skip


@pytest.mark.parametrize("has_deep", [True, False])
def test_the_next_case_is_loaded_meanwhile(serve: Serve, reach: Any, has_deep: bool) -> None:
    served = serve(blocks=(2,), practice=0, has_deep=has_deep)
    way, first, second = reach(served), *served.items("ann")
    thought: list[int] = []

    def think(item: str) -> None:
        thought.append(len(way.asked))

    with way.visitor("ann") as ann:
        ann.read(lambda item: {"useful": 1, "there": {"present": False, "confidence": 0}}, think)
    kind = "deep" if has_deep else "image"
    loading = [[f"GET /item/{item}{end}" for end in ("", f"/{kind}", "/map")]
               for item in (first, second)]  # fmt: skip
    event = f"POST /item/{first}/events"
    assert way.asked[: thought[0]] == [
        *("GET /", "POST /enter", "GET /read"),
        *(*loading[0], event, *loading[1]),
    ]
    last = f"POST /item/{second}/events"
    assert way.asked[thought[1] :] == [*[last] * 3, *["GET /read"] * 2, "POST /finish", "GET /read"]


@pytest.mark.parametrize("fault", ["away", "lost", "busy"])
@pytest.mark.parametrize("every", [2, 3])
def test_what_goes_wrong_is_sent_again_and_saved_once(
    served: Served, reach: Any, fault: str, every: int
) -> None:
    way, saved = reach(served), list[Saved]()
    way.fault = lambda number, method: fault if number % every == 0 else ""
    for reader in ("ann", "bob"):
        with way.visitor(reader, saved=saved.append) as visitor:
            visitor.read(lambda item: VALUES)
        check_whole(served, reader)
    assert max(one.attempts for one in saved) > 1
    assert len({one.id for one in saved}) == len(saved) == 2 * 6 * 6


def test_who_left_goes_on_where_he_was(served: Served, reach: Any) -> None:
    class AwayError(Exception):
        pass

    way = reach(served)
    items = served.items("ann")

    def leave(item: str) -> None:
        if item == items[3]:
            raise AwayError

    with pytest.raises(AwayError), way.visitor("ann") as ann:
        ann.read(lambda item: VALUES, leave)
    done = way.served.room.answers.latest("ann").done
    assert list(done) == items[:3]
    with way.visitor("ann") as ann:
        assert ann.going_on() == items[3]
        ann.read(lambda item: VALUES)
    count = Counter(kinds(served, "ann"))
    assert count == {"opened": 2, "shown": 7, "answered": 24, "finished": 7}
    with way.visitor("ann") as ann:  # who has finished is told the receipt again
        assert ann.read(lambda item: {}) == ann.finish()


def test_refusals_are_told(served: Served, reach: Any) -> None:
    way = reach(served)
    with pytest.raises(MedrobustError) as error, way.visitor("ann") as ann:
        ann.read(lambda item: {"useful": 9})
    assert str(error.value) == (
        "expected the study's server to accept POST /item/…/events, found status 422: useful: "
        "expected a step from 0 to 5, found another"
    )
    way.served.tokens["ann"] = "wrong"
    with pytest.raises(MedrobustError) as error, way.visitor("ann"):
        pass
    assert str(error.value) == (
        "expected the study's server to accept POST /enter, found status 403"
    )


def test_a_block_that_is_not_open_ends_the_reading(serve: Serve, reach: Any) -> None:
    served = serve(washout_days=7.0)
    with pytest.raises(MedrobustError) as error, reach(served).visitor("ann") as ann:
        ann.read(lambda item: VALUES)
    assert str(error.value) == (
        "expected a page of the study that leads on, found another (This block is finished. The "
        "next one opens on)"
    )
    assert len(served.room.answers.latest("ann").done) == 4


@pytest.mark.parametrize(("fault", "told"), [("away", "ConnectError"), ("busy", "status 503")])
def test_patience_ends(served: Served, reach: Any, fault: str, told: str) -> None:
    way = reach(served)
    way.fault = lambda number, method: fault
    with pytest.raises(MedrobustError) as error, way.visitor("ann", patience=0.0):
        pass
    assert str(error.value) == (
        "expected the study's server at http://testserver, found none for 0 seconds "
        f"({told}): start it again, nothing is lost"
    )


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "medrobust.study.visiting")
    with pytest.raises(MedrobustError) as error:
        importlib.import_module("medrobust.study.visiting")
    assert str(error.value) == (
        "simulated readers need httpx, which is not installed: pip install 'medrobust[study]'"
    )
