"""`medrobust study demo`: two studies of the demo's maps, with readers who do not exist.

In one, readers are made to like dual training's maps better; in the other nothing differs. They
answer over HTTP, as browsers do. What an analysis finds is then told beside what was planted.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from medrobust.data.store import Store, open_store
from medrobust.demo import call
from medrobust.errors import MedrobustError
from medrobust.progress import Bars
from medrobust.rundir import RunDir
from medrobust.study.analysis.analyse import analyse
from medrobust.study.answers import Answers
from medrobust.study.config import StudyConfig
from medrobust.study.create import create_study
from medrobust.study.export import export
from medrobust.study.hosting import Host
from medrobust.study.integrity import KEY, verify
from medrobust.study.links import make_links
from medrobust.study.maps import sources
from medrobust.study.planted import Comparison, compare
from medrobust.study.questions import USEFUL, Scale
from medrobust.study.simulated import Biases, SimulatedReaders
from medrobust.study.visiting import Saved, Visitor

RUNS = ("standard", "adversarial", "dual")
FINDINGS = ("consolidation", "effusion", "pneumothorax")
CONDITIONS: Sequence[Mapping[str, str]] = (
    {"name": "standard", "run": "standard/0"},
    {"name": "adversarial", "run": "adversarial/0"},
    {"name": "dual clean", "run": "dual/0", "branch": "clean"},
    {"name": "dual adversarial", "run": "dual/0", "branch": "adv"},
)
QUESTIONS: Sequence[Mapping[str, Any]] = (
    {
        **{"kind": "scale", "id": USEFUL.id, "hint": USEFUL.hint},
        "text": "How useful is this map for this finding: {finding}?",
    },
    {"kind": "presence", "id": "seen", "text": "Is the finding present: {finding}?"},
    {"kind": "location", "id": "where", "text": "Where is it?", "shape": "box"},
)
PLANTED: Mapping[str, Biases] = {
    "planted": Biases(scale={"dual clean": 0.8, "dual adversarial": 0.8}),
    "null": Biases(),
}
"""By the name of the study's folder; its place is the seed of its readers."""
Say = Callable[[str], None]


class Outcome(NamedTuple):
    """One of the studies, analysed."""

    page: Path
    biases: Biases
    pairs: list[Comparison]
    notes: list[str]
    """What the user should know of the analysis."""


def run_study_demo(
    runs: Path, store: Path, out: Path, readers: int, cases: int, bars: Bars, say: Say
) -> list[Outcome]:
    """Write the studies to `out/planted` and `out/null`; what is there already is kept.

    Args:
        runs: the folder of the demo's runs.
        store: its store.
        out: a folder for the studies.
        readers: how many, at least 2.
        cases: how many, at least 6.
        bars: shows how far they are.
        say: hears what is done.

    Raises:
        MedrobustError: the demo isn't there; `out` has a study of other settings; the store has
            too few cases.
    """
    trained, images = _open_demo(runs, store)
    _make_missing_maps(_settings(next(iter(PLANTED)), readers, cases), trained, images, say)
    outcomes = []
    for seed, (name, biases) in enumerate(PLANTED.items()):
        config, folder = _settings(name, readers, cases), out / name
        _create(config, trained, images, folder, bars, say)
        simulated = SimulatedReaders.of(folder, biases, seed)
        outcomes.append(_analysed(folder, simulated, _answer(folder, simulated, bars, say), bars))
    return outcomes


def _open_demo(runs: Path, store: Path) -> tuple[list[RunDir], Store]:
    trained = [RunDir(runs / name / "0") for name in RUNS]
    for path, mark in [*((run.path, "DONE") for run in trained), (store, "store.json")]:
        if not (path / mark).is_file():
            raise MedrobustError(
                f"expected what `medrobust demo` makes, found no {path / mark}: run `medrobust "
                "demo` first, or say where it is (--runs, --store)"
            )
    return trained, open_store(store)


def _settings(name: str, readers: int, cases: int) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "title": f"Simulated readers: {name}",
            "readers": readers,
            "conditions": CONDITIONS,
            "findings": FINDINGS,
            "cases": {"count": cases, "negatives": 1 / 3, "practice": len(FINDINGS)},
            "repeats": {"gap": max(2, min(10, cases // 3))},
            "questions": QUESTIONS,
        }
    )


def _make_missing_maps(config: StudyConfig, runs: Sequence[RunDir], store: Store, say: Say) -> None:
    """Call `medrobust explain` for the runs that lack maps of some images."""
    every = {str(name) for name in store.table["image_id"].iloc[store.rows(config.split)]}
    lacking = {
        source.run.path
        for source in sources(config.conditions, runs, store, config.split)
        for finding in config.findings or ()
        if not source.path(finding).is_file() or not every <= source.ids(finding)
    }
    for path in sorted(lacking):
        words = ("--store", store.path, "--split", config.split, "--methods", "gradient")
        call(say, "explain", path, *words, "--all-images")


def _create(
    config: StudyConfig, runs: Sequence[RunDir], store: Store, folder: Path, bars: Bars, say: Say
) -> None:
    if (folder / KEY).is_file():
        _refuse_other(folder, config)
        return
    for note in create_study(config, runs, store, folder, track=bars.start):
        say(f"{folder}: {note}")


def _refuse_other(folder: Path, config: StudyConfig) -> None:
    made = json.loads((folder / KEY).read_bytes())["settings"]
    if made != config.model_dump(mode="json"):
        raise MedrobustError(
            f"{folder}: expected a demo study of the same settings, found one of "
            f"{len(made['readers'])} readers and {made['cases']['count']} cases: remove it, or "
            "choose another --out"
        )


def _answer(folder: Path, readers: SimulatedReaders, bars: Bars, say: Say) -> list[str]:
    """Let all readers answer what they have not, and close the study; the receipts."""
    names = sorted({entry["reader"] for entry in readers.key.values()})
    with Answers(folder) as answers:
        states = [answers.latest(name) for name in names]
    if states[0].closed:
        return []
    count = bars.start(len(readers.key), f"{folder}: maps read")
    count(sum(len(state.done) for state in states))
    host = Host(folder)
    links = [make_links(folder, host.url, name)[name] for name in names]
    say(f"{folder}: {len(names)} simulated readers answer at {host.url}")

    def read(link: str) -> str:
        with Visitor(link, lambda event: count(_is_end(event))) as visitor:
            return visitor.read(readers.values)

    with host, ThreadPoolExecutor(len(names)) as pool:
        receipts = list(pool.map(read, links))
    with Answers(folder) as answers:
        return [*receipts, answers.close_study().code]


def _is_end(event: Saved) -> int:
    return event.kind == "finished"


def _analysed(
    folder: Path, readers: SimulatedReaders, receipts: Sequence[str], bars: Bars
) -> Outcome:
    """Verify, export and analyse a study that was closed."""
    faults = [finding for finding in verify(folder, receipts) if finding.verdict == "wrong"]
    if faults:
        raise MedrobustError(f"{folder}: expected answers that verify, found {faults[0].note}")
    export(folder, folder.name)
    out = folder / "analysis"
    notes = analyse(folder, out, track=bars.start)
    steps = next(len(q.steps) for q in readers.questions if isinstance(q, Scale))
    pairs = compare(out, readers.biases, USEFUL.id, steps)
    return Outcome(out / "index.html", readers.biases, pairs, notes)
