"""`phantom`: generated chest-like radiographs with exact masks, the embedded data set."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from medrobust.data.source import Card, Picture, Task
from medrobust.datasets.phantom_anatomy import Sex, View, draw_anatomy
from medrobust.datasets.phantom_canvas import WIDTH, generator
from medrobust.datasets.phantom_image import HIGH, Scene, draw
from medrobust.errors import MedrobustError

T = TypeVar("T")

CARD = Card(
    name="phantom",
    title="Generated chest-like radiographs",
    source="medrobust.datasets.phantom: drawn from mathematical shapes, no patient's data",
    licence="MIT (part of medrobust)",
    citation="medrobust, datasets/phantom.py",
    caveats=(
        "Not radiographs: a simplified chest with five simplified findings, for trying, testing "
        "and teaching. No result on it says anything about patients. Cardiomegaly's mask is the "
        "whole heart; lung masks are the lung fields beside the heart, whatever fills them."
    ),
)

FINDINGS = ("nodule", "consolidation", "effusion", "pneumothorax", "cardiomegaly")
SPLITS = {"train": 0.60, "val": 0.15, "test": 0.25}
_COLUMNS = ("image_id", "patient_id", "split", "source", "file", "sex", "age", "view", "marker")
_SEXES: dict[Any, Sex] = {"F": "F", "M": "M"}
_VIEWS: dict[Any, View] = {"PA": "PA", "AP": "AP"}
_MOST_IMAGES_PER_PATIENT = 4


@dataclass(frozen=True)
class Phantom:
    """A generated data set of frontal chest x-rays with exact masks.

    Args:
        images: Number of images, at least 20; patients have one to four.
        size: Height and width in pixels, 32 to 2048; 400 mm whatever the size.
        seed: Other seeds are other patients.
        findings: The findings to draw and label, any of `FINDINGS`.
        shortcut: A finding that a lead marker in a corner gives away: in train and val the marker
            is in 95 % of the images with the finding and 5 % of those without, in test in half of
            both. None: no markers.

    A picture is a function of (seed, row): `read` draws what the row's labels, sex, age, view and
    marker say. A row whose label is changed is therefore the same picture with or without that
    one finding: its counterpart.

    Raises `MedrobustError` for a number out of range or an unknown finding.
    """

    images: int = 1000
    size: int = 64
    seed: int = 0
    findings: tuple[str, ...] = FINDINGS
    shortcut: str | None = None

    def __post_init__(self) -> None:
        _check_number("images", self.images, 20, 1_000_000)
        _check_number("size", self.size, 32, 2048)
        _check_number("seed", self.seed, 0, 2**63 - 1)
        object.__setattr__(self, "findings", tuple(self.findings))
        if not self.findings:
            raise MedrobustError(f"phantom: expected at least one finding of {_list(FINDINGS)}")
        for finding in self.findings:
            _check_finding("finding", finding, FINDINGS)
        if self.shortcut is not None:
            _check_finding("shortcut", self.shortcut, self.findings)

    @property
    def card(self) -> Card:
        """What the data set is."""
        return CARD

    @property
    def task(self) -> Task:
        """An image may have several findings, or none."""
        return "multilabel"

    def index(self) -> pd.DataFrame:
        """One row per image, with patient, split, sex, age, view, marker and labels."""
        patients = self._patients()
        splits = self._splits(len(patients))
        rows = [
            {"split": split, **row, **self._marker(row, split)}
            for split, patient in zip(splits, patients, strict=True)
            for row in patient
        ]
        labels = [f"label:{finding}" for finding in self.findings]
        return pd.DataFrame(rows)[[*_COLUMNS, *labels]]

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Draw the image of a row of `index()`: (1, size, size) uint16, 12 bits, with masks.

        Masks: each finding the row has, `left_lung`, `right_lung` and `heart`, and `marker`.
        """
        scene = self._scene(row)
        pixels, masks = draw(scene, self.size)
        grey = np.rint(pixels).astype(np.uint16)[None]
        return Picture(grey, 0, HIGH, (WIDTH / self.size,) * 2, masks)

    def _scene(self, row: Mapping[str, Any]) -> Scene:
        patient, image = _field(row, "image_id", _numbers)
        age = _field(row, "age", float)
        sex: Sex = _field(row, "sex", _SEXES.__getitem__)
        view: View = _field(row, "view", _VIEWS.__getitem__)
        present = {name: _field(row, f"label:{name}", float) == 1 for name in self.findings}
        findings = frozenset(name for name in self.findings if present[name])
        marker = _field(row, "marker", float) == 1
        anatomy = draw_anatomy(self.seed, patient, sex, age)
        return Scene(self.seed, patient, image, anatomy, view, findings, marker)

    def _patients(self) -> list[list[dict[str, Any]]]:
        """The rows of each patient, until there are enough images."""
        patients: list[list[dict[str, Any]]] = []
        missing = self.images
        while missing:
            rows = list(_visits(self.seed, len(patients)))[:missing]
            patients.append(rows)
            missing -= len(rows)
        return patients

    def _splits(self, patients: int) -> list[str]:
        """The split of each patient."""
        rank = generator(self.seed, "split").permutation(patients)
        borders = np.cumsum(list(SPLITS.values()))[:-1] * patients
        return [list(SPLITS)[place] for place in np.searchsorted(borders, rank + 0.5)]

    def _marker(self, row: Mapping[str, Any], split: str) -> dict[str, int]:
        """Whether the shortcut's marker is in an image."""
        if self.shortcut is None:
            return {"marker": 0}
        patient, image = _numbers(row["image_id"])
        given_away = 0.95 if row[f"label:{self.shortcut}"] == 1 else 0.05
        chance = 0.5 if split == "test" else given_away
        return {"marker": int(generator(self.seed, "marker", patient, image).random() < chance)}


def _numbers(image_id: str) -> tuple[int, int]:
    """The patient's and the image's number in an image_id such as p00012-1."""
    patient, image = image_id.removeprefix("p").split("-")
    return int(patient), int(image)


def _field(row: Mapping[str, Any], name: str, convert: Callable[[Any], T]) -> T:
    """A converted value of a row, or an error that names it."""
    try:
        return convert(row[name])
    except (KeyError, ValueError, TypeError, AttributeError):
        found = repr(row[name]) if name in row else "none"
        text = f"phantom: expected a row of index(), found {name}: {found}"
        raise MedrobustError(text) from None


def _visits(seed: int, patient: int) -> Iterator[dict[str, Any]]:
    """One patient's images. Big hearts and nodules stay, the other findings come and go."""
    rng = generator(seed, "patient", patient)
    sex: Sex = "F" if rng.random() < 0.48 else "M"
    age = int(np.clip(rng.normal(57, 16), 20, 90))
    chronic = {
        "nodule": rng.random() < 0.30,
        "cardiomegaly": rng.random() < 0.16 + 0.30 * (age - 20) / 70,
    }
    number = 1 + rng.choice(_MOST_IMAGES_PER_PATIENT, p=(0.45, 0.30, 0.15, 0.10))
    for image in range(number):
        labels = chronic | _acute(generator(seed, "visit", patient, image), chronic["cardiomegaly"])
        view: View = "AP" if generator(seed, "view", patient, image).random() < 0.3 else "PA"
        name = f"p{patient:05d}-{image}"
        yield {
            "image_id": name,
            "patient_id": name[:-2],
            "source": CARD.name,
            "file": f"{name} (drawn)",
            "sex": sex,
            "age": age,
            "view": view,
            **{f"label:{finding}": float(labels[finding]) for finding in FINDINGS},
        }


def _acute(rng: np.random.Generator, large_heart: bool) -> dict[str, bool]:
    """Effusions go with big hearts and consolidations."""
    consolidation = rng.random() < 0.32
    return {
        "consolidation": consolidation,
        "effusion": rng.random() < 0.16 + 0.25 * large_heart + 0.25 * consolidation,
        "pneumothorax": rng.random() < 0.28,
    }


def _check_number(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise MedrobustError(f"phantom: expected {name} from {low} to {high}, found {value}")


def _check_finding(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = get_close_matches(value, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise MedrobustError(
            f"phantom: unknown {name} {value!r}: {hint}expected one of {_list(known)}"
        )


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)
