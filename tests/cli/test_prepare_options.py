"""The options that every data set has, as somebody would type them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medrobust.data.store import open_store

MODULE = '''
import numpy as np
import pandas as pd
from medrobust.data.source import Card, Picture

class Blocks:
    """40 volumes of 6 x 8 x 8."""

    card = Card("blocks", "Blocks", "made", "MIT", "nobody")
    task = "multilabel"

    def __init__(self, root):
        self.root = root

    def index(self):
        numbers = np.arange(40)
        names = [f"b{number:02d}" for number in numbers]
        split = np.array(["train", "val", "test", "train"])[numbers % 4]
        return pd.DataFrame({
            "image_id": names, "patient_id": names, "source": "made", "file": names,
            "split": split, "sex": np.array(["F", "M"])[numbers // 2 % 2],
            "age": numbers + 30.0, "view": np.array(["AP", "PA", "lateral", "PA"])[numbers % 4],
            "label:Edema": np.array([1.0, 0.0, -1.0])[numbers % 3],
            "label:Effusion": (numbers % 2).astype(float),
        })

    def read(self, row):
        rng = np.random.default_rng(int(row["image_id"][1:]))
        return Picture(rng.integers(0, 256, (1, 6, 8, 8), dtype=np.uint8), 0, 255)

number = 3
'''


@pytest.fixture
def blocks(medrobust: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `prepare custom` on a data set of one's own with further options."""
    (tmp_path / "my_blocks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(*options: Any, name: str = "my_blocks:Blocks"):
        out = tmp_path / "store"
        return medrobust(
            *("prepare", "custom", name, "--root", tmp_path, "--out", out, "--workers", 0),
            *options,
        )

    return run


def test_all_options_at_once(blocks, tmp_path: Path) -> None:
    outcome = blocks(
        *("--size", "4x6x8", "--bits", 16, "--label", "old=age>=50", "--finding", "oedema"),
        *("--uncertain", "zeros", "--uncertain", "Edema=ones", "--view", "frontal"),
        *("--own-split", "--splits", "0.6,0.2,0.2", "--seed", 1, "--name", "mine"),
    )
    assert outcome.code == 0, outcome.err
    store = open_store(tmp_path / "store")
    assert store.images.shape[1:] == (1, 4, 6, 8)
    assert store.images.dtype == np.uint16
    assert store.findings == ["Edema", "old"]
    assert store.info.name == "mine"
    assert store.info.left_out == {"view is lateral": 10}
    assert "10 rows left out: view is lateral" in outcome.err
    assert "uncertain labels count as positive" in outcome.err
    settings = store.info.settings
    assert settings["selection"]["uncertain_of"] == {"Edema": "ones"}
    assert settings["options"] == {"dataset": "my_blocks:Blocks"}


def test_groups_as_classes_and_a_fraction(blocks, tmp_path: Path) -> None:
    outcome = blocks(
        *("--label", "woman=sex:F", "--label", "man=sex:M", "--exclusive", "--fraction", 0.8),
        "--balance",
    )
    assert outcome.code == 0, outcome.err
    store = open_store(tmp_path / "store")
    assert store.info.task == "exclusive"
    train = store.labels[store.rows("train")]
    assert train[:, 0].sum() == train[:, 1].sum()
    assert "not in the 0.8 of the patients" in store.info.left_out


def test_pseudonyms(blocks, tmp_path: Path) -> None:
    outcome = blocks("--pseudonymise", tmp_path / "salt.txt")
    assert outcome.code == 0, outcome.err
    table = pd.read_csv(tmp_path / "store" / "table.csv", dtype=str)
    assert table["patient_id"].str.fullmatch("p[0-9a-f]{20}").all()
    assert "salt" not in (tmp_path / "store" / "store.json").read_text()
    assert len((tmp_path / "salt.txt").read_text().strip()) == 64


def test_workers_read_a_data_set_of_ones_own(blocks, tmp_path: Path) -> None:
    assert blocks("--workers", 2).code == 0
    one = open_store(tmp_path / "store").checksum
    assert blocks("--workers", 1, "--overwrite").code == 0
    assert open_store(tmp_path / "store").checksum == one


def test_inspect(blocks, medrobust: Any, tmp_path: Path) -> None:
    blocks()
    store, page = tmp_path / "store", tmp_path / "page.html"
    outcome = medrobust("inspect", store, "--out", page, "--verify")
    assert outcome.code == 0, outcome.err
    assert "Blocks" in outcome.out
    assert outcome.out.splitlines()[-1] == str(page)
    assert "<html" in page.read_text(encoding="utf-8")
    with (store / "images.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"x")
    changed = medrobust("inspect", store, "--verify")
    assert changed.code == 1
    assert changed.err.startswith(f"error: {store}/images.npy was changed after the store was made")
    assert medrobust("inspect", store).code == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--size", "4x"], "--size: expected 64 or 16x64x64, found '4x'"),
        (["--size", "4x4x4x4"], "--size: expected 64 or 16x64x64, found '4x4x4x4'"),
        (["--size", "4x4"], "expected a size of 3 axes, got 2 (--size) (b00"),
        (["--bits", "12"], "--bits: expected 8 or 16, found 12"),
        (["--splits", "1,2"], "expected three fractions such as 0.7,0.1,0.2 for train, val and"),
        (["--duplicates", "keep"], "--duplicates: expected stop, report or drop-from-train, fou"),
        (["--uncertain", "zeros", "--uncertain", "ones"], "--uncertain: expected one policy for"),
        (["--uncertain", "maybe"], "uncertain labels: expected zeros, ones, ignore, found 'may"),
        (["--uncertain", "Edma=ones"], "there is no finding 'Edma', did you mean 'Edema'?"),
        (["--finding", "Edma"], "there is no finding 'Edma', did you mean 'Edema'?"),
        (["--view", "oblique"], "no image has view 'oblique': there are AP, PA, lateral"),
        (["--label", "x=sexx:F"], "label x=sexx:F: there is no column 'sexx'"),
        (["--label", "sex:F"], "--label: expected NAME=COLUMN, found 'sex:F'"),
        (["--fraction", "2"], "fraction must be above 0 and at most 1, got 2.0"),
        (["--balance"], "balance: expected exclusive classes or a single finding, found 2"),
    ],
)
def test_options_that_cannot_be(blocks, tmp_path: Path, options: list[str], text: str) -> None:
    outcome = blocks(*options)
    assert outcome.code == 1
    assert text in outcome.err
    assert outcome.err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != "") in (["my_blocks.py"],)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("my_blocks:Block", "can't be imported (module 'my_blocks' has no attribute 'Block')"),
        ("nowhere:Blocks", "can't be imported (No module named 'nowhere')"),
        ("my_blocks", "can't be imported"),
        ("my_blocks:number", "is not a class"),
    ],
)
def test_classes_that_are_not_there(blocks, name: str, text: str) -> None:
    outcome = blocks(name=name)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: data set {name!r} ")
    assert text in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_class_whose_index_lacks_columns(blocks, tmp_path: Path) -> None:
    module = (tmp_path / "my_blocks.py").read_text().replace('"file": names', '"path": names')
    (tmp_path / "my_other.py").write_text(module)
    outcome = blocks(name="my_other:Blocks")
    assert outcome.err == (
        "error: blocks: expected columns image_id, source, file of index(), found no file\n"
    )


def test_what_json_remembers_is_json(blocks, tmp_path: Path) -> None:
    blocks()
    content = json.loads((tmp_path / "store" / "store.json").read_text())
    assert content["settings"]["size"] is None
    assert content["left_out"] == {}
