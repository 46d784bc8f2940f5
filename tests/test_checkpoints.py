import errno
from pathlib import Path

import pytest
import torch

from medrobust import checkpoints, files
from medrobust.checkpoints import Checkpoint
from medrobust.errors import MedrobustError


def checkpoint(value: float, epoch: int = 1) -> Checkpoint:
    return Checkpoint({"a": torch.full((3, 2), value), "b": torch.tensor(7)}, {"epoch": epoch})


def test_a_checkpoint_round_trips_to_the_bit(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, "last", checkpoint(0.1))
    found = checkpoints.load(tmp_path, "last")
    assert torch.equal(found.tensors["a"], torch.full((3, 2), 0.1))
    assert found.tensors["b"].dtype == torch.int64
    assert found.state["epoch"] == 1
    assert checkpoints.names(tmp_path) == ["last"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.json", "last.safetensors"]


def test_a_crash_at_any_moment_of_saving_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(tmp_path, "last", checkpoint(1.0, epoch=1))
    for moment in (1, 2):  # the tensors' file, the copy of the state
        count = 0

        def dying(path: Path, moment: int = moment) -> None:
            nonlocal count
            count += 1
            if count == moment:
                raise KeyboardInterrupt

        monkeypatch.setattr(files, "_flush_to_disk", dying)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(tmp_path, "last", checkpoint(2.0, epoch=2))
        found = checkpoints.load(tmp_path, "last")
        assert (found.state["epoch"], float(found.tensors["a"][0, 0])) == (moment, float(moment))


def test_a_full_disk_keeps_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(tmp_path, "last", checkpoint(1.0))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_flush_to_disk", full)
    with pytest.raises(MedrobustError, match=r"cannot write .*last\.safetensors: No space left"):
        checkpoints.save(tmp_path, "last", checkpoint(2.0))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_damage_is_noticed(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, "best", checkpoint(1.0))
    path = tmp_path / "best.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(MedrobustError, match="can't be read as a checkpoint"):
        checkpoints.load(tmp_path, "best")
    path.write_bytes(whole[:-1] + b"\x01")
    with pytest.raises(MedrobustError, match="is damaged: its tensors do not have the hash"):
        checkpoints.load(tmp_path, "best")
    with pytest.raises(MedrobustError, match=r"no file .*epoch-0003\.safetensors"):
        checkpoints.load(tmp_path, "epoch-0003")
