"""The chain: one text per value, one hash per event, and every change told."""

import hashlib
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust.errors import MedrobustError
from medrobust.study.chain import Link, canonical, faults, genesis, hash_of, linked

START = genesis("d" * 64)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def chain(length: int) -> list[Link]:
    links: list[Link] = []
    for sequence in range(1, length + 1):
        previous = links[-1].hash if links else START
        body = canonical({"values": {"useful": sequence}})
        names = ("reader-1", f"id-{sequence}", "answered", f"item-{sequence}", body)
        links.append(linked(Link(sequence, *names, "2026-01-01T00:00:00+00:00", previous, "")))
    return links


def told(links: Sequence[Link]) -> list[str]:
    return list(faults(links, START))


@given(VALUES)
def test_the_canonical_text_is_one_and_reads_back(value: object) -> None:
    text = canonical(value)
    assert text.isascii()
    assert canonical(json.loads(text)) == text


def test_the_order_of_keys_does_not_count() -> None:
    assert canonical({"b": [1, 2.5], "a": "é"}) == r'{"a":"\u00e9","b":[1,2.5]}'
    assert canonical({"a": "é", "b": [1, 2.5]}) == canonical({"b": [1, 2.5], "a": "é"})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, b"x", pytest.param(10**5000, id="huge")]
)
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(MedrobustError, match=r"^expected JSON \(finite numbers, texts, lists and"):
        canonical(value)


def test_deep_nesting_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(MedrobustError, match="not nested deeply"):
        canonical(value)


def test_the_hash_by_hand() -> None:
    text = (
        '[7,"reader-1","an-id","answered","item-1","{\\"a\\":1}","2026-01-01","' + "0" * 64 + '"]'
    )
    link = Link(7, "reader-1", "an-id", "answered", "item-1", '{"a":1}', "2026-01-01", "0" * 64, "")
    assert hash_of(link) == hashlib.sha256(text.encode()).hexdigest()
    assert linked(link) == link._replace(hash=hash_of(link))
    assert genesis("abc") == hashlib.sha256(b"medrobust answers 1\nabc").hexdigest()


def test_texts_that_join_alike_hash_differently() -> None:
    link = chain(1)[0]
    first = link._replace(reader="ab", item="c")
    assert hash_of(first) != hash_of(first._replace(reader="a", item="bc"))


def test_a_whole_chain_has_no_faults() -> None:
    assert told([]) == []
    assert told(chain(5)) == []


@pytest.mark.parametrize("column", [name for name in Link._fields if name != "sequence"])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_any_changed_column_is_told(column: str, place: int) -> None:
    links = chain(5)
    changed = getattr(links[place], column)
    links[place] = links[place]._replace(**{column: "f" * len(changed)})
    assert f"event {place + 1} was altered: its hash isn't that of its content" in told(links)


def test_a_changed_body_is_told_once() -> None:
    links = chain(5)
    links[2] = links[2]._replace(body=canonical({"values": {"useful": 0}}))
    assert told(links) == ["event 3 was altered: its hash isn't that of its content"]


def test_a_changed_body_with_its_hash_breaks_the_next() -> None:
    links = chain(5)
    links[2] = linked(links[2]._replace(body=canonical({"values": {"useful": 0}})))
    assert told(links) == ["event 4 does not follow from event 3: one of them was exchanged"]


@pytest.mark.parametrize(
    ("removed", "first"),
    [
        (slice(0, 1), "event 1 is missing"),
        (slice(1, 2), "event 2 is missing"),
        (slice(1, 3), "events 2 to 3 are missing"),
    ],
)
def test_a_gap_is_told(removed: slice, first: str) -> None:
    links = chain(5)
    del links[removed]
    assert told(links)[0] == first
    assert len(told(links)) == 2  # and that the next does not follow


def test_a_gap_that_was_closed_by_counting_again_is_told() -> None:
    links = chain(5)
    del links[1]
    links = [link._replace(sequence=place) for place, link in enumerate(links, 1)]
    assert told(links)[0] == "event 2 does not follow from event 1: one of them was exchanged"


def test_two_exchanged_events_are_told() -> None:
    links = chain(5)
    links[1], links[2] = links[2]._replace(sequence=2), links[1]._replace(sequence=3)
    notes = told(links)
    assert "event 2 was altered: its hash isn't that of its content" in notes
    assert "event 3 was altered: its hash isn't that of its content" in notes


def test_another_beginning_is_told() -> None:
    notes = list(faults(chain(3), genesis("another")))
    assert notes == ["event 1 does not begin this study: the questions or the event were changed"]


def test_events_out_of_order_are_told() -> None:
    links = chain(3)
    assert told([links[0], links[0]])[0] == "event 1 comes after event 1"


@pytest.mark.parametrize(
    "body",
    ['{"b":1,"a":2}', '{"a": 1}', "", "no JSON", pytest.param("[" * 100_000, id="deep")],
)
def test_a_body_that_is_not_canonical_is_told(body: str) -> None:
    link = linked(chain(1)[0]._replace(body=body))
    assert told([link]) == ["event 1 was altered: its hash isn't that of its content"]


@pytest.mark.parametrize("odd", [None, b"\xff", 3, "\udcff"])
def test_columns_of_other_types_are_told_and_crash_nothing(odd: object) -> None:
    link = chain(1)[0]._replace(reader=odd)  # type: ignore[arg-type]
    assert len(told([link])) == 1


@given(st.integers(0, 5), st.sampled_from(["remove", "exchange", "alter"]))
def test_no_change_but_of_the_tail_goes_unnoticed(place: int, change: str) -> None:
    links = chain(6)
    if change == "remove":
        del links[place]
    elif change == "exchange":
        other = (place + 1) % 6
        links[place], links[other] = links[other], links[place]
    else:
        links[place] = links[place]._replace(item="another")
    assert bool(told(links)) is (change != "remove" or place < 5)
