"""`medrobust study demo` on tiny runs: what was planted is told beside what was found."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medrobust.cli import main
from medrobust.data.store import Store
from medrobust.explain.maps import maps_folder, maps_path, read_maps, write_maps
from medrobust.rundir import RunDir
from medrobust.study import demo
from medrobust.study.answers import Answers
from medrobust.study.integrity import verify
from medrobust.study.planted import Comparison, as_text, compare, expected_step
from medrobust.study.simulated import Biases

PLACES = {"standard": ["single"], "adversarial": ["single"], "dual": ["clean", "adv"]}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(
    standard_run: RunDir,
    dual_run: RunDir,
    tiny_store: Store,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What `medrobust demo` leaves, with maps of all images; nothing may change it."""
    root = tmp_path_factory.mktemp("demo")
    shutil.copytree(tiny_store.path, root / "store")
    for name, trained in zip(PLACES, (standard_run, standard_run, dual_run), strict=True):
        run = RunDir(Path(shutil.copytree(trained.path, root / "runs" / name / "0")))
        config = run.path / "config.yaml"
        text = re.sub(r"^name: .*$", f"name: {name}", config.read_text(), flags=re.M)
        config.write_text(text)
        write_all_maps(run, tiny_store, PLACES[name])
    return root


def write_all_maps(run: RunDir, store: Store, branches: list[str]) -> None:
    ids = [str(name) for name in store.table["image_id"].iloc[store.rows("test")]]
    maps = np.random.default_rng(0).normal(size=(len(ids), 32, 32)).astype(np.float32)
    for branch in branches:
        place = maps_folder(run.explain, "phantom", "test", branch, "gradient")
        for finding in demo.FINDINGS:
            write_maps(maps_path(place, finding), ids, maps)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `medrobust study demo` in this process: exit code, output, errors."""

    def call(folder: Path, out: Path, *words: Any) -> tuple[int, str, str]:
        places = ("--runs", folder / "runs", "--store", folder / "store", "--out", out)
        told = ["medrobust", "study", "demo", *map(str, (*places, *words))]
        monkeypatch.setattr(sys, "argv", told)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies that 16 images and few seconds suffice for."""
    monkeypatch.setattr(demo, "FINDINGS", ("effusion",))
    monkeypatch.setattr(demo, "QUESTIONS", demo.QUESTIONS[:1])
    monkeypatch.setattr(demo, "CONDITIONS", demo.CONDITIONS[::3])


def test_two_studies_from_maps_to_pages(
    small: None, command: Call, folder: Path, tmp_path: Path
) -> None:
    code, out, err = command(folder, tmp_path, "--readers", "2", "--cases", "6")
    assert code == 0, err
    planted, nothing = out.rstrip().split("\n\n")
    assert planted.startswith(
        "Planted, in steps before rounding: +0.8 to 'dual clean', +0.8 to 'dual adversarial'\n"
    )
    assert nothing.startswith("Planted, in steps before rounding: nothing\n")
    for name, text in (("planted", planted), ("null", nothing)):
        study = tmp_path / name
        lines = text.splitlines()
        assert lines[2].startswith("standard - dual adversarial  ")
        assert len(lines) == 4
        assert lines[-1] == str(study / "analysis" / "index.html")
        assert "<title>" in Path(lines[-1]).read_text()
        check_answered(study, ["reader-1", "reader-2"])
        assert (study / "export" / "answers.csv").is_file()
    again = command(folder, tmp_path, "--readers", "2", "--cases", "6")
    assert again[:2] == (0, out)
    assert "answer at" not in again[2]


def check_answered(study: Path, readers: list[str]) -> None:
    """Everything by every reader, over HTTP, verified and closed."""
    assert {finding.verdict for finding in verify(study)} == {"ok"}
    items = json.loads((study / "items.json").read_text())["items"]
    with Answers(study) as answers:
        states = [answers.latest(reader) for reader in readers]
    assert all(state.finished and state.closed and state.sessions == 1 for state in states)
    assert set().union(*(state.answers for state in states)) == set(items)


def test_studies_of_other_settings_are_kept(
    small: None, command: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_answer", lambda *_: pytest.fail("answered"))
    config = demo._settings("planted", 3, 6)
    runs, store = demo._open_demo(folder / "runs", folder / "store")
    demo.create_study(config, runs, store, tmp_path / "planted")
    code, out, err = command(folder, tmp_path, "--readers", "2", "--cases", "7")
    assert (code, out) == (1, "")
    assert err == (
        f"error: {tmp_path}/planted: expected a demo study of the same settings, found one of 3 "
        "readers and 6 cases: remove it, or choose another --out\n"
    )


@pytest.mark.parametrize("missing", ["runs/dual/0/DONE", "store/store.json"])
def test_the_demo_must_be_there(command: Call, folder: Path, tmp_path: Path, missing: str) -> None:
    there = tmp_path / "demo"
    for name in ("standard", "adversarial", "dual"):
        (there / "runs" / name / "0").mkdir(parents=True)
        (there / "runs" / name / "0" / "DONE").touch()
    (there / "store").mkdir()
    (there / "store" / "store.json").touch()
    (there / missing).unlink()
    code, out, err = command(there, tmp_path / "study")
    assert (code, out) == (1, "")
    assert err == (
        f"error: expected what `medrobust demo` makes, found no {there / missing}: run `medrobust "
        "demo` first, or say where it is (--runs, --store)\n"
    )
    assert not (tmp_path / "study").exists()


def test_maps_are_made_for_runs_that_lack_some(
    folder: Path, copy_of: Callable[[RunDir], RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, store = demo._open_demo(folder / "runs", folder / "store")
    config = demo._settings("planted", 2, 6)
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo, "call", lambda say, *words: called.append(tuple(map(str, words))))
    demo._make_missing_maps(config, runs, store, lambda text: None)
    assert called == []
    some, none = copy_of(runs[0]), copy_of(runs[2])
    path = next(some.explain.rglob("effusion.npz"))
    maps = read_maps(path)
    ids = sorted(maps)[1:]  # as `medrobust demo` makes maps: not of all images
    write_maps(path, ids, np.stack([maps[name] for name in ids]))
    shutil.rmtree(none.explain)
    demo._make_missing_maps(config, [some, runs[1], none], store, lambda text: None)
    words = ("--store", str(store.path), "--split", "test", "--methods", "gradient")
    assert sorted(called) == sorted(
        ("explain", str(run.path), *words, "--all-images") for run in (some, none)
    )


def test_a_study_that_was_interrupted_goes_on(
    small: None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, store = demo._open_demo(folder / "runs", folder / "store")
    study, counted = tmp_path / "study", []
    demo.create_study(demo._settings("planted", 2, 6), runs, store, study)

    class Bars:
        def start(self, total: int, title: str) -> Callable[[int], None]:
            return counted.append

    def break_off(self: Any, item: str) -> Any:
        if sum(counted) >= 4:
            raise EOFError
        return answers(self, item)

    readers, answers = demo.SimulatedReaders.of(study), demo.SimulatedReaders.values
    monkeypatch.setattr(demo.SimulatedReaders, "values", break_off)
    with pytest.raises(EOFError):
        demo._answer(study, readers, Bars(), lambda text: None)  # type: ignore[arg-type]
    monkeypatch.setattr(demo.SimulatedReaders, "values", answers)
    assert demo._answer(study, readers, Bars(), lambda text: None)  # type: ignore[arg-type]
    with Answers(study) as found:
        states = [found.latest(f"reader-{number}") for number in (1, 2)]
    assert [state.finished for state in states] == [True, True]
    assert max(state.sessions for state in states) == 2


def test_pairs_are_those_of_the_main_model(tmp_path: Path) -> None:
    columns = ["question", "analysis", "first", "second", "difference", "low", "high", "p_holm"]
    rows = [
        ["useful", "mixed model", "A", "B", -0.9, -1.2, -0.6, 0.001],
        ["useful", "reader and case only", "A", "B", -0.8, -0.9, -0.7, 0.0],
        ["other", "mixed model", "A", "B", 0.0, -1.0, 1.0, 1.0],
    ]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "differences.csv")
    biases = Biases(scale={"B": 1.0})
    [one] = compare(tmp_path, biases, "useful", 6)
    assert one.planted == pytest.approx(2.5 - expected_step(biases, "B", 6))
    assert one[:2] + one[3:] == ("A", "B", -0.9, -1.2, -0.6, 0.001)
    assert one.holds
    assert not one._replace(planted=-0.59).holds
    assert not one._replace(planted=-1.21).holds


def test_pairs_as_text() -> None:
    one = Comparison("A", "long name", 0.5, 0.41, 0.1, 0.72, 0.0123)
    assert as_text([one, one._replace(planted=-1.0, p_holm=1.0)]) == (
        "difference     planted  found  95 % interval   holds it  p (Holm)\n"
        "A - long name  +0.50    +0.41  +0.10 to +0.72  yes       0.012\n"
        "A - long name  -1.00    +0.41  +0.10 to +0.72  no        1"
    )
