"""More processes than a batch has images are refused before any is started."""

import sys
from pathlib import Path

import pytest
import yaml

from medrobust.cli import main
from medrobust.data.store import Store


def test_too_many_processes(
    tiny_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "many.yaml"
    told = {"name": "many", "regime": "dual", "data": {"store": str(tiny_store.path)}}
    config.write_text(yaml.safe_dump(told))
    words = ["train", str(config), "train.processes=100", "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["medrobust", *words])
    command = sys.modules["medrobust.cli.main"]
    monkeypatch.setattr(command, "launch", lambda *given: pytest.fail("started"))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "error: 100 processes: expected a batch of at least 100 images, 1 for each, found 34; "
        "start fewer processes, or raise train.batch_size (the training split must have as many)\n"
    )
    assert not (tmp_path / "runs").exists()
