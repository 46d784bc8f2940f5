"""Answers and key put together, or refused."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from made import PLACE, PRESENT, SCALE, WORDS, make, mapped

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.files import sha256_of
from medrobust.rundir import RunDir
from medrobust.study.analysis.read import PLACES, read_study
from medrobust.study.answers import Answers
from medrobust.study.simulated import Biases, SimulatedReaders, answer_study

STOPS = Biases(stops={"reader-4": 0.5}, edits=0.2)


@pytest.fixture(scope="module")
def answered(
    standard_run: RunDir, tiny_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A study of which reader 4 has done a half; nothing may change it."""
    root = tmp_path_factory.mktemp("read")
    run = mapped(standard_run, tiny_store, root)
    study = make(root / "study", run, tiny_store, questions=(SCALE, PRESENT, PLACE, WORDS))
    shutil.rmtree(study / "pictures")
    answer_study(study, SimulatedReaders.of(study, STOPS))
    return study


@pytest.fixture
def copy(answered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(answered, tmp_path / "study"))


def refusal(folder: Path, **options: object) -> str:
    with pytest.raises(MedrobustError) as error:
        read_study(folder, **options)  # type: ignore[arg-type]
    return str(error.value)


def alter(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "answers.sqlite")) as connection, connection:
        statements = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = [statement for (statement,) in statements.fetchall()]
        connection.execute("DROP TRIGGER never_altered")
        connection.execute(
            "UPDATE events SET body = replace(body, '\"useful\":3', '\"useful\":5') "
            "WHERE sequence = (SELECT min(sequence) FROM events WHERE body LIKE '%\"useful\":3%')"
        )
        for statement in triggers:
            if "never_altered" in statement:
                connection.execute(statement)


def test_every_map_has_a_row_with_what_its_reader_answered(answered: Path) -> None:
    study = read_study(answered)
    readers = SimulatedReaders.of(answered, STOPS)
    key = json.loads((answered / "sealed" / "key.json").read_text())["items"]
    rows = study.readings.set_index(["reader", "position"])
    assert len(rows) == len([e for e in key.values() if not e["practice"]]) == 4 * (24 + 6)
    assert tuple(study.readings.columns[: len(PLACES)]) == PLACES
    order = json.loads((answered / "order.json").read_text())["readers"]["reader-4"]
    done = set([*order["practice"], *order["blocks"][0], *order["blocks"][1]][:16])
    for item, entry in key.items():
        if entry["practice"]:
            assert (entry["reader"], entry["position"]) not in rows.index
            continue
        row = rows.loc[(entry["reader"], entry["position"])]
        names = ("case", "patient", "condition", "image_id", "finding", "truth", "block")
        assert [row[name] for name in names] == [entry[name] for name in names]
        assert row["repeat"] == (entry["repeat_of"] is not None)
        if entry["reader"] == "reader-4" and item not in done:
            assert not row["answered"]
            assert row[["useful", "there", "seconds", "place.marked"]].isna().all()
            continue
        given = readers.values(item)
        assert row["useful"] == given["useful"]
        assert row["there.confidence"] == given["there"]["confidence"]
        assert row["there"] == given["there"]["present"]
        assert row["place.marked"] == (given["place"] is not None)
        assert (row["edits"] > 0) == readers.hesitates(item)
        assert row["seconds"] == pytest.approx(readers.seconds(item), abs=1e-5)


def test_what_else_is_known(answered: Path) -> None:
    study = read_study(answered)
    assert (study.name, study.title, study.store, study.split) == (
        *("study", "Which maps help?", "phantom", "train"),
    )
    assert study.conditions == ("A", "B")
    assert study.finished == ("reader-1", "reader-2", "reader-3")
    assert study.sessions == dict.fromkeys(study.readers, 1)
    assert (study.closed, study.faults) == (False, ())
    assert len(study.first) == 4 * 24
    with Answers(answered) as answers:
        head = answers.head()
    assert head is not None
    assert study.code == head.code


def test_closing_is_seen(copy: Path) -> None:
    with Answers(copy) as answers:
        answers.close_study()
    assert read_study(copy).closed


def test_readers_can_be_left_out(answered: Path) -> None:
    study = read_study(answered, without=["reader-4", "reader-2"])
    assert study.readers == ("reader-1", "reader-3")
    assert set(study.readings["reader"]) == {"reader-1", "reader-3"}
    assert refusal(answered, without=["bob"]) == (
        "--without: expected some of reader-1, reader-2, reader-3, reader-4, found 'bob'"
    )
    everyone = [f"reader-{number}" for number in range(1, 5)]
    assert refusal(answered, without=everyone) == (
        "--without: expected at least one reader to be left, found none"
    )


def test_altered_answers_are_refused_unless_told_otherwise(copy: Path) -> None:
    alter(copy)
    text = refusal(copy)
    assert text.startswith(f"expected answers as they were given in {copy}, found 1 fault (event ")
    assert text.endswith(
        "): see `medrobust study verify`, or analyse them all the same (--despite-faults), which "
        "the page will say"
    )
    [fault] = read_study(copy, despite_faults=True).faults
    assert fault.startswith("answers.sqlite: event ")


def test_an_exchanged_key_is_found_by_its_hash(copy: Path) -> None:
    path = copy / "sealed" / "key.json"
    path.write_text(path.read_text().replace('"condition": "A"', '"condition": "B"'))
    assert sha256_of(path) != ""
    assert refusal(copy).startswith(
        f"expected answers as they were given in {copy}, found 1 fault (its hash is not the one "
        "in study.yaml: it was exchanged)"
    )


def test_without_its_key_a_study_says_nothing(copy: Path) -> None:
    path = copy / "sealed" / "key.json"
    path.unlink()
    assert refusal(copy) == (
        f"expected the sealed key at {path}, found none: only it says what readers saw; analyse "
        "where the study was made, or put its key there"
    )
    path.write_text("{")
    assert refusal(copy, despite_faults=True) == (
        f"expected the sealed key at {path}, found a file that is no JSON: restore it"
    )


def test_events_that_no_server_saves(copy: Path) -> None:
    with closing(sqlite3.connect(copy / "answers.sqlite")) as connection, connection:
        connection.execute("DROP TRIGGER never_altered")
        connection.execute("UPDATE events SET item = 'x' WHERE kind = 'answered'")
    assert refusal(copy, despite_faults=True) == (
        "expected events as the server saves them, found some that can't be read: see `medrobust "
        "study verify`"
    )


def test_nothing_answered_nothing_to_analyse(copy: Path) -> None:
    for path in copy.glob("answers.*"):
        path.unlink()
    Answers(copy).close()
    assert refusal(copy) == f"expected answers in {copy}, found none yet: nothing to analyse"


def test_no_study_at_all(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"expected a study in {tmp_path}, found no study.yaml")
