import shutil
from collections.abc import Callable
from pathlib import Path

import fake_robustness
import fake_runs
import pandas as pd
import pytest
from fake_runs import FINDINGS, Workplace

from medrobust.report import build_report
from medrobust.report.figures import styles
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers, evaluations
from medrobust.report.predicted import Predicted
from medrobust.report.read import Run, read_runs


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("workplace")
    store = fake_runs.write_store(folder / "store", fake_runs.Blobs(FINDINGS, 200, 40))
    for regime, seed in (("standard", 0), ("adversarial", 0), ("dual", 0), ("dual", 1)):
        fake_runs.write_run(folder / "runs", store, regime, seed)
    return Workplace(store, folder / "runs")


@pytest.fixture(scope="session")
def page(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The whole report."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    build_report(workplace.paths, out, title="Blobs <i>&</i> noise")
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def found(workplace: Workplace) -> list[Run]:
    return read_runs(workplace.paths)


@pytest.fixture(scope="session")
def numbers(found: list[Run]) -> Numbers:
    return Numbers(found, evaluations(found)[0])


@pytest.fixture
def one_run(workplace: Workplace, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of one run that a test may damage."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(workplace.runs / name / "0", tmp_path / "runs" / name / "0"))

    return copy


@pytest.fixture(scope="session")
def full(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The same runs with everything that a full evaluation adds."""
    runs = tmp_path_factory.mktemp("full") / "runs"
    shutil.copytree(workplace.runs, runs)
    for run in sorted(runs.glob("*/*")):
        fake_robustness.enrich(run, workplace.store)
    return Workplace(workplace.store, runs)


@pytest.fixture(scope="session")
def material(full: Workplace) -> Material:
    """Of the full evaluation."""
    return _material(read_runs(full.paths), full.store.table)


@pytest.fixture(scope="session")
def plain(found: list[Run], workplace: Workplace) -> Material:
    """Of runs with nothing but PGD, as older versions left them."""
    return _material(found, workplace.store.table)


def _material(runs: list[Run], table: pd.DataFrame) -> Material:
    numbers = Numbers(runs, evaluations(runs)[0])
    return Material(numbers, Predicted(numbers), styles(numbers.arms), table)
