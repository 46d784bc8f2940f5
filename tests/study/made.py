"""Studies made from maps of noise, and the readings of simulated readers without a database."""

import importlib
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medrobust.data.store import Store
from medrobust.explain.maps import write_maps
from medrobust.rundir import RunDir
from medrobust.study.analysis.read import Study, readings_table
from medrobust.study.chain import Link, canonical
from medrobust.study.config import StudyConfig
from medrobust.study.create import create_study
from medrobust.study.simulated import START, Biases, SimulatedReaders, happenings

FINDING = "effusion"
NAMES = ("A", "B", "C")
METHODS = ("gradient", "grad-cam", "occlusion")
SCALE = {"kind": "scale", "id": "useful", "text": "How useful is the map?"}
PRESENT = {"kind": "presence", "id": "there", "text": "Is the finding present: {finding}?"}
PLACE = {"kind": "location", "id": "place", "text": "Where?", "shape": "box"}
WORDS = {"kind": "text", "id": "words", "text": "Anything else?"}


def benchmark(name: str) -> Any:
    """The module of a benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        return importlib.import_module(name)


def mapped(run: RunDir, store: Store, root: Path) -> RunDir:
    """A run with maps of every image of train by each of the `METHODS`."""
    target = root / run.config().name / "0"
    target.mkdir(parents=True)
    for name in ("config.yaml", "provenance.json"):
        (target / name).write_bytes((run.path / name).read_bytes())
    ids = [str(name) for name in store.table["image_id"].iloc[store.rows("train")]]
    maps = np.random.default_rng(0).normal(size=(len(ids), 32, 32)).astype(np.float32)
    for method in METHODS:
        folder = target / "explain" / "maps" / "phantom" / "train" / "single" / method
        write_maps(folder / f"{FINDING}.npz", ids, maps)
    return RunDir(target)


def make(
    out: Path,
    run: RunDir,
    store: Store,
    *,
    conditions: int = 2,
    questions: Sequence[dict[str, Any]] = (SCALE,),
    **changes: Any,
) -> Path:
    """A created study: 4 readers, 12 cases, a few repeats."""
    settings = {
        "title": "Which maps help?",
        "readers": 4,
        "split": "train",
        "findings": [FINDING],
        "conditions": [
            {"name": name, "run": "standard", "method": method}
            for name, method in list(zip(NAMES, METHODS, strict=True))[:conditions]
        ],
        "questions": list(questions),
        "cases": {"count": 12, "negatives": 0.35, "practice": 1},
        "repeats": {"share": 0.25, "gap": 2},
    }
    config = StudyConfig.model_validate({**settings, **changes})
    create_study(config, [run], store, out, secret=bytes(32))
    return out


def simulated(folder: Path, biases: Biases | None = None, seed: int = 0) -> Study:
    """What the analysis reads of a study, answered in memory."""
    readers = SimulatedReaders.of(folder, biases, seed)
    key = json.loads((folder / "sealed" / "key.json").read_text())
    names = tuple(yaml.safe_load((folder / "study.yaml").read_text())["readers"])
    readings = readings_table("s", key, readers.questions, names, list(_links(folder, readers)))
    return Study(
        *("s", "Which maps help?", key["store"]["name"], key["store"]["split"]),
        *(readers.questions, tuple(key["conditions"]), names, readings),
        *(dict.fromkeys(names, 1), names),
    )


def _links(folder: Path, readers: SimulatedReaders) -> Iterator[Link]:
    clock, seen = START, set()
    for number, (seconds, event) in enumerate(happenings(folder, readers), 1):
        clock += timedelta(seconds=seconds)
        again = event.kind == "answered" and (event.reader, event.item) in seen
        seen |= {(event.reader, event.item)} if event.kind == "answered" else set()
        kind = "edited" if again else event.kind
        at = clock.isoformat(timespec="microseconds")
        yield Link(
            *(number, event.reader, event.id, kind, event.item, canonical(event.body), at, "", "")
        )
