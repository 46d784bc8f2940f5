"""`import`, `export` and `predict`, as somebody would type them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from medrobust.data.store import Store
from medrobust.networks import build_backbone
from medrobust.report import build_report
from medrobust.rundir import RunDir

Refuse = Callable[..., str]
FIVE = "nodule,consolidation, effusion,pneumothorax,cardiomegaly"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A dual checkpoint of the published kind: 3 channels, five outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = build_backbone("resnet18", channels=3, outputs=5, width=4).state_dict()
    tensors = {}
    for name, tensor in plain.items():
        layer, _, part = name.rpartition(".")
        if f"{layer}.running_mean" in plain:
            tensors |= {f"{layer}.bns.{half}.{part}": tensor.clone() for half in (0, 1)}
        else:
            tensors[name] = tensor
    path = tmp_path / "checkpoint_best.pth"
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("command", ["import", "export", "predict"])
def test_help_has_an_example(medrobust: Any, command: str) -> None:
    outcome = medrobust(command, "--help")
    assert outcome.code == 0
    assert f"\n  medrobust {command} " in outcome.out


@pytest.mark.parametrize("known", [True, False])
def test_an_imported_run_goes_through_every_stage(
    medrobust: Any, checkpoint: Path, tiny_store: Store, tmp_path: Path, known: bool
) -> None:
    run, store = tmp_path / "runs" / "published" / "0", ["--store", tiny_store.path]
    words = ["--findings", FIVE, "--channels", 1, "--size", 32, "--eps", "2/255"]
    outcome = medrobust("import", checkpoint, "--out", run, *words, *(store if known else []))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"{run}: resnet18 of width 4, dual, 1 channel, 32x32 pixels; findings nodule, "
        "consolidation, effusion, pneumothorax, cardiomegaly\n"
    )
    stage = [run, *([] if known else store)]
    config = run / "config.yaml"
    shorter = {"redraws: 10000": "redraws: 100", "trust_images: 64": "trust_images: 0"}
    for there, here in shorter.items():
        config.write_text(config.read_text().replace(there, here))
    attack = ["--suite", "pgd", "--eps", "2/255", "--steps", 1]
    evaluated = medrobust("evaluate", *stage, *attack)
    assert evaluated.code == 0, evaluated.err
    assert ("thresholds come from split val of" in evaluated.err) == (not known)
    rows = pd.read_csv(run / "metrics.csv")
    assert {"clean", "adv"} <= set(rows["branch"])
    assert medrobust("explain", *stage, "--finding", "effusion").code == 0
    assert (run / "explain" / "scores.csv").is_file()
    build_report([run], tmp_path / "report.html")
    assert "published · adversarial branch" in (tmp_path / "report.html").read_text()
    predicted = medrobust("predict", run, tiny_store.path, "--out", tmp_path / "p.csv")
    assert predicted.code == 0
    assert predicted.err == ""
    name = "phantom" if known else f"phantom-{tiny_store.checksum[:8]}"
    assert predicted.out == (
        f"{tmp_path}/p.csv: 60 images, branch adv, checkpoint best; thresholds: split val of "
        f"store {name} (metrics.csv)\n"
    )


def test_there_and_back_again(medrobust: Any, dual_run: RunDir, tmp_path: Path) -> None:
    file, run = tmp_path / "robust.safetensors", tmp_path / "robust"
    outcome = medrobust("export", dual_run.path, "--branch", "adv", "--out", file)
    assert outcome.code == 0
    assert outcome.err.startswith(
        f"warning: {file}: this network wants (x - mean) / spread of images x in [0, 1], with "
        "mean 0."
    )
    assert outcome.out.startswith(f"{file}: small of width 4, adversarial, 1 channel, 32x32 pixels")
    assert "conv1.weight" in load_file(file)
    again = medrobust("import", file, "--out", run)
    assert (again.code, again.out) == (0, outcome.out.replace(str(file), str(run)))


def test_predict_files(medrobust: Any, dual_run: RunDir, tiny_store: Store, tmp_path: Path) -> None:
    for row in range(3):
        Image.fromarray(np.asarray(tiny_store.images[row, 0])).save(tmp_path / f"{row}.png")
    (tmp_path / "2.png").write_text("no image")
    files, out = [tmp_path / f"{row}.png" for row in range(3)], tmp_path / "p.csv"
    words = ["--branch", "clean", "--checkpoint", "last", "--workers", 0]
    outcome = medrobust("predict", dual_run.path, *files, "--out", out, *words)
    assert outcome == (
        0,
        f"{out}: 2 images, branch clean, checkpoint last; thresholds: split val of "
        f"{tiny_store.path}, predicted now\n",
        f"warning: {files[2]}: not a PNG, JPEG or TIFF image\n"
        "warning: 2 images: its window is 0 to 255, that of the training images 0 to 4095\n",
    )
    found = pd.read_csv(out)
    names = tiny_store.findings
    assert list(found) == [
        *("file", "branch", *names),
        *(f"logit:{name}" for name in names),
        *(f"{name}:positive" for name in names),
    ]
    assert found["file"].tolist() == [str(file) for file in files[:2]]
    medrobust("predict", dual_run.path, tiny_store.path, "--out", out, *words)
    stored = pd.read_csv(out)[:2]
    np.testing.assert_allclose(found[names], stored[names], rtol=0, atol=1e-5)


BAD = {
    "import {weights} --out {run}": "{run} exists already: choose another folder for the run, or "
    "remove that one",
    "import gone.pth --out {new}": "weights: no file gone.pth",
    "import {weights} --out {new} --findings a,b": "--findings: expected 5 names, one for each "
    "output of {weights}, found 2",
    "import {weights} --out {new} --findings a,b,,c,d": "{weights}: findings.2: string should have "
    "at least 1 character",
    "import {weights} --out {new} --size big": "--size: expected 64 or 16x64x64, found 'big'",
    "import {weights} --out {new} --size 16x64x64": "{weights}: size: expected 2 sides, found 3",
    "import {weights} --out {new} --mean dark": "--mean: expected numbers such as 0.005,4/255, "
    "found 'dark'",
    "import {weights} --out {new} --eps 1,2": "--eps: expected one number, found '1,2'",
    "import {weights} --out {new} --eps -1": "{weights}: eps: input should be greater than or "
    "equal to 0",
    "import {weights} --out {new} --store nowhere": "expected a store at nowhere, found no such "
    "folder: give the folder `medrobust prepare` wrote",
    "export nowhere --branch adv --out {new}.safetensors": "nowhere: expected a run directory with "
    "config.yaml in it, such as runs/<name>/<seed>; make one with `medrobust train`",
    "export {run} --branch robust --out {new}.safetensors": "branch: expected one of clean, adv, "
    "found 'robust'",
    "export {run} --branch adv --out {new}": "--out: expected a file NAME.safetensors, found {new}",
    "predict nowhere a.png --out {new}": "nowhere: expected a run directory with config.yaml in "
    "it, such as runs/<name>/<seed>; make one with `medrobust train`",
    "predict {run} a.png --out {new} --workers 0": "a.png: there is no such file",
    "predict {run} a.png b.png --out {new} --workers 0": "expected usable images, found none "
    "among 2 files; the first is a.png: there is no such file",
    "predict {run} a.png --out a.png": "--out: expected a CSV to write, found one of the images, "
    "a.png",
    "predict {run} a.png --out {run}": "--out: expected a CSV to write, found a folder, {run}",
    "predict {run} a.png --out {new} --checkpoint first": "checkpoint: no file "
    "{run}/checkpoints/first.safetensors; there are best, epoch-0001, last",
    "predict {run} a.png --out {new} --device tpu": "device: expected auto, cpu or another device "
    "of this machine, found 'tpu', which can't be used here (",
}


@pytest.mark.parametrize(("words", "expected"), BAD.items())
def test_what_people_get_wrong(
    refusal: Refuse,
    dual_run: RunDir,
    checkpoint: Path,
    contents: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
    words: str,
    expected: str,
) -> None:
    places = {"weights": checkpoint, "run": dual_run.path, "new": tmp_path / "new"}
    before = contents(dual_run.path), contents(tmp_path)
    found = refusal(*(word.format(**places) for word in words.split()))
    assert found.startswith(expected.format(**places))
    assert expected.endswith("(") or found == expected.format(**places)
    assert (contents(dual_run.path), contents(tmp_path)) == before


def test_nothing_to_predict_is_a_usage_error(medrobust: Any, dual_run: RunDir) -> None:
    outcome = medrobust("predict", dual_run.path, "--out", "p.csv")
    assert outcome.code == 2
    assert "Missing argument" in outcome.err


def test_import_onto_a_full_disk_leaves_nothing(
    refusal: Refuse, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medrobust.checkpoints.to_bytes", full)
    found = refusal("import", checkpoint, "--out", tmp_path / "runs" / "0")
    assert found.endswith("free some space or choose another disk (nothing was left behind)")
    assert list((tmp_path / "runs").iterdir()) == []
    shutil.rmtree(tmp_path / "runs")
