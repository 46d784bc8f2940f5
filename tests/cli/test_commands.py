"""Every command on tiny data, as somebody would type it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medrobust import __version__, checkpoints
from medrobust.cli import main
from medrobust.data.store import Store, open_store
from medrobust.errors import MedrobustError
from medrobust.rundir import RunDir

COMMANDS = [
    *("train", "evaluate", "explain", "report", "inspect", "verify"),
    *("import", "export", "predict", "demo"),
]
SOURCES = [
    *("phantom", "medmnist", "images", "arrays", "dicom"),
    *("chexpert", "nih", "kneemri", "luna16", "custom"),
]


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, env=os.environ
    )


@pytest.mark.parametrize(
    "words", [*([name] for name in COMMANDS), *(["prepare", name] for name in SOURCES)]
)
def test_help_has_an_example(medrobust: Any, words: list[str]) -> None:
    outcome = medrobust(*words, "--help")
    assert outcome.code == 0
    assert f"\n  medrobust {' '.join(words)}" in outcome.out


@pytest.mark.parametrize("words", [[], ["prepare"]])
def test_without_a_command_there_is_help(medrobust: Any, words: list[str]) -> None:
    outcome = medrobust(*words)
    assert "Usage: " in outcome.out + outcome.err
    assert all(name in outcome.out + outcome.err for name in (SOURCES if words else COMMANDS))


def test_version(medrobust: Any) -> None:
    assert medrobust("--version") == (0, f"medrobust {__version__}\n", "")


def test_the_command_line_is_quick_because_it_imports_no_torch() -> None:
    code = (
        "import sys, medrobust.cli; heavy = {'torch', 'pandas', 'numpy', 'lightning', 'monai'};"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    outcome = python("-c", code)
    assert outcome.stderr == ""
    assert outcome.returncode == 0


def test_as_a_module() -> None:
    outcome = python("-m", "medrobust", "evaluate", "nowhere")
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: nowhere: expected a run directory")
    assert outcome.stderr.count("\n") == 1


def test_debug_shows_where_an_error_arose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["medrobust", "--debug", "evaluate", "nowhere"])
    with pytest.raises(MedrobustError, match=r"^nowhere: expected a run directory"):
        main()


def test_unknown_option_is_a_usage_error(medrobust: Any) -> None:
    outcome = medrobust("evaluate", "runs", "--setps", "3")
    assert outcome.code == 2
    assert outcome.out == ""
    assert re.fullmatch(
        r"error: No such option:? '?--setps'?.*--steps.* \(see medrobust evaluate --help\)\n",
        outcome.err,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sutdy"], r"No such command 'sutdy'.* \(see medrobust --help\)"),
        (["study", "verfy", "x"], r"No such command 'verfy'.* \(see medrobust study --help\)"),
        (["train"], r"Missing argument '(config|CONFIG)'.* \(see medrobust train --help\)"),
        (
            ["study", "serve", "x", "--port", "0"],
            r"Invalid value for '--port': .* \(see medrobust study serve --help\)",
        ),
    ],
)
def test_usage_errors_are_one_line(medrobust: Any, words: list[str], said: str) -> None:
    outcome = medrobust(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert re.fullmatch(f"error: {said}\n", outcome.err)


def test_interrupted(medrobust: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from medrobust import report

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "build_report", interrupt)
    outcome = medrobust("report", "runs", "--out", "r.html")
    assert outcome.code == 130
    assert outcome.err.strip() == (
        "interrupted; nothing is half-written, give the same command again"
    )


def test_prepare_phantom(medrobust: Any, tmp_path: Path) -> None:
    out = tmp_path / "store"
    words = ["--images", 20, "--size", 32, "--finding", "effusion", "--finding", "nodule"]
    outcome = medrobust("prepare", "phantom", "--out", out, *words, "--seed", 3, "--bits", 16)
    store = open_store(out)
    assert outcome.code == 0
    assert outcome.out.startswith(f"{out}: 20 images, ")
    assert outcome.out.endswith("findings effusion, nodule\n")
    assert "━" not in outcome.err
    assert store.images.shape == (20, 1, 32, 32)
    assert store.images.dtype == np.uint16
    assert all(line.startswith("warning: ") for line in outcome.err.splitlines())


def test_prepare_overwrites_only_when_asked(medrobust: Any, tmp_path: Path) -> None:
    words = ["prepare", "phantom", "--out", tmp_path / "store", "--images", 20, "--size", 32]
    assert medrobust(*words).code == 0
    assert f"error: {tmp_path / 'store'} exists already: " in medrobust(*words).err
    assert medrobust(*words, "--seed", 1, "--overwrite").code == 0
    assert open_store(tmp_path / "store").table["image_id"].is_unique


def test_prepare_medmnist(medrobust: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{split}_{what}": value
        for split, count in (("train", 8), ("val", 4), ("test", 4))
        for what, value in (
            ("images", rng.integers(0, 256, (count, 28, 28), np.uint8)),
            ("labels", np.arange(count)[:, None] % 2),
        )
    }
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    out = tmp_path / "store"
    outcome = medrobust(
        "prepare", "medmnist", "--root", tmp_path / "pneumoniamnist.npz", "--out", out, "--size", 20
    )
    assert outcome.code == 0
    assert open_store(out).info.counts["train"] == 8
    assert open_store(out).images.shape == (16, 1, 20, 20)


def test_prepare_images(medrobust: Any, image_folder: Path, tmp_path: Path) -> None:
    outcome = medrobust(
        *images_command(image_folder, tmp_path / "store"), "--metadata", "view=view"
    )
    store = open_store(tmp_path / "store")
    assert outcome.code == 0
    assert store.findings == ["sick"]
    assert store.info.patients == "known"
    assert set(store.table["view"]) == {"PA"}
    assert store.info.counts | {"train": 12, "val": 4, "test": 4} == store.info.counts


def test_prepare_arrays(medrobust: Any, tmp_path: Path) -> None:
    arrays = {
        "pictures": np.random.default_rng(0).random((12, 9, 7)),
        "truth": np.arange(12) % 2,
        "part": np.repeat([0, 1, 2], 4),
    }
    np.savez(tmp_path / "patches.npz", **arrays)
    out = tmp_path / "store"
    words = ["--images", "pictures", "--labels", "truth", "--split", "part", "--finding", "nodule"]
    outcome = medrobust(
        *("prepare", "arrays", "--root", tmp_path / "patches.npz", "--out", out),
        *(*words, "--window", "0:1", "--size", 8),
    )
    assert outcome.code == 0
    assert open_store(out).findings == ["nodule"]
    assert open_store(out).images.shape == (12, 1, 8, 8)


def test_from_training_to_report(
    medrobust: Any, config_file: Callable[..., Path], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    trained = medrobust(
        *("train", config_file("standard"), "--runs", runs, "seed=3", "name=plain"),
        *("train.epochs=2", "train.lr=1e-3"),
    )
    run = RunDir(runs / "plain" / "3")
    assert trained.code == 0
    assert trained.out == f"{run.path}\n"
    first, *epochs = trained.err.splitlines()
    assert first == f"{run.path}: standard training of 34 images, 2 steps an epoch, on cpu"
    assert [line[:9] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert run.config().train.lr == 1e-3
    assert run.is_done
    assert (
        medrobust(
            "train",
            config_file("standard"),
            "--runs",
            runs,
            "seed=3",
            "name=plain",
            "train.epochs=2",
            "train.lr=1e-3",
        ).err
        == f"{run.path}: training is done already\n"
    )

    evaluated = medrobust("evaluate", runs / "plain", "--eps", "1/255,2/255", "--steps", 1)
    assert evaluated.out == f"{run.metrics}\n"
    explained = medrobust("explain", run.path, "--finding", "effusion")
    assert explained.out == f"{run.explain}\n"
    assert explained.err == ""
    reported = medrobust("report", run.path, "--out", tmp_path / "r.html", "--title", "Mine")
    assert reported.out == f"{tmp_path / 'r.html'}\n"
    assert "<title>Mine" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "━" not in trained.err + evaluated.err + explained.err + reported.err


def test_evaluate_options_reach_the_predictions(
    medrobust: Any, dual_run: RunDir, copy_of: Callable[[RunDir], RunDir], other_store: Store
) -> None:
    run = copy_of(dual_run)
    outcome = medrobust(
        *("evaluate", run.path, "--store", other_store.path, "--split", "val"),
        *("--checkpoint", "epoch-0001", "--branches", "matrix", "--eps", "0.01"),
        *("--steps", 3, "--restarts", 2, "--batch-size", 5, "--device", "cpu"),
    )
    assert outcome.code == 0
    name = f"phantom-{other_store.checksum[:8]}-val-epoch-0001-clean-pgd-linf-0.01-on-adv"
    sidecar = json.loads((run.predictions / f"{name}.json").read_text())
    assert sidecar["store_checksum"] == other_store.checksum
    assert sidecar["weights"] == checkpoints.load(run.checkpoints, "epoch-0001").state["digest"]
    attack = sidecar["attack"]
    assert (attack["steps"], attack["restarts"], attack["eps"]) == (3, 2, 0.01)


def test_explain_of_another_store_needs_no_training_store(
    medrobust: Any, dual_run: RunDir, copy_of: Callable[[RunDir], RunDir], other_store: Store
) -> None:
    run = copy_of(dual_run)
    lose_training_store(run)
    outcome = medrobust(
        *("explain", run.path, "--store", other_store.path, "--split", "train"),
        *("--finding", "nodule", "--finding", "effusion", "--checkpoint", "last"),
    )
    assert outcome.code == 0
    # Reports show the best checkpoint's maps; those of another have a folder of their own.
    assert not (run.path / "explain" / "scores.csv").exists()
    scores = pd.read_csv(run.path / "explain-last" / "scores.csv")
    assert set(scores["store"]) == {f"phantom-{other_store.checksum[:8]}"}
    assert set(scores["finding"]) == {"nodule", "effusion"}
    assert set(scores["split"]) == {"train"}


def lose_training_store(run: RunDir) -> None:
    path = run.path / "config.yaml"
    path.write_text(path.read_text().replace(str(run.config().data.store), "stores/gone"))


def images_command(folder: Path, out: Path) -> list[Any]:
    return [
        *("prepare", "images", "--root", folder, "--table", folder / "table.csv", "--out", out),
        *("--image-column", "file", "--patient-column", "patient", "--split-column", "split"),
        *("--label", "sick=label"),
    ]


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """20 images of 20 patients and their table."""
    folder = tmp_path / "images"
    folder.mkdir()
    lines = ["file,patient,split,label,view"]
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        split = ["train", "train", "val", "test"][number // 2 % 4]
        lines.append(f"{number}.png,p{number},{split},{number % 2},PA")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder
