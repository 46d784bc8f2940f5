"""A reader study without a model: maps of noise on generated radiographs."""

from pathlib import Path

import numpy as np

from medrobust.config import resolve
from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.phantom import Phantom
from medrobust.explain.maps import maps_folder, maps_path, write_maps
from medrobust.rundir import RunDir, begin, run_directory
from medrobust.study.config import StudyConfig
from medrobust.study.create import create_study

FINDINGS = ("effusion", "pneumothorax", "cardiomegaly")
QUESTIONS = (
    {
        "kind": "scale",
        "id": "useful",
        "text": "How useful is this map for this finding: {finding}?",
    },
    {"kind": "presence", "id": "there", "text": "Is the finding present: {finding}?"},
)


def make_study(
    folder: Path,
    *,
    readers: int,
    cases: int,
    conditions: int = 1,
    size: int = 64,
    one_per_patient: bool = False,
) -> Path:
    """Store, run and study in an empty folder; the study's. No practice and no repeats."""
    images = max(60, cases * (12 if one_per_patient else 3))
    phantom = Phantom(images=images, size=size, findings=FINDINGS)
    store = prepare(phantom, folder / "store", size=None)
    methods = [f"method-{number + 1}" for number in range(conditions)]
    run = mapped_run(folder / "runs", store, methods, size)
    config = {
        "title": "Made up",
        "readers": readers,
        "split": "train",
        "conditions": [{"name": name, "run": "noise", "method": name} for name in methods],
        "questions": QUESTIONS,
        "cases": {
            **{"count": cases, "negatives": 0.3, "practice": 0},
            "one_per_patient": one_per_patient,
        },
        "repeats": {"share": 0.0, "gap": 2},
    }
    create_study(StudyConfig.model_validate(config), [run], store, folder / "study")
    return folder / "study"


def mapped_run(runs: Path, store: Store, methods: list[str], size: int) -> RunDir:
    """A run that was never trained, with maps of all images of train by each method."""
    told = {"name": "noise", "regime": "standard", "data": {"store": str(store.path)}}
    config = resolve(told, (), "made")
    run = run_directory(config, runs)
    begin(run, config, store, "cpu")
    ids = [str(name) for name in store.table["image_id"].iloc[store.rows("train")]]
    coarse = np.random.default_rng(0).normal(size=(len(ids), size // 8, size // 8))
    maps = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)
    for method in methods:
        place = maps_folder(run.explain, store.info.name, "train", "single", method)
        for finding in FINDINGS:
            write_maps(maps_path(place, finding), ids, maps)
    return run
