import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import Workplace

from medrobust.errors import MedrobustError
from medrobust.report.read import Run, count_parameters, read_run, read_runs


def test_runs_come_by_name_then_seed(found: list[Run]) -> None:
    assert [run.label for run in found] == [
        "standard, seed 0",
        "adversarial, seed 0",
        "dual, seed 0",
        "dual, seed 1",
    ]
    assert found[2].branches == ["clean", "adv"]
    assert found[0].branches == ["single"]
    assert all(run.finished for run in found)


def test_a_run_given_twice_is_read_once(workplace: Workplace) -> None:
    assert len(read_runs([workplace.runs / "dual", workplace.runs / "dual" / "0"])) == 2


def test_two_runs_of_one_name_are_told_apart(workplace: Workplace, one_run: Callable) -> None:
    runs = read_runs([workplace.runs / "standard", one_run("standard")])
    assert [run.name for run in runs] == ["standard", "standard (2)"]


def test_the_log_and_the_selected_epoch(found: list[Run]) -> None:
    epochs = found[2].epochs
    assert [e.epoch for e in epochs] == list(range(1, 13))
    assert set(epochs[0].clean) == set(epochs[0].attacked) == {"clean", "adv"}
    assert found[2].selected is not None
    best = max(epochs, key=lambda e: sum(e.clean.values()))
    assert found[2].selected.epoch == best.epoch


def test_parameters_without_statistics(found: list[Run]) -> None:
    assert count_parameters(found[0].path) == 16 * 9 + 16
    assert count_parameters(found[0].path / "nowhere") is None


def test_damaged_weights_are_an_error_of_one_line(one_run: Callable) -> None:
    run = one_run("standard")
    path = run / "checkpoints" / "best.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(MedrobustError, match=r"^expected a readable best\.safetensors, found "):
        count_parameters(run)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("log.jsonl", '{"epoch": 1\n', "Expecting"),
        ("log.jsonl", '{"step": 1}\n', "'epoch'"),
        ("provenance.json", "[1]", "a list instead of a mapping"),
        ("provenance.json", "{", "Expecting"),
        ("config.yaml", "a: [", "while parsing"),
        ("explain/scores.csv", "store,split\nx,y\n", "no column branch, method"),
    ],
)
def test_broken_files_are_named(one_run: Callable, name: str, content: str, reason: str) -> None:
    run = one_run("standard")
    (run / name).write_text(content)
    short = name.rpartition("/")[2]
    match = f"^expected a readable {re.escape(short)}, found {reason}.* in {run}/{name}; run the"
    with pytest.raises(MedrobustError, match=match):
        read_run(run)


def test_a_bare_run(tmp_path: Path) -> None:
    folder = tmp_path / "odd" / "3"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("regime: noise\n")
    run = read_run(folder)
    assert (run.name, run.seed, run.branches) == ("odd", 3, ["single"])
    assert run.epochs == ()
    assert run.metrics.empty
    assert run.scores.empty
    assert run.selected is None
    assert not run.finished
    assert run.store_name == ""
