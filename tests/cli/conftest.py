import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from medrobust.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture
def medrobust(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in this process: `medrobust("train", path)`."""

    def call(*words: Any) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["medrobust", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Outcome(int(end.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def refusal(medrobust: Call) -> Callable[..., str]:
    """Runs a command that must be refused in one line, which is returned."""

    def call(*words: Any) -> str:
        outcome = medrobust(*words)
        assert outcome.code == 1
        assert outcome.out == ""
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
        return outcome.err.removeprefix("error: ").rstrip()

    return call


@pytest.fixture
def config_file(configure: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Writes the settings of a tiny run, as somebody would write them."""

    def write(regime: str = "dual") -> Path:
        path = tmp_path / f"{regime}.yaml"
        settings = configure(regime).model_dump(mode="json", exclude_unset=True)
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path

    return write
