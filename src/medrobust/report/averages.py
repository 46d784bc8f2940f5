"""Class averages: where each model looks for a finding, over many images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.files import file_name
from medrobust.report import pictures, text
from medrobust.report.arrays import arrays_of
from medrobust.report.figures import Style
from medrobust.report.gallery import METHODS
from medrobust.report.material import Material
from medrobust.report.terms import Arm

CLASSES = ("with", "without")
MOST_FINDINGS = 14
SIDE = 160

Arrays = Mapping[str, NDArray[Any]]
"""What the stage has written of one finding, branch and method."""


@dataclass(frozen=True)
class MeanMap:
    """One method's mean map as a data address, to be laid over the mean image."""

    method: str
    which: str
    """`with` or `without` the finding."""
    picture: str
    words: str
    """`118 maps, ±0.12`."""


@dataclass(frozen=True)
class Panel:
    """What one model shows."""

    arm: Arm
    style: Style
    maps: Sequence[MeanMap]


@dataclass(frozen=True)
class Case:
    """One finding; `images` are the mean images by class, as data addresses."""

    finding: str
    width: int
    height: int
    images: Mapping[str, str]
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Averages:
    """The section of a report."""

    cases: Sequence[Case]
    left_out: int
    """How many findings are not shown."""
    volumes: bool
    bar: str


def average_section(material: Material) -> Averages | None:
    """What `explain --average` has left behind, of the first seed of every model; None without.

    Raises `MedrobustError` for files that are no such averages.
    """
    found = {
        finding: read
        for finding in material.numbers.findings
        if (read := {arm: maps for arm, maps in _read(material, finding) if maps})
    }
    if not found:
        return None
    shown = list(found.items())[:MOST_FINDINGS]
    cases = [_case(material, finding, read) for finding, read in shown]
    first = _first(shown[0][1])
    return Averages(
        cases,
        len(found) - len(cases),
        first["image_with"].ndim == 4,
        pictures.data_uri(pictures.colour_bar()),
    )


def _read(material: Material, finding: str) -> Iterator[tuple[Arm, dict[str, Arrays]]]:
    """Method -> its file, of every model."""
    where = material.numbers.evaluation
    for arm, run in material.first_seeds():
        folder = run.path / "explain" / "averages" / where.store / where.split / arm.branch
        files = {file.parent.name: file for file in folder.glob(f"*/{file_name(finding)}.npz")}
        known = [name for name in METHODS if name in files] or sorted(files)[:1]
        yield arm, {name: _arrays(files[name]) for name in known}


def _arrays(file: Path) -> Arrays:
    names = [f"{kind}{which}" for which in CLASSES for kind in ("", "n_", "image_")]
    with arrays_of(file, "average maps") as arrays:
        return {name: arrays[name] for name in names}


def _first(read: Mapping[Arm, Mapping[str, Arrays]]) -> Arrays:
    return next(iter(next(iter(read.values())).values()))


def _case(material: Material, finding: str, read: Mapping[Arm, Mapping[str, Arrays]]) -> Case:
    """Mean images are those of the first model: all were shown the same images."""
    images = {which: _small_image(_first(read)[f"image_{which}"]) for which in CLASSES}
    height, width = images["with"].shape[-2:]
    panels = [
        Panel(
            arm,
            material.looks[arm],
            [_mean_map(method, which, a) for method, a in maps.items() for which in CLASSES],
        )
        for arm, maps in read.items()
    ]
    drawn = {which: pictures.snapshot(small) for which, small in images.items()}
    return Case(finding, width, height, drawn, panels)


def _mean_map(method: str, which: str, arrays: Arrays) -> MeanMap:
    mean, count = arrays[which], int(arrays[f"n_{which}"])
    if not count:
        return MeanMap(method, which, "", "")
    small = pictures.fit(pictures.plane(mean, mean.ndim), SIDE)
    limit = f"{pictures.saliency_limit(small):#.2g}"
    words = f"{text.plural(count, 'map')}, ±{limit}"
    return MeanMap(method, which, pictures.data_uri(pictures.saliency(small)), words)


def _small_image(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """(C, H, W) of a mean image, or of a mean volume's middle slice."""
    flat = pictures.plane(image.astype(np.float32), image.ndim - 1)
    return pictures.fit(flat, SIDE).astype(np.float32)
