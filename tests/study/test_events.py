"""Events: what is accepted, and the exact words of what is not."""

import re
from typing import Any

import pytest

from medrobust.study.events import MOST_BODY, MOST_TEXT, Event, EventError

ID = "01234567-89ab-cdef-0123-456789abcdef"


def event(**changes: Any) -> Event:
    settings: dict[str, Any] = {"reader": "reader-1", "kind": "answered", "id": ID, "item": "a1"}
    return Event(**(settings | {"body": {"values": {"useful": 3}}} | changes))


@pytest.mark.parametrize(
    ("kind", "item", "body"),
    [
        ("opened", "", {}),
        ("shown", "a1", {"block": 0, "position": 3, "practice": False}),
        ("shown", "a1", {"block": None, "position": 0, "practice": True}),
        ("answered", "a1", {"values": {"place": {"x": 1, "y": 2.5}, "seen": None}}),
        ("viewed", "a1", {"window": {"low": 0.1, "high": 0.9}}),
        ("idle", "a1", {"seconds": 12.5}),
        ("finished", "a1", {}),
        ("finished", "", {}),
    ],
)
def test_what_is_accepted(kind: str, item: str, body: dict[str, Any]) -> None:
    assert event(kind=kind, item=item, body=body).body == body


def test_the_admin_closes_and_does_nothing_else() -> None:
    assert event(reader="admin", kind="closed", item="", body={}).kind == "closed"
    for changes in ({"reader": "admin"}, {"kind": "closed", "item": "", "body": {}}):
        with pytest.raises(
            EventError, match=r"^reader: expected admin to close, and nothing else$"
        ):
            event(**changes)


@pytest.mark.parametrize(
    "name", ["", "../x", "a b", "é", "a" * 65, "-a", "a\n", "'; DROP", None, 3]
)
@pytest.mark.parametrize("what", ["reader", "item"])
def test_other_names_are_refused(what: str, name: object) -> None:
    words = f"{what}: expected 1 to 64 letters, digits, - or _, found something else"
    with pytest.raises(EventError, match=f"^{words}$"):
        event(**{what: name})


@pytest.mark.parametrize("given", ["", ID.upper(), ID + "\n", ID[:-1], None, "x" * 36])
def test_an_id_is_a_uuid(given: object) -> None:
    with pytest.raises(EventError, match=r"^id: expected a UUID in lower case, found something"):
        event(id=given)


@pytest.mark.parametrize("kind", ["edited", "deleted", "", None, []])
def test_other_kinds_are_refused(kind: object) -> None:
    with pytest.raises(
        EventError, match=r"^kind: expected one of opened, shown, answered, viewed,"
    ):
        event(kind=kind)


def test_what_is_about_no_item_names_none() -> None:
    with pytest.raises(EventError, match=r"^item: expected none with opened, found one$"):
        event(kind="opened", body={})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("answered", {}),
        ("answered", {"values": {}}),
        ("answered", {"values": [1]}),
        ("answered", {"values": {1: 2}}),
        ("answered", {"values": {"": 2}}),
        ("answered", {"values": {"a\n": 2}}),
        ("viewed", {"a\rb": 2}),
        ("answered", {"values": {"a": 1}, "more": 1}),
        ("answered", [1]),
        ("answered", None),
        ("shown", {"block": True, "position": 0, "practice": False}),
        ("shown", {"block": -1, "position": 0, "practice": False}),
        ("shown", {"block": 0, "position": "1", "practice": False}),
        ("shown", {"position": 0, "practice": False}),
        ("idle", {"seconds": -1}),
        ("idle", {"seconds": 1e300}),
        ("idle", {"seconds": "5"}),
        ("viewed", {}),
        ("finished", {"a": 1}),
    ],
)
def test_other_forms_are_refused(kind: str, body: object) -> None:
    with pytest.raises(EventError, match=rf"^body: expected that of {kind}, found \d things that"):
        event(kind=kind, body=body)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", {1}])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(EventError, match=r"^body: expected JSON \(finite numbers"):
        event(body={"values": {"useful": value}})


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [500, 5_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(EventError, match=r"^body: expected"):
        event(body={"values": {"useful": nested(depth)}})


def test_the_size_of_a_body_is_limited() -> None:
    most = MOST_BODY - len('{"values":{"a":[]}}')
    event(body={"values": {"a": [1] * ((most + 1) // 2)}})
    with pytest.raises(EventError, match=rf"^body: expected at most {MOST_BODY} characters of"):
        event(body={"values": {"a": [1] * ((most + 1) // 2 + 1)}})


def test_the_length_of_a_text_is_limited() -> None:
    event(body={"values": {"words": "é" * MOST_TEXT}})
    words = f"text: expected at most {MOST_TEXT} characters, found {MOST_TEXT + 1}"
    for values in ({"words": "x" * (MOST_TEXT + 1)}, {"words": [{"x" * (MOST_TEXT + 1): 1}]}):
        with pytest.raises(EventError, match=f"^{words}$"):
            event(body={"values": values})


@pytest.mark.parametrize("letter", ["\x00", "\x1b", "\x7f", "\ud800"])
def test_letters_that_no_file_could_hold_are_refused(letter: str) -> None:
    with pytest.raises(EventError, match=r"^text: expected letters, tabs and ends of lines, found"):
        event(body={"values": {"words": [{"deep": f"a{letter}b"}]}})


@pytest.mark.parametrize("text", ["a\tb\r\nc", "<script>", "'; DROP TABLE events; --", "😀 é 胸"])
def test_all_else_is_a_text(text: str) -> None:
    assert event(body={"values": {"words": text}}).body["values"]["words"] == text


def test_an_error_repeats_nothing_of_what_was_sent() -> None:
    secret = "Mrs Miller"
    for changes in (
        {"reader": secret},
        {"item": secret},
        {"id": secret},
        {"kind": secret},
        {"body": {secret: secret}},
        {"body": {"values": {"a": f"{secret}\x00"}}},
    ):
        with pytest.raises(EventError) as caught:
            event(**changes)
        assert not re.search("Miller", str(caught.value))
