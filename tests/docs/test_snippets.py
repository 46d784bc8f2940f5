"""The examples of the documentation run; how to write them is said in CONTRIBUTING.md."""

import runpy
import shutil
import sys
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from markdown_pages import PAGES, Block, blocks_of

from medrobust.cli import main
from medrobust.cli.main import app
from medrobust.config import load_config
from medrobust.errors import MedrobustError
from medrobust.metrics import read_metrics
from medrobust.study.config import load_study_config
from medrobust.study.demo import QUESTIONS
from medrobust.study.questions import USEFUL
from medrobust.study.simulated import SimulatedReaders

SMALLER: Mapping[str, list[str]] = {"--images": ["80"]}
"""Values of options that are replaced, so that examples take seconds."""
SHORTER = [
    *("train.epochs=1", "train.validation_steps=1"),
    *("evaluate.steps=1", "evaluate.redraws=100", "evaluate.trust_images=0"),
    "evaluate.eps=[2/255]",
]
"""Settings put behind those of every `train`, which win."""

TUTORIAL = "docs/tutorial/first-comparison.md"
AFTER_TUTORIAL = [
    *("docs/how-to/read-the-numbers.md", "docs/how-to/resume-and-move.md"),
    *("docs/how-to/evaluate-robustness.md", "docs/how-to/verify-a-result.md"),
    "docs/how-to/explain-a-model.md",
]
"""Pages that go on from what the tutorial made."""
OTHERS = [page for page in PAGES if page not in (TUTORIAL, *AFTER_TUTORIAL) and blocks_of(page)]


@pytest.fixture(scope="session")
def after_tutorial(belongings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has done the tutorial; nothing may change it."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(belongings, folder, dirs_exist_ok=True)
    follow(blocks_of(TUTORIAL), folder)
    return folder


def test_tutorial_ends_with_a_report_of_three_runs(after_tutorial):
    for regime in ("standard", "adversarial", "dual"):
        run = after_tutorial / "runs" / f"phantom-{regime}" / "0"
        assert (run / "DONE").is_file()
        assert len(pd.read_csv(run / "explain" / "scores.csv"))
    page = (after_tutorial / "report.html").read_text(encoding="utf-8")
    assert "phantom-dual · adversarial branch" in page


@pytest.mark.parametrize("page", AFTER_TUTORIAL)
def test_pages_after_the_tutorial_run(page, after_tutorial, tmp_path):
    shutil.copytree(after_tutorial, tmp_path, dirs_exist_ok=True)
    follow(blocks_of(page), tmp_path)


@pytest.mark.parametrize("page", OTHERS)
def test_examples_run(page, belongings, tmp_path):
    shutil.copytree(belongings, tmp_path, dirs_exist_ok=True)
    follow(blocks_of(page), tmp_path)


@pytest.mark.parametrize("page", ["docs/tutorial/reader-study.md", "docs/how-to/reader-study.md"])
def test_studies_say_what_to_do_where_there_is_no_finding(page, tmp_path):
    (block,) = (block for block in blocks_of(page) if block.file == "study.yaml")
    (tmp_path / "study.yaml").write_text(block.text, encoding="utf-8")
    useful, seen, *_ = load_study_config(tmp_path / "study.yaml").questions
    assert useful.hint == USEFUL.hint
    assert seen.text == QUESTIONS[1]["text"] == "Is the finding present: {finding}?"
    assert useful.text == QUESTIONS[0]["text"]
    assert useful.hint == QUESTIONS[0]["hint"]


def test_simulated_readers_of_the_tutorial_answer_once(tmp_path, monkeypatch):
    (block,) = (
        block for block in blocks_of("docs/tutorial/reader-study.md") if block.file == "simulate.py"
    )
    monkeypatch.chdir(tmp_path)
    Path(block.file).write_text(block.text, encoding="utf-8")

    def refuse(*_):
        raise MedrobustError("there are answers")

    monkeypatch.setattr(SimulatedReaders, "of", lambda *_: None)
    monkeypatch.setattr("medrobust.study.simulated.answer_study", refuse)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(block.file)
    assert end.value.code == "error: there are answers"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_tutorial_at_full_size_shows_what_it_says(tmp_path):
    follow(blocks_of(TUTORIAL), tmp_path, full_size=True)
    clean, attacked, strong = (aurocs(tmp_path, eps) for eps in ("", "2/255", "4/255"))
    noise = aurocs(tmp_path, "2/255", "noise-control")
    assert clean["standard single"] > clean["dual clean"] + 0.02
    assert clean["dual clean"] > clean["adversarial single"] + 0.05
    assert all(abs(noise[branch] - clean[branch]) < 0.02 for branch in clean)
    assert clean["standard single"] - attacked["standard single"] > 0.2
    assert strong["standard single"] < 0.5
    assert attacked["dual adv"] == max(attacked.values())
    assert clean["adversarial single"] - attacked["adversarial single"] < 0.12
    hits = hit_rates(tmp_path)
    assert hits["dual adv", "gradient"] == hits.max()
    assert hits["dual adv", "gradient"] > hits["standard single", "gradient"] + 0.1
    baselines = hits[[key for key in hits.index if key[1] != "gradient"]]
    assert hits["standard single", "gradient"] > baselines.max()


def aurocs(folder: Path, eps: str, attack: str = "pgd") -> dict[str, float]:
    """Macro AUROC by regime and branch under an attack; on clean images where `eps` is empty."""
    found = {}
    for path in sorted(folder.glob("runs/*/0/metrics.csv")):
        rows = read_metrics(path)
        rows = rows[(rows["finding"] == "macro") & (rows["metric"] == "auroc")]
        rows = rows[rows["attack"] == (attack if eps else "")]
        rows = rows[np.isclose(rows["eps"], float(Fraction(eps or 0)))]
        regime = path.parts[-3].removeprefix("phantom-")
        found |= {f"{regime} {b}": v for b, v in zip(rows["branch"], rows["value"], strict=True)}
    return found


def hit_rates(folder: Path) -> "pd.Series[float]":
    """Mean hit rate by (regime and branch, method)."""
    tables = [
        pd.read_csv(path).assign(regime=path.parts[-4].removeprefix("phantom-"))
        for path in folder.glob("runs/*/0/explain/scores.csv")
    ]
    scores = pd.concat(tables)
    scores = scores[scores["score"] == "hit_rate"]
    return scores.groupby([scores["regime"] + " " + scores["branch"], "method"])["value"].mean()


def follow(blocks: Iterable[Block], folder: Path, *, full_size: bool = False) -> None:
    """Do in `folder` what a page's blocks say, in order."""
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for block in blocks:
            if block.file:
                Path(block.file).write_text(block.text, encoding="utf-8")
            if block.language == "yaml":
                read = load_study_config if block.file == "study.yaml" else load_config
                read(Path(block.file or "no name"))
            elif block.language == "python":
                program = compile(block.text, block.place, "exec")
                if block.is_run and not block.file:
                    exec(program, names)
            for words in block.commands:
                check_options(words)
                if block.is_run:
                    call(words if full_size else smaller(words), patch, block.place)


def check_options(words: list[str]) -> None:
    """Fail (UsageError) unless there is such a command with such options."""
    command, rest = typer.main.get_command(app), [*words]
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context("medrobust", rest)


def smaller(words: list[str]) -> list[str]:
    """The same command on less."""
    shorter = [
        SMALLER[before][0] if before in SMALLER else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    return [*shorter, *SHORTER] if words[0] == "train" else shorter


def call(words: list[str], patch: pytest.MonkeyPatch, place: str) -> None:
    """Run a command in this process, with file name patterns expanded as a shell does."""
    expanded = [
        name
        for word in words
        for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    patch.setattr(sys, "argv", ["medrobust", *expanded])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, f"{place}: medrobust {' '.join(words)}"
