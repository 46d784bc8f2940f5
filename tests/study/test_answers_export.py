"""What is exported, row by row."""

import csv
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from happenings import answer, new, shown, study_in

from medrobust.errors import MedrobustError
from medrobust.study.answers import Answers
from medrobust.study.events import Event
from medrobust.study.export import ANSWERS, VIEWS, export

START = datetime(2026, 1, 1, tzinfo=UTC)
Happening = tuple[float, Event]


def save(folder: Path, happenings: Sequence[Happening]) -> None:
    """Events at seconds of the server's clock."""
    times = iter([START + timedelta(seconds=seconds) for seconds, _ in happenings])
    with Answers(study_in(folder), lambda: next(times)) as answers:
        for _, event in happenings:
            answers.append(event)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def at(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def test_a_row_for_each_answered_question(tmp_path: Path) -> None:
    practice = {"block": None, "position": 0, "practice": True}
    save(
        tmp_path,
        [
            (0, Event("r2", "opened", new())),
            (1, Event("r2", "shown", new(), "p", practice)),
            (5, answer("r2", "p", useful=3)),
            (6, shown("r2", "z", 1)),
            (8, answer("r2", "z", useful=1, place={"y": 2, "x": 1.5})),
            (9, answer("r2", "z", useful=2)),
            (10, shown("r2", "b", 2)),
            (11, Event("r1", "opened", new())),
            (12, shown("r1", "c", 0)),
            (100, Event("r2", "opened", new())),
            (101, shown("r2", "z", 1)),
            (104, answer("r2", "z", useful=0)),
        ],
    )
    answers, views = export(tmp_path, "maps")
    assert answers == tmp_path / "export" / "answers.csv"
    assert views == tmp_path / "export" / "views.csv"
    z = {
        **{"study": "maps", "reader": "r2", "item": "z", "seconds": "6.0", "timing": ""},
        **{"first_shown": at(6), "block": "1", "position": "2", "practice": "False"},
        "repeat_of": "",
    }
    assert rows(answers) == [
        {
            **{"study": "maps", "reader": "r2", "session": "1", "item": "p", "question": "useful"},
            **{"value": "3", "changed": "0", "seconds": "4.0", "timing": "", "first_shown": at(1)},
            **{"answered": at(5), "block": "", "position": "1", "practice": "True"},
            **{"repeat_of": "", "sequence": "3"},
        },
        z
        | {
            **{"session": "1", "question": "place", "value": '{"x":1.5,"y":2}', "changed": "0"},
            **{"answered": at(8), "sequence": "5"},
        },
        z
        | {
            **{"session": "2", "question": "useful", "value": "0", "changed": "2"},
            **{"answered": at(104), "sequence": "12"},
        },
    ]
    assert tuple(rows(answers)[0]) == ANSWERS


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ('a,"b"\r\nc;\td', 'a,"b"\nc;\td'),
        ("a\rb", "a\nb"),
        ("é 😀 胸", "é 😀 胸"),
        ("007", "007"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (0.1, "0.1"),
        (5, "5"),
        ([1, "é"], '[1,"\\u00e9"]'),
        (-1, "-1"),
        ("-1", "-1"),
        ("+2.5", "+2.5"),
        ("=1+1", "'=1+1"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("+49 30", "'+49 30"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\n=1"),
        ("\uff1d1", "'\uff1d1"),
        ("'tis", "''tis"),
        ({"=1": -1}, '{"=1":-1}'),
    ],
)
def test_values_come_out_as_they_went_in(tmp_path: Path, value: object, cell: str) -> None:
    save(tmp_path, [(0, shown()), (1, answer(words=value))])
    (row,) = rows(export(tmp_path, "maps")[0])
    assert row["value"] == cell


def test_a_time_that_can_not_be_known_is_empty_and_says_why(tmp_path: Path) -> None:
    save(tmp_path, [(0, shown()), (-5, answer(useful=1))])
    (row,) = rows(export(tmp_path, "maps")[0])
    assert (row["seconds"], row["timing"]) == ("", "clock set back")


def test_the_use_of_the_viewer(tmp_path: Path) -> None:
    save(
        tmp_path,
        [
            (0, Event("r1", "opened", new())),
            (1, shown()),
            (2, Event("r1", "viewed", new(), "a", {"window": {"low": 0, "high": 0.5}, "zoom": 2})),
            (3, Event("r1", "viewed", new(), "a", {"overlay": False})),
        ],
    )
    _, views = export(tmp_path, "maps")
    common = {"study": "maps", "reader": "r1", "session": "1", "item": "a"}
    window = '{"high":0.5,"low":0}'
    assert rows(views) == [
        common | {"at": at(2), "tool": "window", "value": window, "sequence": "3"},
        common | {"at": at(2), "tool": "zoom", "value": "2", "sequence": "3"},
        common | {"at": at(3), "tool": "overlay", "value": "false", "sequence": "4"},
    ]
    assert tuple(rows(views)[0]) == VIEWS


def test_no_answers_make_empty_tables(tmp_path: Path) -> None:
    save(tmp_path, [])
    answers, views = export(tmp_path, "maps")
    assert answers.read_text() == ",".join(ANSWERS) + "\n"
    assert views.read_text() == ",".join(VIEWS) + "\n"


def test_exporting_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, [(0, shown()), (1, answer(useful=1))])
    first = export(tmp_path, "maps")[0].read_bytes()
    assert export(tmp_path, "maps")[0].read_bytes() == first
    with Answers.open(tmp_path) as answers:
        answers.append(answer(useful=2))
        (row,) = rows(export(tmp_path, "maps")[0])  # while it is served
    assert (row["value"], row["changed"]) == ("2", "1")


def test_what_does_not_verify_is_not_exported(tmp_path: Path) -> None:
    save(tmp_path, [(0, shown()), (1, answer(useful=1))])
    with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as connection, connection:
        connection.execute("DROP TRIGGER never_altered")
        connection.execute("UPDATE events SET body = replace(body, '1', '5') WHERE sequence = 2")
    with pytest.raises(
        MedrobustError,
        match=r"^expected answers as they were given in .*, found 2 faults \(its tables or the "
        r"triggers .*\): see `medrobust study verify`$",
    ):
        export(tmp_path, "maps")
    assert not (tmp_path / "export").exists()
