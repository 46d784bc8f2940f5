"""The load benchmark, small: readers answer while their server is killed, and nothing is lost."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made import benchmark

from medrobust.study.answers import DATABASE

READERS, CASES, KILLS = 5, 8, 2
EVENTS = READERS * CASES * 4
"""Every case is shown, answered by two questions, and finished."""


@pytest.fixture(scope="module")
def bench() -> Any:
    """The benchmark's module."""
    return benchmark("study_load")


@pytest.fixture(scope="module")
def read(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A study that was read, and what happened; nothing may change it."""
    folder = tmp_path_factory.mktemp("load")
    study = bench.make_study(folder, readers=READERS, cases=CASES, size=32)
    return study, bench.put_load(study, kills=KILLS, think=(0.0, 0.05))


def faults(bench: Any, study: Path, load: Any) -> list[str]:
    return list(bench.faults_of(study, load))


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(bench: Any, read: Any) -> None:
    study, load = read
    assert faults(bench, study, load) == []
    assert len(load.saved) == EVENTS
    assert len(load.outages) == KILLS
    alive, met = load.split()
    assert len(alive) + len(met) == EVENTS
    assert met
    assert all(one.attempts == 1 for one in alive)


def test_rows_tell_of_all_events(bench: Any, read: Any) -> None:
    rows = {row["what"]: row["value"] for row in bench.rows_of(read[1])}
    assert rows["events saved"] == EVENTS
    parts = ("  by a server that was there", "  that met a dead or starting one")
    assert sum(rows[name] for name in parts) == EVENTS
    percentiles = [rows[f"saving an answer, ms, {p}"] for p in ("p50", "p95", "p99", "max")]
    assert percentiles == sorted(percentiles)
    assert percentiles[0] > 0


def test_what_is_lost_is_told(bench: Any, read: Any) -> None:
    """An acknowledged event that isn't there, one that nobody sent, another receipt, a repeat."""
    study, load = read
    first = load.saved[0]
    found = faults(bench, study, replace(load, saved=[*load.saved, first._replace(id="other")]))
    assert "lost: other" in found
    found = faults(bench, study, replace(load, saved=load.saved[1:]))
    assert found == [f"never acknowledged: {first.id}"]
    found = faults(bench, study, replace(load, saved=[*load.saved, first]))
    assert found == [f"doubled: {first.id}"]
    changed = [first._replace(receipt="1-00"), *load.saved[1:]]
    assert faults(bench, study, replace(load, saved=changed)) == [f"other receipt: {first.id}"]


def test_what_was_altered_is_told(bench: Any, read: Any, tmp_path: Path) -> None:
    study, load = read
    for path in study.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            target = tmp_path / path.relative_to(study)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    with sqlite3.connect(tmp_path / DATABASE) as base:
        base.execute("DROP TRIGGER never_altered")
        base.execute(
            'UPDATE events SET body = \'{"values":{"useful":0}}\' WHERE sequence = ('
            "SELECT max(sequence) FROM events WHERE body LIKE '%useful%' AND body NOT LIKE '%:0}}')"
        )
    base.close()
    found = faults(bench, tmp_path, load)
    assert [text.partition(":")[0] for text in found] == ["other answers", "database", "chain"]


@pytest.mark.parametrize(("kills", "total"), [(0, 10), (1, 4), (20, 20_000)])
def test_kills_are_spread_over_the_study(bench: Any, kills: int, total: int) -> None:
    found = bench.moments(kills, total, seed=1)
    parts = [moment * kills / total for moment in found]
    assert [int(part + 1e-9) for part in parts] == list(range(kills)) or kills == 1
    assert all(0 <= moment <= total for moment in found)
