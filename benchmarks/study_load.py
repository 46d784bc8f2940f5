"""A study read by many at once, while its server is killed again and again.

python benchmarks/study_load.py [--readers 50] [--cases 100] [--kills 20] [--think 0.5 2] [--json F]

Simulated readers answer a study over HTTP as the page's script does: page and pictures of each
case, then four events, each sent until it is acknowledged. All are threads of one process. The
server is a process of its own, ended by `kill -9` at random moments and started again at once.
Afterwards every acknowledged event must be in the database, once, and nothing else; every reader's
last answers must be those that were given; and the chain must verify: else the exit code is 1.
Times of saving are those the readers see. What met a dead or starting server is counted apart.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from made_study import make_study
from measure import report
from medrobust.study.answers import Answers, read_events
from medrobust.study.chain import Link
from medrobust.study.chance import rank
from medrobust.study.events import ADMIN
from medrobust.study.hosting import Host
from medrobust.study.integrity import verify
from medrobust.study.links import make_links
from medrobust.study.simulated import SimulatedReaders
from medrobust.study.visiting import Saved, Visitor

Window = tuple[float, float]


@dataclass
class Load:
    """What happened to the readers of a study, with times by `time.monotonic`."""

    saved: list[Saved] = field(default_factory=list)
    outages: list[Window] = field(default_factory=list)
    """From the kill until the server answered again."""
    seconds: float = 0.0
    """From the first reader's coming to the last one's receipt."""

    def split(self) -> tuple[list[Saved], list[Saved]]:
        """What was saved by a server that was there, and what met one that wasn't."""
        alive, met = [], []
        for one in self.saved:
            away = any(one.began < up and down < one.ended for down, up in self.outages)
            (met if away or one.attempts > 1 else alive).append(one)
        return alive, met


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--think", type=float, nargs=2, default=[0.5, 2.0], help="seconds")
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder), readers=given.readers, cases=given.cases, size=given.size)
        load = put_load(study, kills=given.kills, think=tuple(given.think))
        faults = list(faults_of(study, load))
    title = (
        f"{given.readers} readers, {given.cases} cases, {given.think[0]:g} to {given.think[1]:g} s "
        f"of thinking, {len(load.outages)} kills, pictures of {given.size} px, load average "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    report(title, rows_of(load), given.json)
    print("\n".join(faults) or "nothing lost, nothing doubled, the chain verifies")
    sys.exit(bool(faults))


def put_load(study: Path, *, kills: int, think: tuple[float, float], seed: int = 0) -> Load:
    """Let every reader of a new study read all of it."""
    readers, load = SimulatedReaders.of(study), Load()

    def pause(item: str) -> None:
        share = rank(seed, "think", item) / 2**64
        time.sleep(think[0] + (think[1] - think[0]) * share)

    def read(link: str) -> None:
        with Visitor(link, load.saved.append) as visitor:
            visitor.read(readers.values, pause)

    host, over = Host(study), threading.Event()
    links = make_links(study, host.url)  # before it is served, which would tell them
    when = moments(kills, events_of(study), seed)
    with host, ThreadPoolExecutor(len(links)) as pool:
        began = time.monotonic()
        killer = pool.submit(kill_often, host, load, over, when)
        try:
            list(pool.map(read, [link for name, link in links.items() if name != ADMIN]))
        finally:
            load.seconds = time.monotonic() - began
            over.set()
            killer.result()  # why a server is gone comes before that readers miss it
    return load


def events_of(study: Path) -> int:
    """What all readers send: an item is shown, answered by question, and finished."""
    return sum(2 + len(values) for values in answers_of(study).values())


def answers_of(study: Path) -> dict[str, dict[str, Any]]:
    """What the simulated readers answer, by item."""
    readers = SimulatedReaders.of(study)
    return {item: readers.values(item) for item in readers.key}


def moments(kills: int, total: int, seed: int) -> list[int]:
    """How many events are saved at each kill: at random in as many equal parts of the study."""
    shares = [(kill + rank(seed, "kill", kill) / 2**64) / kills for kill in range(kills)]
    return [round(share * total) for share in shares]


def kill_often(host: Host, load: Load, over: threading.Event, when: Sequence[int]) -> None:
    for moment in when:
        while len(load.saved) < moment:
            if over.wait(0.01):
                return
        down = time.monotonic()
        host.kill()
        load.outages.append((down, time.monotonic()))


def faults_of(study: Path, load: Load) -> Iterator[str]:
    """What was lost, doubled or altered."""
    links = [link for link in read_events(study) if link.item]
    acknowledged = Counter(one.id for one in load.saved)
    there = Counter(link.id for link in links)
    yield from (f"lost: {name}" for name in acknowledged.keys() - there.keys())
    yield from (f"never acknowledged: {name}" for name in there.keys() - acknowledged.keys())
    yield from (f"doubled: {n}" for n, count in (there + acknowledged).items() if count > 2)
    codes = {link.id: f"{link.sequence}-{link.hash[:20]}" for link in links}
    kept = [one for one in load.saved if one.id in codes]
    yield from (f"other receipt: {one.id}" for one in kept if codes[one.id] != one.receipt)
    yield from _answers_that_differ(study, links)
    yield from (f"{f.check}: {f.note}" for f in verify(study) if f.verdict == "wrong")


def _answers_that_differ(study: Path, links: Sequence[Link]) -> Iterator[str]:
    expected = answers_of(study)
    given = {}
    with Answers(study) as answers:
        for name in {link.reader for link in links}:
            given |= answers.latest(name).answers
    yield from (f"other answers: {item}" for item in expected if given.get(item) != expected[item])
    each = {"shown": len(expected), "finished": len(expected)}
    kinds = Counter(link.kind for link in links)
    if kinds != each | {"answered": sum(map(len, expected.values()))}:
        yield f"events: expected each once, found {dict(kinds)}"


def rows_of(load: Load) -> list[dict[str, Any]]:
    alive, met = load.split()
    answers = [one for one in alive if one.kind == "answered"]
    cells: dict[str, float] = {
        "events saved": len(load.saved),
        "  by a server that was there": len(alive),
        "  that met a dead or starting one": len(met),
        "  of these sent more than once": sum(one.attempts > 1 for one in met),
        "seconds in all": load.seconds,
        "seconds without a server": sum(up - down for down, up in load.outages),
        "events per second": len(load.saved) / load.seconds,
    }
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99), ("max", 100)):
        cells[f"saving an answer, ms, {name}"] = _percentile(answers, percent)
    cells["saving an answer that met a dead server, ms, max"] = _percentile(met, 100)
    return [{"what": name, "value": value} for name, value in cells.items()]


def _percentile(events: Sequence[Saved], percent: float) -> float:
    seconds = [one.seconds for one in events]
    return 1000 * float(np.percentile(seconds, percent)) if seconds else float("nan")


if __name__ == "__main__":
    main()
