import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from medrobust import demo
from medrobust.config import load_config
from medrobust.data.store import open_store
from medrobust.errors import MedrobustError
from medrobust.metrics import read_metrics
from medrobust.progress import Bars
from medrobust.rundir import RunDir

RUNS = ["standard", "adversarial", "dual"]
TINY: dict[str, Any] = {
    "network": {"name": "small", "width": 4},
    "attack": {"eps": "2/255", "steps": 1},
    "train": {"epochs": 1, "batch_size": 16, "validation_steps": 1},
    "evaluate": {"eps": ["2/255"], "steps": 1, "redraws": 100},
}


class Silent(Bars):
    """Counts epochs."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def start(self, total: int, title: str) -> Callable[[int], None]:
        self.total = total

        def count(done: int) -> None:
            self.done += done

        return count


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the demo, which write what they should and do nothing else."""
    calls: list[list[str]] = []

    def call(say: Callable[[str], None], *command: object) -> None:
        words = [str(word) for word in command]
        calls.append(words)
        for file in written(words):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        if words[0] == "train":
            say("epoch 1/20  3 s  loss 1")

    monkeypatch.setattr(demo, "call", call)
    return calls


def written(words: list[str]) -> list[Path]:
    match words:
        case ["prepare", *_, out]:
            return [Path(out) / "store.json"]
        case ["train", config, "--runs", runs]:
            return [Path(runs) / Path(config).stem / "0" / "DONE"]
        case ["evaluate", run]:
            return [Path(run) / "metrics.csv"]
        case ["explain", run]:
            return [Path(run) / "explain" / "scores.csv"]
    return []


def test_commands(called: list[list[str]], tmp_path: Path) -> None:
    bars, said = Silent(), []
    assert demo.run_demo(tmp_path, bars, said.append) == tmp_path / "report.html"
    assert called[0] == ["prepare", "phantom", "--images", "1600", "--size", "64", "--out",
                         str(tmp_path / "store")]  # fmt: skip
    for regime in RUNS:
        run = str(tmp_path / "runs" / regime / "0")
        own = [words for words in called[1:-1] if regime in words[1]]
        assert own == [
            ["train", str(tmp_path / f"{regime}.yaml"), "--runs", str(tmp_path / "runs")],
            ["evaluate", run],
            ["explain", run],
        ]
    assert called[-1][:4] == ["report", *(str(tmp_path / "runs" / name / "0") for name in RUNS)]
    assert (bars.total, bars.done) == (3 * demo.SETTINGS["train"]["epochs"], 3)
    assert f"{'dual':<12}epoch 1/20  3 s  loss 1" in said


def test_configurations(called: list[list[str]], tmp_path: Path) -> None:
    demo.run_demo(tmp_path, Silent(), lambda text: None)
    configs = [load_config(tmp_path / f"{regime}.yaml") for regime in RUNS]
    assert [config.regime for config in configs] == [config.name for config in configs] == RUNS
    rest = [config.model_dump(exclude={"name", "regime"}) for config in configs]
    assert rest[0] == rest[1] == rest[2]
    assert configs[0].data.store == tmp_path / "store"
    assert yaml.safe_load((tmp_path / "dual.yaml").read_text())["attack"]["eps"] == 0.005


def test_a_second_call_goes_on_where_the_first_stopped(
    called: list[list[str]], tmp_path: Path
) -> None:
    demo.run_demo(tmp_path, Silent(), lambda text: None)
    (tmp_path / "runs" / "dual" / "0" / "metrics.csv").unlink()
    called.clear()
    demo.run_demo(tmp_path, Silent(), lambda text: None)
    assert [words[0] for words in called] == ["evaluate", "report"]


def test_messages_of_a_command_are_passed_on(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(MedrobustError) as error:
        demo.call(said.append, "report", tmp_path, "--out", tmp_path / "r.html")
    command = f"medrobust report {tmp_path} --out {tmp_path}/r.html"
    assert str(error.value) == f"demo: `{command}` failed; its message is above"
    assert said[0] == f"$ {command}"
    assert said[1].startswith(f"error: {tmp_path}: expected a run directory")


def test_every_command_has_a_process_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        stderr, returncode = ("  two lines  \n", "of words\n"), 0

        def __init__(self, command: list[str], env: dict[str, str], **_: Any) -> None:
            assert command == [sys.executable, "-m", "medrobust", "train", "a.yaml"]
            assert env["OMP_NUM_THREADS"] == "1"

        def __enter__(self) -> "Ended":
            return self

        def __exit__(self, *_: object) -> None: ...

    said: list[str] = []
    monkeypatch.setattr(demo.subprocess, "Popen", Ended)
    demo.call(said.append, "train", Path("a.yaml"))
    assert said == ["$ medrobust train a.yaml", "  two lines", "of words"]


@pytest.mark.slow
def test_a_tiny_demo_from_nothing_to_a_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "SETTINGS", TINY)
    monkeypatch.setattr(demo, "IMAGES", 60)
    monkeypatch.setattr(demo, "SIZE", 32)
    bars = Silent()
    page = demo.run_demo(tmp_path, bars, lambda text: None)
    assert (bars.total, bars.done) == (3, 3)
    assert "<title>Standard, adversarial and dual" in page.read_text(encoding="utf-8")
    assert open_store(tmp_path / "store").info.counts["images"] == 60
    for regime in RUNS:
        run = RunDir(tmp_path / "runs" / regime / "0")
        assert run.is_done
        assert run.provenance()["threads"] == 1
        assert {"", "noise-control", "pgd"} == set(read_metrics(run.metrics)["attack"])
        assert (run.explain / "scores.csv").is_file()
