"""A tiny store and tiny trained runs, made once; and a way to see what a test has written."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from medrobust.config import Config, resolve
from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.phantom import Phantom
from medrobust.rundir import RunDir, run_directory

TINY: Mapping[str, Any] = {
    "network": {"name": "small", "width": 4},
    "attack": {"eps": "2/255", "steps": 2},
    "train": {"epochs": 1, "batch_size": 16, "lr": 5e-3, "ema": 0.5, "validation_steps": 2},
    "evaluate": {
        **{"suite": "pgd", "eps": ["2/255"], "steps": 2},
        **{"redraws": 200, "trust_images": 0},
    },
}
"""Settings of a training that takes a second; its model has learnt next to nothing."""

Configure = Callable[..., Config]
Copy = Callable[[RunDir], RunDir]


def pytest_configure() -> None:
    # how long an example takes says something of the machine, nothing of the code
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    # Networks this small are several times slower with threads, and equal to the bit without.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """60 generated images of 32 pixels with masks: 34 train, 10 val, 16 test."""
    out = tmp_path_factory.mktemp("tiny") / "store"
    return prepare(Phantom(images=60, size=32), out, size=None)


@pytest.fixture(scope="session")
def other_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Other patients under the same name."""
    out = tmp_path_factory.mktemp("other") / "store"
    return prepare(Phantom(images=40, size=32, seed=1), out, size=None)


@pytest.fixture(scope="session")
def configure(tiny_store: Store) -> Configure:
    """Makes the settings of a tiny run; overrides are those of the command line."""

    def settings(regime: str, *overrides: str) -> Config:
        given = {"name": regime, "regime": regime, "data": {"store": str(tiny_store.path)}}
        sections = {name: dict(section) for name, section in TINY.items()}
        return resolve(given | sections, overrides, "tiny")

    return settings


@pytest.fixture(scope="session")
def dual_run(
    tiny_store: Store, configure: Configure, tmp_path_factory: pytest.TempPathFactory
) -> RunDir:
    """A trained dual run; nothing may change it."""
    return _trained(configure("dual"), tiny_store, tmp_path_factory)


@pytest.fixture(scope="session")
def standard_run(
    tiny_store: Store, configure: Configure, tmp_path_factory: pytest.TempPathFactory
) -> RunDir:
    """A trained standard run; nothing may change it."""
    return _trained(configure("standard"), tiny_store, tmp_path_factory)


@pytest.fixture(scope="session")
def evaluated_run(dual_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The dual run with its evaluation, every branch attacked itself; nothing may change it."""
    from medrobust.evaluate import evaluate

    run = _copied(dual_run, tmp_path_factory.mktemp("evaluated"))
    evaluate(run)
    return run


@pytest.fixture
def copy_of(tmp_path: Path) -> Copy:
    """Copies a run to the test's own folder, where it may be changed."""
    return lambda run: _copied(run, tmp_path / "runs")


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file and folder below a folder, with its bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
            for path in folder.rglob("*")
        }

    return read


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the disk be full for every file whose name has this text in it."""

    def fill(text: str) -> None:
        import errno

        from medrobust import files

        def flush(path: Path) -> None:
            if text in path.name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(files, "_flush_to_disk", flush)

    return fill


def _trained(config: Config, store: Store, folders: pytest.TempPathFactory) -> RunDir:
    from medrobust.train import train

    run = run_directory(config, folders.mktemp("runs"))
    train(config, store, run)
    return run


def _copied(run: RunDir, folder: Path) -> RunDir:
    target = folder / run.path.parent.name / run.path.name
    return RunDir(Path(shutil.copytree(run.path, target)))
