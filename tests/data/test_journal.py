"""A journal cut anywhere gives back its whole lines and goes on behind them."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medrobust.data.convert import Image
from medrobust.data.journal import ROWS, Journal, Record
from medrobust.data.source import Box, Mask

RECORDS = [
    Record(reason="it is torn\nÅ"),
    Record("", (1, 2, 3), (0.1, float("inf"), 1e-300), "ab", 2**64 - 1, 255, "note", (("a", "b"),)),
    Record("", (1, 2, 2), (), "", 0, 0, "", (), (("odd", 0.1, 2.0, 3.0, 4.0),)),
]


def write(path: Path, records: list[Record]) -> None:
    with Journal(path) as journal:
        for record in records:
            journal.add(record)
        journal.commit()


def test_what_is_committed_is_there_again(tmp_path: Path) -> None:
    write(tmp_path / "j", RECORDS[:1] + RECORDS[2:])
    with Journal(tmp_path / "j") as journal:
        assert journal.records == RECORDS[:1] + RECORDS[2:]


def test_what_is_not_committed_is_not(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add(RECORDS[0])
    with Journal(tmp_path / "j") as journal:
        assert journal.records == []


@given(cut=st.integers(0, 400))
def test_cut_anywhere(tmp_path_factory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "j"
    records = [RECORDS[0], RECORDS[2], RECORDS[0]]
    write(path, records)
    text = path.read_bytes()
    path.write_bytes(text[:cut])
    whole = text[:cut].count(b"\n")
    with Journal(path) as journal:
        assert journal.records == records[:whole]
        for record in records[whole:]:
            journal.add(record)
        journal.commit()
    assert path.read_bytes() == text


def test_it_says_when_it_is_time_to_commit(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        due = [journal.add(RECORDS[0]) for _ in range(ROWS)]
        assert due == [False] * (ROWS - 1) + [True]
        journal.commit()
        assert not journal.add(RECORDS[0])


def test_what_is_remembered_of_an_image() -> None:
    image = Image(
        pixels=np.array([[[3, 9]]], np.uint8),
        numbers=(0.0, 1.0),
        digest="ab",
        look=5,
        note="",
        masks=(Mask("lung", "anatomy", np.ones((1, 2), bool)),),
        boxes=(Box("odd", (1, 2), (3, 4)),),
    )
    record = Record.of(image)
    assert (record.shape, record.brightest, record.masks) == ((1, 1, 2), 9, (("lung", "anatomy"),))
    assert record.boxes == (("odd", 2, 1, 4, 3),)
