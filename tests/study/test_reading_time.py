"""Reading times by hand: each story is told in seconds of the server's clock."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from medrobust.study.chain import Link, canonical
from medrobust.study.reading_time import ReadingTime, reading_times

START = datetime(2026, 1, 1, tzinfo=UTC)
ANSWER = {"values": {"useful": 1}}
Happening = tuple[float, str, str, str] | tuple[float, str, str, str, dict[str, Any]]


def story(*happenings: Happening) -> Sequence[Link]:
    """Events at seconds, of readers, kinds and items, unhashed."""
    links = []
    for sequence, (seconds, reader, kind, item, *body) in enumerate(happenings, 1):
        at = (START + timedelta(seconds=seconds)).isoformat()
        given = body[0] if body else ANSWER if kind in ("answered", "edited") else {}
        links.append(Link(sequence, reader, "", kind, item, canonical(given), at, "", ""))
    return links


def time_of(*happenings: Happening, item: str = "a") -> ReadingTime:
    return reading_times(story(*happenings))["r", item]


def test_from_showing_to_the_last_answer() -> None:
    assert time_of(
        *((0, "r", "shown", "a"), (4, "r", "answered", "a"), (6, "r", "edited", "a")),
        *((9, "r", "finished", "a"), (10, "r", "shown", "b")),
    ) == ReadingTime(6, "")


def test_an_item_that_was_not_answered_has_no_time() -> None:
    assert time_of((0, "r", "shown", "a"), (9, "r", "finished", "a")) == ReadingTime(None, "")


def test_idle_time_before_the_answer_does_not_count() -> None:
    assert time_of(
        *((0, "r", "shown", "a"), (100, "r", "idle", "a", {"seconds": 90.5})),
        *((104, "r", "answered", "a"), (300, "r", "idle", "a", {"seconds": 150})),
    ) == ReadingTime(13.5, "")


def test_idle_time_on_another_item_does_not_count() -> None:
    assert time_of(
        *((0, "r", "shown", "a"), (5, "r", "answered", "a"), (10, "r", "shown", "b")),
        *((50, "r", "idle", "a", {"seconds": 30}), (60, "r", "answered", "b")),
        item="b",
    ) == ReadingTime(50, "")


def test_time_between_two_visits_does_not_count() -> None:
    happenings: Sequence[Happening] = (
        *((0, "r", "shown", "a"), (10, "r", "answered", "a"), (11, "r", "shown", "b")),
        *((20, "r", "answered", "b"), (5000, "r", "opened", ""), (5001, "r", "shown", "a")),
        *((5004, "r", "edited", "a"), (5005, "r", "shown", "b")),
    )
    assert time_of(*happenings) == ReadingTime(13, "")
    assert time_of(*happenings, item="b") == ReadingTime(9, "")


def test_a_visit_without_an_answer_does_not_count() -> None:
    assert time_of(
        *((0, "r", "shown", "a"), (10, "r", "opened", ""), (100, "r", "shown", "a")),
        (107, "r", "answered", "a"),
    ) == ReadingTime(7, "")


def test_readers_do_not_mix() -> None:
    times = reading_times(
        story(
            *((0, "r", "shown", "a"), (1, "s", "shown", "a"), (3, "s", "answered", "a")),
            *((4, "s", "shown", "b"), (9, "r", "answered", "a")),
        )
    )
    assert times == {
        ("r", "a"): ReadingTime(9, ""),
        ("s", "a"): ReadingTime(2, ""),
        ("s", "b"): ReadingTime(None, ""),
    }


@pytest.mark.parametrize("answered", [-5, 50])
def test_a_clock_set_back_meanwhile_is_told(answered: float) -> None:
    """Also where the difference is positive, and where only another reader's event shows it."""
    happenings: Sequence[Happening] = (
        *((0, "r", "shown", "a"), (20, "s", "shown", "a"), (-10, "s", "answered", "a")),
        *((answered, "r", "answered", "a"), (60, "r", "shown", "b"), (63, "r", "answered", "b")),
    )
    assert time_of(*happenings) == ReadingTime(None, "clock set back")
    assert time_of(*happenings, item="b") == ReadingTime(3, "")


def test_a_clock_set_back_between_two_items_does_not_matter() -> None:
    assert time_of(
        *((0, "r", "shown", "a"), (5, "r", "answered", "a"), (-100, "r", "shown", "b")),
        (-98, "r", "answered", "b"),
    ) == ReadingTime(5, "")


def test_more_idle_than_time_is_told() -> None:
    assert time_of(
        *((0, "r", "shown", "a"), (5, "r", "idle", "a", {"seconds": 9})),
        (7, "r", "answered", "a"),
    ) == ReadingTime(None, "more idle than time")


def test_an_answer_from_another_window_makes_both_times_unknown() -> None:
    happenings: Sequence[Happening] = (
        *((0, "r", "shown", "a"), (5, "r", "shown", "b"), (8, "r", "answered", "a")),
        (9, "r", "answered", "b"),
    )
    assert time_of(*happenings) == ReadingTime(None, "not on screen")
    assert time_of(*happenings, item="b") == ReadingTime(None, "not on screen")
