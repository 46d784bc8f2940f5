import shutil
from collections.abc import Callable
from pathlib import Path

import fake_runs
import pytest
from fake_runs import FINDINGS, Workplace

from medrobust.report import build_report
from medrobust.report.numbers import Numbers, evaluations
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
