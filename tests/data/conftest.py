"""A data set of a few made images, and a way to spoil it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medrobust.data.source import Card, Picture, Task
from medrobust.errors import MedrobustError

CARD = Card("tiny", "Tiny", "made up", "MIT", "nobody")


@dataclass
class Tiny:
    """40 images of 20 patients, 6x4 pixels of the value of their number; finding `odd`."""

    count: int = 40
    task: Task = "multilabel"
    change: Callable[[pd.DataFrame], Any] = lambda table: None
    pictures: dict[int, Picture] = field(default_factory=dict)
    broken: tuple[int, ...] = ()
    card: Card = CARD

    def index(self) -> pd.DataFrame:
        numbers = np.arange(self.count)
        table = pd.DataFrame(
            {
                "image_id": [f"{number:03d}" for number in numbers],
                "patient_id": [f"{number // 2:02d}" for number in numbers],
                "split": np.array(["train", "train", "val", "test"])[numbers // 2 % 4],
                "source": "made",
                "file": [f"{number}.bin" for number in numbers],
                "view": "PA",
                "label:odd": numbers % 2.0,
            }
        )
        changed = self.change(table)
        return table if changed is None else changed

    def read(self, row: Mapping[str, Any]) -> Picture:
        number = int(row["image_id"])
        if number in self.broken:
            raise MedrobustError("it is torn")
        plain = Picture(np.full((1, 6, 4), number % 256, np.uint8), 0, 100)
        return self.pictures.get(number, plain)


@pytest.fixture
def tiny() -> type[Tiny]:
    return Tiny


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a store goes: the only thing that may appear in its folder."""
    return tmp_path / "store"
