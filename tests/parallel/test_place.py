"""What is refused before the processes meet, and which of them tells it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medrobust.config import Config
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.parallel.place import (
    ElsewhereError,
    Place,
    check_started_together,
    here,
    is_told_elsewhere,
)
from medrobust.rundir import RunDir
from medrobust.train import train

Configure = Callable[..., Config]
Among = Callable[..., None]


@pytest.fixture
def among(monkeypatch: pytest.MonkeyPatch) -> Among:
    """Lets this process believe that it is one of several."""

    def believe(count: int, rank: int = 0) -> None:
        told = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
        for name, value in told.items():
            monkeypatch.setenv(name, str(value))

    return believe


def test_where_this_process_is(among: Among, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here() == Place(0, 1, 0, 1)
    among(3, 2)
    assert here() == Place(2, 3, 2, 3)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")  # some clusters set the others for a single process
    assert here() == Place()


def test_the_first_of_a_machine_tells_errors_that_all_have(among: Among) -> None:
    error = MedrobustError("no such file")
    assert not is_told_elsewhere(error)
    among(2, 1)
    assert is_told_elsewhere(error)
    among(2, 0)
    assert not is_told_elsewhere(error)
    assert is_told_elsewhere(ElsewhereError("no such file"))


def test_processes_that_do_not_know_of_each_other(
    among: Among, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_started_together()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(MedrobustError) as error:
        check_started_together()
    assert str(error.value) == (
        "srun: expected one task, or torchrun in each, found 4 tasks that don't know of each "
        "other; see docs/how-to/several-machines.md"
    )
    among(4)
    check_started_together()


@pytest.mark.parametrize(
    ("count", "overrides", "told"),
    [
        (
            *(3, ["train.batch_size=2"]),
            "3 processes: expected a batch of at least 3 images, 1 for each, found 2; start fewer "
            "processes, or raise train.batch_size (the training split must have as many)",
        ),
        (
            *(3, ["train.batch_size=4", "train.norms=per-process"]),
            "3 processes: expected a batch of at least 6 images, 2 for each, found 4; start fewer "
            "processes, or raise train.batch_size (the training split must have as many)",
        ),
        (
            *(3, ["train.batch_size=16"]),
            "3 processes: expected a batch that they can share evenly, found 16 images; set "
            "train.batch_size=15, or start another number of processes",
        ),
        (
            *(3, ["train.batch_size=60"]),  # of 34 images
            "3 processes: expected a batch that they can share evenly, found 34 images; set "
            "train.batch_size=33, or start another number of processes",
        ),
        (
            *(1, ["train.processes=2"]),
            "train.processes=2: expected as many processes, found this one alone; start `medrobust "
            "train` or torchrun, or set train.processes=1",
        ),
    ],
)
def test_what_can_not_be_shared(
    configure: Configure,
    tiny_store: Store,
    tmp_path: Path,
    among: Among,
    count: int,
    overrides: list[str],
    told: str,
) -> None:
    among(count)
    with pytest.raises(MedrobustError) as error:
        train(configure("dual", *overrides), tiny_store, RunDir(tmp_path / "run"))
    assert str(error.value) == told
    assert not (tmp_path / "run").exists()


def test_more_processes_than_devices(
    configure: Configure,
    tiny_store: Store,
    tmp_path: Path,
    among: Among,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    among(2)
    with pytest.raises(MedrobustError) as error:
        train(configure("dual"), tiny_store, RunDir(tmp_path / "run"))
    assert str(error.value) == (
        "train.processes: expected at most 1, the cuda devices of this machine, found 2; start "
        "fewer or set train.accelerator=cpu"
    )
    assert not (tmp_path / "run").exists()


def test_each_process_of_a_machine_has_a_gpu_of_its_own() -> None:
    assert Place(3, 4, 1, 2).device("cuda") == "cuda:1"
    assert Place(3, 4, 1, 2).device("cuda:0") == "cuda:0"
    assert Place(3, 4, 1, 2).device("cpu") == "cpu"
    assert Place().device("cuda") == "cuda"
