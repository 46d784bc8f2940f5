"""Tampering: each way of it, and what tells of it."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from happenings import answer, new, shown, study_in

from medrobust.errors import MedrobustError
from medrobust.files import sha256_of
from medrobust.study.answers import Answers, design_of, read_events
from medrobust.study.chain import Link, canonical, genesis, linked
from medrobust.study.events import Event
from medrobust.study.integrity import MOST_NOTES, Finding, verify

Change = Callable[[list[Link]], list[Link]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study with six events."""
    with Answers.open(study_in(tmp_path)) as answers:
        for event in (
            *(Event("r1", "opened", new()), shown(), answer(useful=1), answer(useful=2)),
            *(shown(item="b"), answer(item="b", useful=5)),
        ):
            answers.append(event)
    return tmp_path


def wrong(folder: Path, receipts: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Check and note of what is wrong."""
    findings = verify(folder, receipts)
    return [(finding.check, finding.note) for finding in findings if finding.verdict == "wrong"]


def tamper(folder: Path, change: Change, heads: bool = False) -> None:
    """Write other events by somebody who knows how, triggers and all; and the heads of these."""
    path = folder / "answers.sqlite"
    links = change(read_events(folder))
    with closing(sqlite3.connect(path)) as connection, connection:
        triggers = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")
        statements = [statement for (statement,) in triggers.fetchall()]
        connection.execute("DROP TRIGGER never_altered")
        connection.execute("DROP TRIGGER never_removed")
        connection.execute("DELETE FROM events")
        marks = ", ".join("?" * len(Link._fields))
        connection.executemany(f"INSERT INTO events VALUES ({marks})", map(columns, links))
        for statement in statements:
            connection.execute(statement)
    if heads:
        lines = [f"{link.sequence}-{link.hash}\n" for link in links]
        (folder / "answers.head").write_text("".join(lines))


def columns(link: Link) -> tuple[object, ...]:
    """In the table's order."""
    names = ("sequence", "reader", "id", "kind", "item", "body", "at", "previous", "hash")
    return tuple(getattr(link, name) for name in names)


def again(links: Sequence[Link], start: str) -> list[Link]:
    """A whole chain of these contents."""
    made: list[Link] = []
    for sequence, link in enumerate(links, 1):
        previous = made[-1].hash if made else start
        made.append(linked(link._replace(sequence=sequence, previous=previous)))
    return made


def altered(links: list[Link]) -> list[Link]:
    links[2] = links[2]._replace(body=canonical({"values": {"useful": 5}}))
    return links


def removed(links: list[Link]) -> list[Link]:
    return links[:2] + links[3:]


def exchanged(links: list[Link]) -> list[Link]:
    third, fourth = links[2]._replace(sequence=4), links[3]._replace(sequence=3)
    return [*links[:2], fourth, third, *links[4:]]


def inserted(links: list[Link]) -> list[Link]:
    forged = linked(links[3]._replace(sequence=4, id=new(), previous=links[2].hash))
    later = [link._replace(sequence=link.sequence + 1) for link in links[3:]]
    return [*links[:3], forged, *later]


def truncated(links: list[Link]) -> list[Link]:
    return links[:4]


def test_an_untouched_study_is_found_so(folder: Path) -> None:
    code = f"6-{read_events(folder)[-1].hash[:20]}"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert verify(folder) == [
        Finding("key", "sealed/key.json", "not checked", "it is not in this folder"),
        Finding("database", "answers.sqlite", "ok"),
        Finding("chain", "answers.sqlite", "ok", f"6 events, the last is {code}"),
        Finding("rules", "answers.sqlite", "ok"),
        Finding("head", "answers.head", "ok", "6 heads agree"),
    ]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_it_can_be_checked_while_it_is_answered(folder: Path) -> None:
    with Answers.open(folder) as answers:
        answers.append(shown(item="c"))
        assert wrong(folder) == []
        answers.append(answer(item="c", useful=1))
        assert verify(folder)[-1].note == "8 heads agree"


def test_one_is_not_called_several(tmp_path: Path) -> None:
    with Answers.open(study_in(tmp_path)) as answers:
        receipt = answers.append(shown()).code
    notes = [one.note for one in verify(tmp_path, [receipt])[2:]]
    assert notes == [
        f"1 event, the last is {receipt}",
        "",
        "1 head agrees",
        "event 1 is that of this receipt, if the chain is whole",
    ]


def test_no_answers_yet(tmp_path: Path) -> None:
    study_in(tmp_path)
    with pytest.raises(
        MedrobustError,
        match=r"^expected a database at .*answers.sqlite, found none: no one has answered yet$",
    ):
        verify(tmp_path)
    Answers.open(tmp_path).close()
    assert wrong(tmp_path) == []
    assert [one.note for one in verify(tmp_path)[2:]] == ["no events yet", "", "0 heads agree"]


ALTERED = ("chain", "event 3 was altered: its hash isn't that of its content")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (altered, [ALTERED]),
        (
            removed,
            [
                ("chain", "event 3 is missing"),
                ("chain", "event 4 does not follow from event 2: one of them was exchanged"),
                ("head", "event 3 is not the one that was saved: the chain was rewritten"),
            ],
        ),
        (
            exchanged,
            [
                ("chain", "event 3 does not follow from event 2: one of them was exchanged"),
                ALTERED,
                ("chain", "event 4 does not follow from event 3: one of them was exchanged"),
                ("chain", "event 4 was altered: its hash isn't that of its content"),
                ("chain", "event 5 does not follow from event 4: one of them was exchanged"),
                ("head", "event 3 is not the one that was saved: the chain was rewritten"),
                ("head", "event 4 is not the one that was saved: the chain was rewritten"),
            ],
        ),
        (
            inserted,
            [
                ("chain", "event 5 does not follow from event 4: one of them was exchanged"),
                ("chain", "event 5 was altered: its hash isn't that of its content"),
                ("chain", "event 6 was altered: its hash isn't that of its content"),
                ("chain", "event 7 was altered: its hash isn't that of its content"),
                ("head", "event 4 is not the one that was saved: the chain was rewritten"),
                ("head", "event 5 is not the one that was saved: the chain was rewritten"),
                ("head", "event 6 is not the one that was saved: the chain was rewritten"),
            ],
        ),
        (truncated, [("head", "the end was removed: event 6 was saved, the last here is event 4")]),
    ],
)
def test_each_way_of_tampering_is_told(
    folder: Path, change: Change, told: list[tuple[str, str]]
) -> None:
    tamper(folder, change)
    assert wrong(folder) == told


@pytest.mark.parametrize(
    ("change", "first"), [(altered, 3), (removed, 3), (exchanged, 3), (inserted, 4)]
)
def test_a_chain_written_again_is_told_by_the_heads(
    folder: Path, change: Change, first: int
) -> None:
    start = genesis(design_of(folder))
    tamper(folder, lambda links: again(change(links), start))
    told = wrong(folder)
    assert {check for check, _ in told} == {"head"}
    note = f"event {first} is not the one that was saved: the chain was rewritten"
    assert next(one for _, one in told if one.startswith("event")) == note


@pytest.mark.parametrize("change", [altered, removed, exchanged, inserted, truncated])
def test_a_chain_and_heads_written_again_are_told_by_a_receipt_alone(
    folder: Path, change: Change
) -> None:
    with Answers.open(folder) as answers:
        head = answers.head()
    assert head is not None
    start = genesis(design_of(folder))
    tamper(folder, lambda links: again(change(links), start), heads=True)
    assert wrong(folder) == []  # nothing in the folder can tell
    assert [check for check, _ in wrong(folder, [head.code])] == ["receipt"]


def test_a_receipt_proves_what_is_before_it_and_no_more(folder: Path) -> None:
    early = f"2-{read_events(folder)[1].hash[:20]}"
    start = genesis(design_of(folder))
    tamper(folder, lambda links: again(altered(links), start), heads=True)
    assert verify(folder, [early])[-1] == Finding(
        *("receipt", early, "ok"),
        "events 1 to 2 are those of this receipt, if the chain is whole",
    )


@pytest.mark.parametrize(
    "code", ["", "6", "6-abc", "x-" + "0" * 20, "-1-" + "0" * 20, "6-" + "g" * 20]
)
def test_what_is_no_receipt_is_refused(folder: Path, code: str) -> None:
    with pytest.raises(
        MedrobustError,
        match=r"^receipt: expected an event's number, a hyphen and 16 to 64 hexadecimal digits, as "
        r"in 12-0123456789abcdef0123; found something else$",
    ):
        verify(folder, [code])


def test_a_receipt_is_read_as_people_write_it(folder: Path) -> None:
    last = read_events(folder)[-1]
    assert wrong(folder, [f" 6-{last.hash.upper()}\n", f"6-{last.hash[:16]}"]) == []


def test_triggers_that_were_taken_away_are_told(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "answers.sqlite")) as connection, connection:
        connection.execute("DROP TRIGGER never_altered")
    assert wrong(folder) == [
        (
            "database",
            "its tables or the triggers that keep events from being changed are not as made",
        )
    ]


def test_other_questions_are_told(folder: Path) -> None:
    (folder / "items.json").write_text("[]")
    assert wrong(folder) == [
        ("chain", "event 1 does not begin this study: the questions or the event were changed")
    ]


def test_an_exchanged_key_is_told(folder: Path) -> None:
    key = folder / "sealed" / "key.json"
    key.parent.mkdir()
    key.write_text(json.dumps({"items": {}}))
    told = ("key", "its hash is not the one in study.yaml: it was exchanged")
    assert told in wrong(folder)
    (folder / "study.yaml").write_text(f"key_sha256: {sha256_of(key)}\n")
    assert verify(folder)[0] == Finding("key", "sealed/key.json", "ok")
    key.write_text(json.dumps({"items": {"a": 1}}))
    assert told in wrong(folder)
    (folder / "study.yaml").write_bytes(b"{\xff: [")
    assert told in wrong(folder)


def test_what_the_server_would_have_refused_is_told(folder: Path) -> None:
    start = genesis(design_of(folder))

    def forge(links: list[Link]) -> list[Link]:
        closing_event = links[0]._replace(reader="admin", kind="closed", id=new())
        unseen = links[2]._replace(item="z", id=new())
        return again([*links, unseen, closing_event, links[3]._replace(id=new())], start)

    tamper(folder, forge, heads=True)
    assert wrong(folder) == [
        ("rules", "event 7 is about an item that was not shown to its reader"),
        ("rules", "event 9 was added after the study was closed by event 8"),
    ]


def test_heads_that_are_gone_are_told(folder: Path) -> None:
    (folder / "answers.head").unlink()
    assert wrong(folder) == [
        ("head", "it is missing or empty: only the chain says that the last events are there")
    ]


def test_a_torn_line_is_told_and_is_no_fault(folder: Path) -> None:
    path = folder / "answers.head"
    path.write_bytes(path.read_bytes()[:-9])
    assert verify(folder)[-2:] == [
        Finding("head", "answers.head", "ok", "5 heads agree; later events: 1"),
        Finding(
            *("head", "answers.head", "not checked"),
            "1 of its lines can't be read, as after a power failure",
        ),
    ]


def test_many_faults_are_counted(folder: Path) -> None:
    def nonsense(links: list[Link]) -> list[Link]:
        return [links[0]._replace(sequence=3 * number, id=new()) for number in range(1, 31)]

    tamper(folder, nonsense)
    chain = [note for check, note in wrong(folder) if check == "chain"]
    assert len(chain) == MOST_NOTES + 1
    assert chain[-1].startswith("and ")
    assert chain[-1].endswith(" more")


@pytest.fixture(params=["missing", "text", "cut"])
def broken(request: pytest.FixtureRequest, folder: Path) -> Path:
    path = folder / "answers.sqlite"
    if request.param == "missing":
        path.unlink()
    elif request.param == "text":
        path.write_text("no database " * 1000)
    else:
        path.write_bytes(path.read_bytes()[:5_000])
    return folder


def test_a_database_that_can_not_be_read_is_told(broken: Path) -> None:
    (finding,) = verify(broken)
    assert finding.verdict == "wrong"
    assert finding.note.startswith("expected ")


def test_a_flipped_byte_anywhere_in_the_events_is_told(folder: Path) -> None:
    path = folder / "answers.sqlite"
    content = path.read_bytes()
    links = read_events(folder)
    for text in (links[2].body, links[2].id, links[2].hash, links[4].item, links[1].at):
        place = content.index(text.encode())
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        assert wrong(folder) != []
    path.write_bytes(content)
    assert wrong(folder) == []
