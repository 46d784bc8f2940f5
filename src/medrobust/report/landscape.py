"""How steep networks are around images, from `explain/landscape/*` and `explain/geometry.csv`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medrobust.report import heatmaps, text
from medrobust.report.arrays import arrays_of
from medrobust.report.csv_rows import read_rows
from medrobust.report.curves import Figure, as_figure
from medrobust.report.heatmaps import Panel
from medrobust.report.material import Material
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table, estimate
from medrobust.report.terms import Arm, Estimate
from medrobust.statistics import bootstrap_interval, weighted_mean

Measures = Mapping[str, tuple[str, int]]
"""Measure -> heading and digits."""
Question = tuple[str, str, float]
"""Finding, norm, ε."""

ALL = "all findings"
REDRAWS = 2000
LOSS: Measures = {
    "loss": ("Loss", 3),
    "rise_along_gradient": ("Rise along the gradient", 3),
    "rise_along_random": ("Rise along random signs", 3),
    "gradient_l1": ("Gradient, l1", 2),
    "gradient_l2": ("Gradient, l2", 3),
    "gradient_linf": ("Gradient, l∞", 3),
}
LIPSCHITZ: Measures = {
    "lipschitz_lower_bound": ("Lipschitz constant ≥", 1),
    "change_in_spreads": ("Change ≥, in SD", 2),
}
LOSS_CAPTION = (
    "The loss, its rise one ε along the sign of its gradient and along random signs, and the "
    "length of its gradient. Means over the images with 95 % bootstrap intervals."
)
LIPSCHITZ_CAPTION = (
    "Lower bounds of the local Lipschitz constant: the steepest secant that gradient ascent found, "
    "in logits per unit of distance; and that times ε, in standard deviations of the logit. Means "
    "over the images with 95 % bootstrap intervals."
)


@dataclass(frozen=True)
class Surface:
    """The mean loss of some images over their planes."""

    axis: NDArray[np.float64]
    """(A,) in units of ε, of both directions."""
    mean: NDArray[np.float64]
    """(A, A), the gradient's direction first."""
    images: int
    eps: float


@dataclass(frozen=True)
class Steepness:
    """What was measured for every image of an evaluation."""

    material: Material
    rows: Mapping[Run, pd.DataFrame]

    @classmethod
    def of(cls, material: Material) -> "Steepness":
        """Read every run's table; raises `MedrobustError` for a file that is none."""
        here = material.numbers.evaluation
        texts = ("store", "split", "branch", "measure", "norm", "finding", "image_id")
        rows = {}
        for run in dict.fromkeys(run for _, run in material.models()):
            found = read_rows(run.path / "explain" / "geometry.csv", texts, ("eps", "value"))
            same = (found["store"] == here.store) & (found["split"] == here.split)
            rows[run] = found[same].assign(eps=found["eps"].round(9))
        return cls(material, rows)

    def table(self, measures: Measures, caption: str) -> Table | None:
        """A group for each finding, norm and radius; None without numbers."""
        groups = [
            Group(f"{finding}, ε = {text.epsilon(eps, norm)}", list(self._lines(measures, asked)))
            for asked in self._questions(measures)
            for finding, norm, eps in [asked]
        ]
        columns = ["Model and branch", "Images", *(name for name, _ in measures.values())]
        return Table(caption, columns, groups) if groups else None

    def sentences(self) -> list[str]:
        """How far logits can be moved at least, for the first seed of every model."""
        return [
            f"Within ε = {text.epsilon(asked[2], asked[1])} of an image, the logits of "
            f"{arm.phrase} can be moved by at least {text.number(one.value, 2)} of their standard "
            f"deviations (mean of {text.plural(int(one.n), 'image')}, 95 % interval "
            f"{text.interval(one.low, one.high, 2)})."
            for asked in self._questions(LIPSCHITZ)
            if asked[0] == ALL
            for arm, run in self.material.first_seeds()
            if (one := self._mean(run, arm, "change_in_spreads", asked))
        ]

    def _questions(self, measures: Measures) -> list[Question]:
        """In the order of the files."""
        found: dict[Question, None] = {}
        for table in self.rows.values():
            asked = table[table["measure"].isin(list(measures))][["finding", "norm", "eps"]]
            found |= dict.fromkeys(asked.itertuples(index=False, name=None))
        return list(found)

    def _lines(self, measures: Measures, asked: Question) -> Iterator[Row]:
        for arm, run in self.material.models():
            found = {name: self._mean(run, arm, name, asked) for name in measures}
            known = [one for one in found.values() if one]
            if known:
                cells = [estimate(found[name], digits) for name, (_, digits) in measures.items()]
                count = Cell(text.count(known[0].n))
                yield Row(arm.label, [count, *cells], f"seed {run.seed}", self.material.looks[arm])

    def _mean(self, run: Run, arm: Arm, measure: str, asked: Question) -> Estimate | None:
        wanted = dict(zip(("finding", "norm", "eps"), asked, strict=True))
        wanted |= {"branch": arm.branch, "measure": measure}
        rows = self.rows[run]
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        if rows.empty:
            return None
        clusters = [self._patients.get(image, image) for image in rows["image_id"]]
        return mean_with_interval(rows["value"].to_numpy(float), clusters)

    @cached_property
    def _patients(self) -> Mapping[str, str]:
        """Image id -> patient; put together once, for every mean."""
        return self.material.predicted.patients()


def mean_with_interval(values: NDArray[np.float64], clusters: ArrayLike) -> Estimate:
    """Mean of (n,) with its 95 % interval; all images of a cluster (patient) are drawn together."""
    low, high, _ = bootstrap_interval(weighted_mean(values), clusters, REDRAWS)
    return Estimate(float(values.mean()), low, high, n=len(values))


def surface_figures(material: Material) -> list[Figure]:
    """Mean loss over the plane, a panel for each model's first seed; a figure for each finding.

    Raises `MedrobustError` for a file that is no such surface.
    """
    here = material.numbers.evaluation
    found: dict[str, list[tuple[Arm, Surface]]] = {}
    for arm, run in material.first_seeds():
        folder = run.path / "explain" / "landscape" / here.store / here.split
        for file in sorted(folder.glob("*.npz")):
            surface = read_surface(file, arm.branch)
            if surface is not None:
                found.setdefault(file.stem, []).append((arm, surface))
    return [_figure(name, surfaces) for name, surfaces in found.items()]


def read_surface(file: Path, branch: str) -> Surface | None:
    """One branch's mean; None where the file has none of it.

    Raises `MedrobustError` for a file that is no such surface.
    """
    found = None
    with arrays_of(file, "loss surfaces") as arrays:
        if f"loss:{branch}" in arrays:
            losses = arrays[f"loss:{branch}"].astype(float)
            axis, eps = arrays["along"].astype(float), float(arrays["eps"])
            if losses.shape[1:] != (axis.size, axis.size):
                raise ValueError(losses.shape)
            found = Surface(axis, losses.mean(0), len(losses), eps)
    return found


def _figure(name: str, found: Sequence[tuple[Arm, Surface]]) -> Figure:
    panels = [Panel(f"{arm.label}\nε = {text.epsilon(one.eps)}", one.mean) for arm, one in found]
    first = found[0][1]
    names = ("random signs (ε)", "sign of the gradient (ε)")
    svg = heatmaps.surfaces(panels, first.axis, names, "mean loss")
    words = "; ".join(f"{arm.label} {_in_words(one)}" for arm, one in found)
    shown = text.plural(first.images, "image")
    return as_figure(
        svg,
        f"Mean loss ({name}) of {shown} over the plane of the gradient's sign and random signs, "
        f"up to {first.axis[-1]:g} ε: {words}.",
    )


def _in_words(one: Surface) -> str:
    middle = len(one.axis) // 2
    places = (one.mean[middle, middle], one.mean[-1, middle], one.mean[middle, -1])
    here, along, across = (text.number(float(value), 2) for value in places)
    return f"{here} at the images, {along} at the end along the gradient, {across} across"
