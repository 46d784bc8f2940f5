"""`medrobust bench`: a table on standard output, JSON where asked, one line for a mistake."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_table_and_json(medrobust: Callable[..., Any], tmp_path: Path) -> None:
    words = "bench step loader --network small --batch 4 --size 32 --channels 1 --repeats 1"
    outcome = medrobust(*words.split(), "--threads", 1, "--json", tmp_path / "bench.json")
    assert outcome.code == 0
    told = json.loads((tmp_path / "bench.json").read_text())
    titles = [part["title"] for part in told["results"]]
    assert titles == [
        "step of dual training with PGD-10: small, 4x1x32x32, 8 outputs, cpu",
        "an epoch of 301 images of 32x32",
    ]
    assert [row["what"] for row in told["results"][0]["rows"]] == ["plain reference", "medrobust"]
    assert titles[0] in outcome.out


def test_a_device_that_is_not_there(refusal: Callable[..., str]) -> None:
    told = refusal("bench", "--device", "cuda:7")
    assert told.startswith("bench: expected a device of this machine, found cuda:7 (")
    assert told.endswith("); try cpu")


def test_a_network_that_nobody_knows(refusal: Callable[..., str]) -> None:
    told = refusal("bench", "step", "--network", "resnet5")
    assert told.startswith("network: expected one of small, resnet18")
