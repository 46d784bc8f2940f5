"""The study's path: CheXpert as downloaded, a store, a dual training, a test on NIH images."""

import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medrobust import checkpoints
from medrobust.cli import main
from medrobust.config import load_config
from medrobust.data.prepare import prepare
from medrobust.data.store import Store, open_store
from medrobust.data.vocabulary import canonical
from medrobust.datasets.chexpert import FINDINGS
from medrobust.datasets.nih import NIH
from medrobust.datasets.nih_table import FINDINGS as NIH_FINDINGS
from medrobust.evaluate import evaluate
from medrobust.metrics import read_metrics
from medrobust.rundir import RunDir, store_name
from medrobust.train import train

CONFIG = Path(__file__).parents[1] / "configs/chexpert-dual.yaml"
EIGHT = [
    *("No Finding", "Cardiomegaly", "Edema", "Consolidation"),
    *("Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
]
LABELS = ("Effusion", "Cardiomegaly", "Hernia", "No Finding")


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 256, (48, 40))
    Image.fromarray(noise.astype(np.uint8)).save(path)


def chexpert(folder: Path, patients: int) -> Path:
    """A download with a frontal and, now and then, a lateral image of each patient."""
    rows: dict[str, list[str]] = {"train": [], "valid": []}
    for number in range(patients):
        part = "valid" if number % 6 == 0 else "train"
        labels = [["1.0", "", "0.0", "-1.0"][(number // 6 + place) % 4] for place in range(14)]
        if part == "valid":
            labels = [str(float(label == "1.0")) for label in labels]
        for view in ("frontal", "lateral")[: 1 + (number % 5 == 0)]:
            path = f"{part}/patient{number + 1:05d}/study1/view1_{view}.jpg"
            draw(folder / path, number)
            side = "Frontal,PA" if view == "frontal" else "Lateral,"
            rows[part].append(f"CheXpert-v1.0/{path},Male,50,{side},{','.join(labels)}")
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(FINDINGS)
    for part, lines in rows.items():
        (folder / f"{part}.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def nih(folder: Path, images: int) -> Path:
    """A download of ChestX-ray14 whose images are all for testing or validation."""
    names = [f"{number:08d}_000.png" for number in range(1, images + 1)]
    rows = []
    for number, name in enumerate(names):
        draw(folder / "images" / name, 1000 + number)
        words = f"{LABELS[number // 2 % 4]},0,{number + 1},50,M,PA,48,40,0.1,0.1"
        rows.append(f"{name},{words}")
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "train_val_list.txt").write_text("\n".join(names[::2]))
    (folder / "test_list.txt").write_text("\n".join(names[1::2]))
    return folder


def prepared(
    root: Path, size: int, patients: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Store, list[str]]:
    """The store that the command in the configuration's head makes, and the command."""
    comment = "".join(
        line.removeprefix("#") for line in CONFIG.read_text().splitlines() if line[:1] == "#"
    )
    found = re.search(r"medrobust prepare .+?\"Pleural Effusion\"", comment)
    assert found
    words = shlex.split(found[0])
    given = {"--root": chexpert(root / "CheXpert-v1.0", patients), "--out": root / "store"}
    for option, value in (given | {"--size": size}).items():
        words[words.index(option) + 1] = str(value)
    monkeypatch.setattr(sys, "argv", [*words, "--workers", "0"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    return open_store(root / "store"), shlex.split(found[0])


def trained(store: Store, run: Path, *overrides: str) -> RunDir:
    path = os.fspath(store.path)
    settings = ["train.epochs=1", "train.accelerator=cpu", f"data.store={path}", *overrides]
    train(load_config(CONFIG, settings), store, RunDir(run))
    assert RunDir(run).is_done
    return RunDir(run)


def test_from_the_download_to_a_dual_model_and_its_external_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, command = prepared(tmp_path, 32, 36, monkeypatch)
    assert command[command.index("--size") + 1] == "256"
    assert store.findings == EIGHT
    assert set(store.table["view"]) == {"PA"}
    assert store.info.left_out == {"view is lateral": 8}
    assert np.isnan(store.labels).any()
    quick = [
        *("network.width=8", "train.batch_size=12", "attack.steps=1", "train.validation_steps=1"),
        *("evaluate.eps=[0.005]", "evaluate.trust_images=2", "evaluate.redraws=100"),
    ]
    run = trained(store, tmp_path / "run", *quick)
    saved = checkpoints.load(run.checkpoints, "best")
    assert saved.state["model"]["findings"] == EIGHT
    assert saved.tensors["fc.weight"].shape == (8, 256)
    foreign = prepare(NIH(nih(tmp_path / "nih", 24)), tmp_path / "foreign", size=32)
    warnings = evaluate(run, foreign)
    unknown = [finding for finding in NIH_FINDINGS if canonical(finding) not in EIGHT]
    note = f"left out, since the model does not know them: {', '.join(unknown)}"
    assert warnings[0] == f"{foreign.path}: {note}"
    assert "Hernia" in unknown
    assert len(unknown) == len(foreign.findings) - len(EIGHT)
    metrics = read_metrics(run.metrics)
    name = store_name(run, foreign)
    tested = metrics[metrics["store"] == name]
    assert set(tested["finding"]) <= {*EIGHT, "macro"}
    auroc = tested[(tested["metric"] == "auroc") & (tested["finding"] == "Pleural Effusion")]
    assert set(zip(auroc["branch"], auroc["attack"], strict=True)) >= {("clean", ""), ("adv", "")}
    assert auroc["value"].between(0, 1).all()
    predictions = pd.read_csv(run.predictions / f"{name}-test-best-adv-clean.csv")
    assert list(predictions)[3:11] == EIGHT


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_very_settings_at_256_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = prepared(tmp_path, 256, 12, monkeypatch)
    assert store.images.shape[1:] == (1, 256, 256)
    config = trained(store, tmp_path / "run").config()
    assert (config.network.name, config.attack.eps, config.attack.steps) == ("resnet50", 0.005, 10)
    assert (config.attack.step_size, config.train.lr) == (0.0025, 0.01)
