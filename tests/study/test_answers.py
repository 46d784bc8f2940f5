"""Saving answers: once, in one chain, on the disk when acknowledged, whoever is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from happenings import answer, new, shown, study_in

from medrobust.errors import MedrobustError
from medrobust.study.answers import Answers, Receipt, design_of, read_events
from medrobust.study.chain import Link, canonical, faults, genesis
from medrobust.study.events import Event, RefusedError
from medrobust.study.integrity import Finding, verify
from medrobust.study.resume import State

WRITER = """
import sys, uuid
from pathlib import Path
from medrobust.study.answers import Answers
from medrobust.study.events import Event

folder, reader, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
new = lambda: str(uuid.uuid4())
body = {"block": 0, "position": 0, "practice": False}
with Answers.open(folder) as answers:
    answers.append(Event(reader, "shown", new(), "a", body))
    for number in range(most):
        event = Event(reader, "answered", new(), "a", {"values": {"useful": number}})
        receipt = answers.append(event)
        print(receipt.sequence, receipt.hash, event.id, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return study_in(tmp_path)


@pytest.fixture
def answers(folder: Path) -> Iterator[Answers]:
    with Answers.open(folder) as opened:
        yield opened


def whole(folder: Path) -> list[Link]:
    """The events, after a look at the chain."""
    links = read_events(folder)
    assert list(faults(links, genesis(design_of(folder)))) == []
    return links


def test_an_event_is_stored_as_it_was_sent(folder: Path, answers: Answers) -> None:
    events = [shown(), answer(useful=3, words="é <b>\"'; DROP TABLE events; --\n")]
    receipts = [answers.append(event) for event in events]
    links = whole(folder)
    assert links == answers.events()
    assert [receipt[:2] for receipt in receipts] == [(link.sequence, link.hash) for link in links]
    assert [link.sequence for link in links] == [1, 2]
    for event, link in zip(events, links, strict=True):
        expected = (event.reader, event.id, event.kind, event.item, canonical(event.body))
        assert link[1:6] == expected
    assert answers.head() == (2, links[1].hash)


def test_the_same_event_again_is_saved_once(folder: Path, answers: Answers) -> None:
    answers.append(shown())
    event = answer(useful=3)
    first, second = answers.append(event), answers.append(event)
    assert first == Receipt(2, first.hash, saved_before=False)
    assert second == Receipt(2, first.hash, saved_before=True)
    answers.append(answer(useful=4))
    assert answers.append(event).sequence == 2
    assert len(whole(folder)) == 3


def test_an_edit_sent_twice_is_recognised(answers: Answers) -> None:
    answers.append(shown())
    answers.append(answer(useful=3))
    event = answer(useful=4)
    assert [answers.append(event).saved_before for _ in range(2)] == [False, True]
    assert [link.kind for link in answers.events()] == ["shown", "answered", "edited"]


@pytest.mark.parametrize("changes", [{"useful": 4}, {"item": "b", "useful": 3}])
def test_an_id_used_for_something_else_is_refused(
    folder: Path, answers: Answers, changes: dict[str, Any]
) -> None:
    for item in ("a", "b"):
        answers.append(shown(item=item))
    event = answer(useful=3)
    answers.append(event)
    other = answer(**changes)
    forged = Event("r1", "answered", event.id, other.item, other.body)
    with pytest.raises(
        RefusedError, match=r"^id: expected a new one for a new event, found one that was used$"
    ):
        answers.append(forged)
    assert len(whole(folder)) == 3


def test_an_id_of_another_reader_is_no_ones_business(answers: Answers) -> None:
    for reader in ("r1", "r2"):
        answers.append(shown(reader))
    event = answer(useful=3)
    answers.append(event)
    assert answers.append(Event("r2", "answered", event.id, "a", event.body)).saved_before is False


def test_an_edit_is_one_of_the_same_question(answers: Answers) -> None:
    answers.append(shown())
    for values in ({"useful": 3}, {"words": "x"}, {"words": "y", "sure": 1}, {"sure": 2}):
        answers.append(answer(**values))
    kinds = [link.kind for link in answers.events()]
    assert kinds == ["shown", "answered", "answered", "edited", "edited"]


@pytest.mark.parametrize("kind", ["answered", "viewed", "idle", "finished"])
def test_what_was_not_shown_is_refused(answers: Answers, kind: Any) -> None:
    answers.append(shown("r2"))
    answers.append(shown(item="b"))
    bodies: dict[str, dict[str, Any]] = {
        **{"answered": {"values": {"useful": 1}}, "viewed": {"zoom": 2}},
        **{"idle": {"seconds": 2}, "finished": {}},
    }
    with pytest.raises(
        RefusedError, match=r"^item: expected one that was shown to this reader, found another$"
    ):
        answers.append(Event("r1", kind, new(), "a", bodies[kind]))


def test_nothing_is_accepted_after_closing(folder: Path, answers: Answers) -> None:
    answers.append(shown())
    event = answer(useful=1)
    first = answers.append(event)
    answers.close_study()
    for late in (answer(useful=2), shown(), Event("r1", "opened", new())):
        with pytest.raises(RefusedError, match=r"^the study is closed: nothing more is accepted$"):
            answers.append(late)
    with pytest.raises(RefusedError):
        answers.close_study()
    assert answers.append(event) == first._replace(saved_before=True)
    assert [link.kind for link in whole(folder)] == ["shown", "answered", "closed"]


def test_who_has_finished_answers_no_more(answers: Answers) -> None:
    answers.append(shown())
    answers.append(answer(useful=1))
    answers.append(Event("r1", "finished", new(), "a"))
    answers.append(answer(useful=2))
    answers.append(Event("r1", "finished", new()))
    with pytest.raises(
        RefusedError,
        match=r"^this reader has finished the study: no more answers are accepted$",
    ):
        answers.append(answer(useful=3))
    answers.append(Event("r1", "viewed", new(), "a", {"zoom": 2}))
    answers.append(shown("r2"))
    answers.append(answer("r2", useful=3))


def test_a_reader_goes_on_exactly_there(folder: Path, answers: Answers) -> None:
    place = {"x": 3, "y": 4.5}
    for event in (
        Event("r1", "opened", new()),
        shown(item="a"),
        answer(item="a", useful=1, place=place),
        answer(item="a", useful=2),
        Event("r1", "finished", new(), "a"),
        shown(item="b", position=1),
        Event("r1", "viewed", new(), "b", {"zoom": 2, "overlay": 0.5}),
        Event("r1", "viewed", new(), "b", {"zoom": 3}),
        answer(item="b", words=None),
        Event("r2", "opened", new()),
        shown("r2", "a"),
        answer("r2", "a", useful=5),
    ):
        answers.append(event)
    times = {link.item: link.at for link in answers.events("r1") if link.kind == "shown"}
    done = next(link.at for link in answers.events("r1") if link.kind == "finished")
    answers.close()
    with Answers.open(folder) as again:
        assert again.latest("r1") == State(
            **{"reader": "r1", "item": "b", "shown": times, "done": {"a": done}, "sessions": 1},
            answers={"a": {"useful": 2, "place": place}, "b": {"words": None}},
            views={"b": {"zoom": 3, "overlay": 0.5}},
        )
        assert again.latest("r3") == State("r3")
        again.append(Event("r1", "finished", new(), "b"))
        again.append(Event("r1", "finished", new()))
        assert (again.latest("r1").item, again.latest("r1").finished) == ("", True)
        again.close_study()
        assert again.latest("r2").closed
        assert not again.latest("r2").finished


def test_where_a_reader_is_follows_other_processes(folder: Path, answers: Answers) -> None:
    answers.append(shown())
    answers.latest("r1").answers["a"] = {"useful": 9}  # a copy
    with Answers.open(folder) as another_process:
        for useful in (1, 2):
            another_process.append(answer(useful=useful))
            assert answers.latest("r1").answers == {"a": {"useful": useful}}
        another_process.append(shown("r2"))
        assert answers.latest("r1") == another_process.latest("r1")
        another_process.close_study()
    assert answers.latest("r1").closed
    assert answers.latest("r2").closed


def test_a_clock_that_goes_backwards_breaks_nothing(folder: Path) -> None:
    start, steps = datetime(2026, 3, 1, tzinfo=UTC), count()
    with Answers(folder, lambda: start - timedelta(days=next(steps))) as answers:
        for event in (shown(), answer(useful=1), answer(useful=2)):
            answers.append(event)
        assert answers.latest("r1").answers == {"a": {"useful": 2}}
    assert [link.at for link in whole(folder)] == [
        "2026-03-01T00:00:00.000000+00:00",
        "2026-02-28T00:00:00.000000+00:00",
        "2026-02-27T00:00:00.000000+00:00",
    ]


def test_sqlite_itself_keeps_events_from_being_changed(folder: Path, answers: Answers) -> None:
    answers.append(shown())
    with sqlite3.connect(folder / "answers.sqlite") as connection:
        with pytest.raises(sqlite3.IntegrityError, match=r"^events are never altered$"):
            connection.execute("UPDATE events SET item = 'b'")
        with pytest.raises(sqlite3.IntegrityError, match=r"^events are never removed$"):
            connection.execute("DELETE FROM events")
    connection.close()


def test_commits_wait_for_the_disk(answers: Answers) -> None:
    def pragma(name: str) -> Any:
        return answers._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert (pragma("journal_mode"), pragma("synchronous")) == ("wal", 2)


def test_an_event_that_can_not_be_saved_leaves_nothing(folder: Path, answers: Answers) -> None:
    answers.append(shown())
    pages = answers._connection.execute("PRAGMA page_count").fetchone()[0]
    answers._connection.execute(f"PRAGMA max_page_count = {pages}")
    event = answer(words="x" * 9_000)
    with pytest.raises(MedrobustError, match=r"found: database or disk is full; free some space"):
        answers.append(event)
    assert len(whole(folder)) == 1
    answers._connection.execute("PRAGMA max_page_count = 100000")
    assert answers.append(event) == (2, answers.events()[1].hash, False)


def test_threads_share_one_chain(folder: Path, answers: Answers) -> None:
    lines: dict[str, list[Receipt]] = {f"r{number}": [] for number in range(6)}

    def write(reader: str) -> None:
        answers.append(shown(reader))
        for number in range(12):
            lines[reader].append(answers.append(answer(reader, useful=number)))

    threads = [threading.Thread(target=write, args=(reader,)) for reader in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    links = whole(folder)
    assert len(links) == 6 * 13
    for reader, receipts in lines.items():
        own = [(link.sequence, link.hash) for link in links if link.reader == reader][1:]
        assert own == [receipt[:2] for receipt in receipts]
        assert answers.latest(reader).answers == {"a": {"useful": 11}}


def test_the_same_event_from_many_threads_is_saved_once(folder: Path, answers: Answers) -> None:
    answers.append(shown())
    event, receipts = answer(useful=1), []
    threads = [
        threading.Thread(target=lambda: receipts.append(answers.append(event))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receipt.saved_before for receipt in receipts) == [False] + [True] * 7
    assert len(whole(folder)) == 2


def together(answers: Answers, events: Sequence[Event]) -> list[Receipt | MedrobustError]:
    """What comes of events that all wait when the disk is free again."""
    outcomes: dict[str, Receipt | MedrobustError] = {}

    def save(event: Event) -> None:
        try:
            outcomes[event.id] = answers.append(event)
        except MedrobustError as error:
            outcomes[event.id] = error

    threads = [threading.Thread(target=save, args=(event,)) for event in events]
    with answers._writing:
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            while len(answers._waiting) < waiting:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    return [outcomes[event.id] for event in events]


def test_what_waits_is_saved_together(folder: Path, answers: Answers) -> None:
    answers.append(shown())
    events = [answer(useful=1), answer(item="b", useful=1), answer(useful=2), answer(words="x")]
    first, refused, edited, last = together(answers, events)
    assert isinstance(refused, RefusedError)
    links = whole(folder)
    assert [(link.id, link.kind) for link in links[1:]] == [
        *((events[0].id, "answered"), (events[2].id, "edited"), (events[3].id, "answered"))
    ]
    receipts = [Receipt(link.sequence, link.hash, saved_before=False) for link in links[1:]]
    assert [first, edited, last] == receipts
    heads = (folder / "answers.head").read_text().split()
    assert heads == [f"{links[place].sequence}-{links[place].hash}" for place in (0, 3)]


def test_what_waits_fails_together(folder: Path, answers: Answers) -> None:
    answers.append(shown())
    pages = answers._connection.execute("PRAGMA page_count").fetchone()[0]
    answers._connection.execute(f"PRAGMA max_page_count = {pages}")
    events = [answer(useful=1), answer(words="x" * 9_000), answer(useful=2)]
    outcomes = together(answers, events)
    assert all("database or disk is full" in str(outcome) for outcome in outcomes)
    assert len(whole(folder)) == 1
    answers._connection.execute("PRAGMA max_page_count = 100000")
    assert [answers.append(event).sequence for event in events] == [2, 3, 4]
    assert wrong(folder) == []


def wrong(folder: Path) -> list[Finding]:
    return [finding for finding in verify(folder) if finding.verdict == "wrong"]


def writer(folder: Path, reader: str, most: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), reader, str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_share_one_chain(folder: Path) -> None:
    writers = [writer(folder, f"r{number}", 15) for number in range(3)]
    outputs = [process.communicate(timeout=120)[0] for process in writers]
    assert [process.returncode for process in writers] == [0] * 3
    assert len(whole(folder)) == 3 * 16
    assert all(len(output.splitlines()) == 15 for output in outputs)
    assert wrong(folder) == []


def killed(folder: Path, lines: int) -> Sequence[str]:
    """What a writer had acknowledged when it was killed after some lines."""
    process = writer(folder, "r1", 1_000_000)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(lines)]
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return [line for line in [*told, *rest] if line.endswith("\n")]


def test_what_was_acknowledged_survives_kill_9(folder: Path) -> None:
    acknowledged = [line.split() for lines in (3, 1, 8) for line in killed(folder, lines)]
    assert len(acknowledged) >= 12
    links = {link.id: link for link in whole(folder)}
    for sequence, digest, name in acknowledged:
        assert (links[name].sequence, links[name].hash) == (int(sequence), digest)
    Answers.open(folder).close()
    assert wrong(folder) == []


def test_another_design_is_refused(folder: Path) -> None:
    with Answers.open(folder) as answers:
        answers.append(shown())
    (folder / "order.json").write_text("[]\n")
    with pytest.raises(
        MedrobustError,
        match=r"^expected the answers to this study in .*answers.sqlite, found those to another: "
        r"put study.yaml, items.json, order.json back as they were when the first answer was give",
    ):
        Answers.open(folder)


@pytest.mark.parametrize("name", ["study.yaml", "items.json", "order.json"])
def test_a_folder_that_is_no_study_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(
        MedrobustError,
        match=rf"^expected a study in .*, found no {name}: make one with `medrobust study create`$",
    ):
        Answers.open(folder)
    assert not (folder / "answers.sqlite").exists()


def test_a_database_that_lost_its_tail_is_refused(folder: Path) -> None:
    with Answers.open(folder) as answers:
        answers.append(shown())
        copy = sqlite3.connect(folder / "copy")
        answers._connection.backup(copy)
        copy.close()
        answers.append(answer(useful=1))
    for path in folder.glob("answers.sqlite*"):
        path.unlink()
    (folder / "copy").rename(folder / "answers.sqlite")
    with pytest.raises(
        MedrobustError,
        match=r"^expected 2 events in .*answers.sqlite, as in answers.head, found 1: the last ones "
        r"were lost; restore the database from a copy$",
    ):
        Answers.open(folder)


def test_heads_catch_up_after_a_crash_between_event_and_head(folder: Path) -> None:
    with Answers.open(folder) as answers:
        answers.append(shown())
        before = (folder / "answers.head").read_bytes()
        last = answers.append(answer(useful=1))
    (folder / "answers.head").write_bytes(before[:-7])  # and a line torn
    Answers.open(folder).close()
    lines = (folder / "answers.head").read_text().split()
    assert lines[-1] == f"2-{last.hash}"
    (folder / "answers.head").unlink()
    Answers.open(folder).close()
    assert (folder / "answers.head").read_text().split() == [f"2-{last.hash}"]


def test_a_file_that_is_no_database_is_named(folder: Path) -> None:
    (folder / "answers.sqlite").write_text("not a database, but long enough to be one" * 100)
    with pytest.raises(
        MedrobustError,
        match=r"^expected to use the database .*answers.sqlite, found: file is not a database; "
        r"free some space, repair or restore it, and try again$",
    ):
        Answers.open(folder)


def test_a_receipt_can_be_written_down(answers: Answers) -> None:
    receipt = answers.append(shown())
    assert receipt.code == f"1-{receipt.hash[:20]}"
