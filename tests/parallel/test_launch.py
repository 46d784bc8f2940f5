"""`medrobust train … train.processes=2`, with one of the processes killed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medrobust.config import Config, dump_config
from medrobust.data.store import Store
from medrobust.rundir import RunDir
from medrobust.train import train

Configure = Callable[..., Config]

DYING = """
import os
import signal

from torch import nn


class Dying(nn.Sequential):
    batches = 0

    def forward(self, images):
        self.batches += self.training
        if self.batches == 5 and os.environ.get("RANK") == os.environ.get("DIES"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)


def build(*, channels, outputs, dimensions):
    return Dying(
        nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, outputs),
    )
"""
"""A network that kills its process in the third epoch of two steps each."""


@pytest.mark.parametrize("dies", ["1", pytest.param("0", marks=pytest.mark.slow)])
def test_when_one_is_killed_all_end_with_one_line_and_one_process_can_go_on(
    configure: Configure,
    tiny_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies: str,
) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    config = configure("standard", "network.name=dying:build", "train.epochs=3")
    config = config.model_copy(
        update={"network": config.network.model_copy(update={"width": None})}
    )
    (tmp_path / "config.yaml").write_text(dump_config(config))
    found = medrobust(tmp_path, ["train", "config.yaml", "train.processes=2"], {"DIES": dies})
    assert found.returncode == 1
    *epochs, end = found.stderr.splitlines()
    assert end == (
        f"error: process {int(dies) + 1} of 2 was killed (SIGKILL), so that all ended; give the "
        "same command again to go on after epoch 2"
    )
    assert [line.partition(" ")[0] for line in epochs] == ["runs/standard/0:", "epoch", "epoch"]
    assert found.stdout == ""
    monkeypatch.syspath_prepend(tmp_path)
    said: list[str] = []
    run = RunDir(tmp_path / "runs" / "standard" / "0")
    train(config, tiny_store, run, say=said.append)
    assert said[0] == f"{run.path}: going on after epoch 2"
    assert run.is_done
    assert run.config().train.processes == 1


def test_an_error_that_all_have_is_told_once(
    configure: Configure, tiny_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(dump_config(configure("standard")))
    given = ["train", "config.yaml", "train.processes=2", "train.batch_size=15"]
    found = medrobust(tmp_path, given)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == (
        "error: 2 processes: expected a batch that they can share evenly, found 15 images; set "
        "train.batch_size=14, or start another number of processes\n"
    )
    assert not (tmp_path / "runs").exists()


def medrobust(
    folder: Path, given: list[str], more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, run in a folder."""
    command = [sys.executable, "-m", "medrobust", *given]
    return subprocess.run(
        command, cwd=folder, env=os.environ | (more or {}), capture_output=True, text=True,
        timeout=150, check=False,
    )  # fmt: skip
