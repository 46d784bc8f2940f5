"""From CheXpert's raw layout and its configuration to metrics, and on to another store."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medrobust.config import load_config
from medrobust.data.prepare import prepare
from medrobust.data.selection import Selection
from medrobust.data.store import Store
from medrobust.datasets.chexpert import CheXpert
from medrobust.evaluate import Evaluation, evaluate
from medrobust.metrics import read_metrics
from medrobust.rundir import RunDir, run_directory
from medrobust.train import train

CONFIG = Path(__file__).parents[1] / "configs" / "chexpert-dual.yaml"
EIGHT = ("No Finding", "Cardiomegaly", "Edema", "Consolidation", "Pneumonia", "Atelectasis")
EIGHT += ("Pneumothorax", "Pleural Effusion")
COLUMNS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
    "Support Devices"
)
FAST = [
    *("network.width=4", "train.epochs=1", "train.batch_size=8", "attack.steps=1"),
    *("train.validation_steps=1", "evaluate.steps=1", "evaluate.redraws=100"),
]


def tree(root: Path, patients: int, side: int) -> Path:
    """CheXpert-v1.0-small of so many patients with a frontal and every third with a lateral."""
    rng = np.random.default_rng(0)
    header = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{COLUMNS}"
    lines: dict[str, list[str]] = {"train": [header], "valid": [header]}
    for number in range(patients):
        split = "valid" if number % 4 == 3 else "train"
        for view in ("frontal", "lateral")[: 1 + (number % 3 == 0)]:
            path = f"{split}/patient{number:05d}/study1/view1_{view}.jpg"
            marks = [["1.0", "0.0", "-1.0", ""][rng.integers(4)] for _ in range(14)]
            marks[0] = "1.0" if number % 2 else ""
            frontal = "Frontal,AP" if view == "frontal" else "Lateral,"
            cells = f"CheXpert-v1.0-small/{path},Female,{30 + number},{frontal}"
            lines[split].append(",".join([cells, *marks]))
            file = root / "CheXpert-v1.0-small" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (side, side + 10), np.uint8)).save(file)
    for split, rows in lines.items():
        (root / "CheXpert-v1.0-small" / f"{split}.csv").write_text("\n".join(rows))
    return root


def stored(folder: Path, patients: int, side: int, size: int) -> Store:
    selection = Selection(findings=EIGHT, views=("frontal",))
    source = CheXpert(tree(folder / "raw", patients, side))
    return prepare(source, folder / "store", size=size, selection=selection, duplicates="report")


def trained(store: Store, folder: Path, *overrides: str) -> RunDir:
    config = load_config(CONFIG, [f"data.store={store.path}", *overrides])
    run = run_directory(config, folder / "runs")
    train(config, store, run)
    return run


def test_the_studys_configuration_on_a_small_tree(tmp_path: Path) -> None:
    store = stored(tmp_path, 40, 40, 32)
    assert store.findings == list(EIGHT)
    assert store.info.left_out == {"view is lateral": 14}
    run = trained(store, tmp_path, *FAST)
    evaluate(run, what=Evaluation(eps=(0.005,)))
    rows = read_metrics(run.metrics)
    assert set(rows["finding"]) == {*EIGHT, "macro"}
    assert set(rows["attack"]) == {"", "pgd", "noise-control"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_studys_own_settings(tmp_path: Path) -> None:
    """ResNet-50, 256 pixels, ten steps; two steps of one epoch."""
    store = stored(tmp_path, 12, 300, 256)
    run = trained(store, tmp_path, "train.epochs=1", "train.batch_size=4")
    config = run.config()
    assert (config.network.name, config.attack.steps, config.attack.eps) == ("resnet50", 10, 0.005)
    assert run.is_done
