"""Small stores of many kinds, made once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from medrobust.data.prepare import prepare
from medrobust.data.source import Box, Card, Mask, Picture
from medrobust.data.store import Store
from medrobust.errors import MedrobustError

AWKWARD = "Mass <b>&co"


@dataclass(frozen=True)
class Discs:
    """Noise; a finding is a bright disc. Image 3 is image 2 again, 5 nearly image 4, 7 unusable."""

    findings: tuple[str, ...] = ("Effusion", "Nodule", AWKWARD)
    images: int = 60
    shape: tuple[int, ...] = (1, 24, 30)
    task: Literal["multilabel", "exclusive"] = "multilabel"
    patients: bool = True
    split: str = ""
    boxes: bool = False

    @property
    def card(self) -> Card:
        return Card("discs", "Discs & noise", "a test", "CC0", "none", "Not a picture.")

    def index(self) -> pd.DataFrame:
        n = np.arange(self.images)
        generator = np.random.default_rng(3)
        table = pd.DataFrame({"image_id": [f"img{i:03d}" for i in n], "source": "discs"})
        table["file"] = table["image_id"] + ".png"
        if self.patients:
            table["patient_id"] = [f"secret{i // 2:03d}" for i in n]
        table["split"] = self.split or np.array(["train", "train", "val", "test"])[n // 2 % 4]
        table["age"] = np.where(table["split"] == "test", 70.0, 40.0) + n % 5
        table["sex"] = np.where(n % 3 == 0, "F", "M")
        table["view"] = np.where(n % 7 == 0, None, "PA")
        table["note"] = [f"word{i}" for i in n]
        labels = generator.random((self.images, len(self.findings))) < 0.4
        if self.task == "exclusive":
            labels = n[:, None] % len(self.findings) == np.arange(len(self.findings))
        for column, finding in enumerate(self.findings):
            table[f"label:{finding}"] = labels[:, column].astype(float)
        if self.task == "multilabel":
            table.loc[table.index[-4:], f"label:{self.findings[-1]}"] = np.nan
        return table

    def read(self, row: Mapping[str, Any]) -> Picture:
        number = int(str(row["image_id"])[3:])
        if number == 7:
            raise MedrobustError("the file ends too early")
        base = {3: 2, 5: 4}.get(number, number)
        generator = np.random.default_rng(base)
        pixels = generator.integers(0, 200, self.shape).astype(np.uint8)
        if number == 5:
            pixels[..., 0, 0] += 1
        masks, boxes = [], []
        for place, finding in enumerate(self.findings):
            if row[f"label:{finding}"] == 1:
                mask = np.zeros(self.shape[1:], bool)
                mask[..., 4:12, 6 * place + 2 : 6 * place + 8] = True
                masks.append(Mask(finding, "finding", mask))
                extent = (*self.shape[1:-2], 8.0, 6.0)
                origin = (*(0.0,) * (len(extent) - 2), 4.0, 6.0 * place + 2)
                boxes.append(Box(finding, origin, tuple(map(float, extent))))
        drawn = {"boxes": tuple(boxes)} if self.boxes else {"masks": tuple(masks)}
        return Picture(pixels, 0, 255, spacing=(0.5,) * (len(self.shape) - 1), **drawn)


KINDS = {
    "plain": (Discs(), {}),
    "colour16": (Discs(shape=(3, 24, 30), patients=False), {"bits": 16}),
    "volume": (Discs(shape=(1, 6, 24, 30), boxes=True), {}),
    "exclusive": (Discs(task="exclusive", boxes=True), {}),
    "only-test": (Discs(split="test"), {}),
    "tiny": (Discs(findings=("Nodule",), images=16), {}),
}


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Store]:
    made: dict[str, Store] = {}

    def make(kind: str) -> Store:
        if kind not in made:
            source, options = KINDS[kind]
            out = tmp_path_factory.mktemp("inspected") / kind
            made[kind] = prepare(source, out, size=None, max_rejects=0.1, **options)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def plain(make_store: Callable[[str], Store]) -> Store:
    return make_store("plain")


@pytest.fixture(scope="session", params=list(KINDS))
def any_store(request: pytest.FixtureRequest, make_store: Callable[[str], Store]) -> Store:
    return make_store(request.param)
