"""One phantom patient's chest: its numbers, and its shapes on a grid. All in millimetres."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from medrobust.datasets.phantom_canvas import Bits, Field, Grid, Lines, ellipse, generator, smooth

Sex = Literal["F", "M"]
View = Literal["PA", "AP"]

_APEX_HALF = 45.0
"""Distance of a lung's apex from the midline."""
_SHOULDERS = ((-60, 62), (0, 72), (30, 110), (50, 175), (70, 225), (150, 232), (190, 205))
"""Half width of neck and shoulders at heights y; below, the trunk follows the rib cage."""


@dataclass(frozen=True)
class Anatomy:
    """What a patient's images share, in millimetres."""

    half_width: float
    """From the midline to the ribs at the lung bases."""
    apex: float
    """y of the lungs' tops."""
    height: float
    """From the apices to the right dome of the diaphragm."""
    left_dome: float
    """How much lower the left dome is."""
    wall: float
    """Soft tissue outside the ribs."""
    depth: float
    """The trunk from front to back."""
    heart: float
    """Cardiothoracic ratio without cardiomegaly, in a PA view."""
    enlarged_heart: float
    """Cardiothoracic ratio with cardiomegaly."""
    axis: float
    """Angle of the heart's long axis below the horizontal, radians."""
    rib_spacing: float
    rib_fall: float
    """How far a posterior rib descends from the spine to the side."""
    bone: float
    """Density of bone, in water-equivalent millimetres per millimetre."""
    aorta: float
    """Radius of the aortic arch."""
    breast: float
    """Thickness of the breasts."""
    clavicle: float
    """Slope of the collar bones."""
    clutter: float
    """Strength of the lungs' fine texture."""
    vessels: float
    """Strength of the lungs' vessels."""


def draw_anatomy(seed: int, patient: int, sex: Sex, age: float) -> Anatomy:
    """Draw one patient: women have smaller chests, the old weaker bones and wider aortas."""
    rng = generator(seed, "anatomy", patient)
    small = 0.92 if sex == "F" else 1.0
    old = (age - 20) / 70
    habitus = rng.uniform(0, 1)
    return Anatomy(
        half_width=small * (138 + 10 * habitus + rng.uniform(-7, 7)),
        apex=rng.uniform(52, 66),
        height=small * rng.uniform(218, 246) - 14 * habitus,
        left_dome=rng.uniform(6, 16),
        wall=17 + 26 * habitus * rng.uniform(0.6, 1.1),
        depth=small * (200 + 60 * habitus),
        heart=min(rng.uniform(0.42, 0.48) + 0.015 * old, 0.495),
        enlarged_heart=rng.uniform(0.575, 0.66),
        axis=rng.uniform(0.45, 0.75),
        rib_spacing=small * rng.uniform(23.5, 26.5),
        rib_fall=rng.uniform(40, 66),
        bone=rng.uniform(2.2, 3.0) * (1.1 - 0.3 * old),
        aorta=rng.uniform(13, 16) + 7 * old,
        breast=rng.uniform(12, 42) if sex == "F" else 0.0,
        clavicle=rng.uniform(0.12, 0.26),
        clutter=rng.uniform(0.6, 1.2),
        vessels=rng.uniform(0.8, 1.3),
    )


def draw_vessels(seed: int, patient: int, hila: tuple[tuple[float, float], ...]) -> list[Lines]:
    """One patient's pulmonary vessels: generations of branches from the two hila outwards."""
    rng = generator(seed, "vessels", patient)
    trees = [_trunks(rng, x, y) for x, y in hila]
    lines = Lines(*(np.concatenate([getattr(t, k) for t in trees]) for k in _LINE_FIELDS))
    generations = [lines]
    for spread in (0.35, 0.4, 0.5, 0.5):
        generations.append(generations[-1].fork(rng, spread, 0.72))
    return generations


_LINE_FIELDS = ("x", "y", "angle", "length", "width")


def _trunks(rng: np.random.Generator, x: float, y: float, count: int = 7) -> Lines:
    """The main vessels of one lung: more and thicker ones go down than up."""
    down = np.linspace(-1.25, 1.35, count) + rng.uniform(-0.15, 0.15, count)
    angle = np.where(x > 0, down, np.pi - down)
    length = rng.uniform(18, 30, count) * (1 + 0.25 * np.sin(down))
    width = rng.uniform(6, 9, count) * (1 + 0.2 * np.sin(down))
    column = x + rng.uniform(-5, 5, count)
    row = y + 11 * np.sin(down) + rng.uniform(-3, 3, count)
    numbers = (column, row, angle, length, width)
    return Lines(*(number.astype(np.float32) for number in numbers))


@dataclass(frozen=True)
class Chest:
    """A patient's shapes on a grid: signed distances in millimetres, positive inside."""

    grid: Grid
    anatomy: Anatomy
    lift: float
    """How much higher than at full inspiration the diaphragm stands."""
    ratio: float
    """The cardiothoracic ratio to draw."""

    @cached_property
    def left(self) -> Bits:
        """(n, n) the patient's left half."""
        return self.grid.x > 0

    @cached_property
    def aside(self) -> Field:
        """(n, n) distance from the midline."""
        return np.abs(self.grid.x)

    @cached_property
    def domes(self) -> tuple[float, float]:
        """y of the right and the left dome."""
        right = self.anatomy.apex + self.anatomy.height - self.lift
        return right, right + self.anatomy.left_dome

    @property
    def angle(self) -> float:
        """y of the costophrenic angles, on average."""
        return sum(self.domes) / 2 + 46

    def outer(self, y: Field, apex: float) -> Field:
        """Half width of lungs with apices at `apex`, at heights y."""
        down = np.clip((y - apex) / (self.angle - self.lift / 2 - apex), 0, 1)
        shape: Field = (1 - (1 - down) ** 2.4) ** 0.55
        return _APEX_HALF + (self.anatomy.half_width - _APEX_HALF) * shape

    @staticmethod
    def inner(y: Field, apex: float) -> Field:
        """Half width of the mediastinum between lungs with apices at `apex`."""
        round_top = np.sqrt(np.clip((y - apex) / 30, 0, 1))
        widening = 9 * np.clip((y - apex - 60) / 80, 0, 1)
        return _APEX_HALF - 23 * round_top + widening

    @cached_property
    def wall(self) -> Field:
        """(n, n) distance from the chest wall."""
        return self.from_border(self.anatomy.apex)

    def from_border(self, apex: float, gap: float | Field = 0.0) -> Field:
        """(n, n) distance from the outer border of lungs with these apices, `gap` narrower."""
        border = self.outer(self.grid.y, apex) - gap
        slope = np.gradient(border[:, 0], self.grid.step)[:, None]
        along = (border - self.aside) / np.sqrt(1 + slope**2)
        return np.where(self.grid.y < apex, -1 - self.grid.step, along)

    @cached_property
    def medial(self) -> Field:
        """(n, n) distance from the mediastinum and, on the left, the aortic arch."""
        apex, aorta = self.anatomy.apex, self.anatomy.aorta
        beside = self.aside - self.inner(self.grid.y, apex)
        arch = np.hypot(self.grid.x - 20, self.grid.y - self.arch) - aorta
        trunk = np.hypot(self.grid.x - 14, (self.grid.y - self.arch - 45) / 1.8) - 23
        return np.minimum(beside, np.where(self.left, np.minimum(arch, trunk), beside))

    @property
    def arch(self) -> float:
        """y of the aortic arch."""
        return self.anatomy.apex + 68

    @cached_property
    def diaphragm(self) -> Field:
        """(n, n) height above the diaphragm: a dome, steep towards the costophrenic angle."""
        across = np.clip((self.aside - 30) / (self.anatomy.half_width - 30), 0, 1.05) - 0.42
        lateral, medial = np.maximum(across, 0) / 0.58, np.maximum(-across, 0) / 0.42
        fall: Field = 52 * lateral**2 * (0.35 + 0.65 * lateral) + 13 * medial**2
        left = smooth(self.grid.x / 60 + 0.5)
        return self.domes[0] + left * (self.domes[1] - self.domes[0]) + fall - self.grid.y

    @cached_property
    def heart(self) -> Field:
        """(n, n) squared radius in the heart's ellipse: below 1 inside."""
        half, tilt = self.anatomy.half_width * self.ratio, self.anatomy.axis
        short = 0.72 - 1.1 * max(0.0, self.ratio - 0.5)
        cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
        long = half / float(np.hypot(cos, short * sin))
        drop = long * float(np.hypot(sin, short * cos))
        x, y = self.grid.x - 0.3 * half, self.grid.y - (self.domes[1] + 10 - 0.85 * drop)
        ventricle = ellipse(x, y, (long, short * long), tilt)
        atrium = ellipse(self.grid.x + 0.22 * half, y - 0.35 * drop, (0.45 * half, 0.66 * drop))
        near = np.maximum(0.4 - np.abs(ventricle - atrium), 0)
        return np.maximum(np.minimum(ventricle, atrium) - near * near / 1.6, 0)

    @cached_property
    def cardiac(self) -> Field:
        """(n, n) 1 in the heart, and where it flows into the great vessels."""
        outside, width = (np.sqrt(self.heart) - 1) * self.anatomy.half_width * self.ratio, 18.0
        near = np.maximum(width - np.abs(outside - self.medial), 0)
        joined = np.minimum(outside, self.medial) - near * near / (4 * width)
        flow = self.grid.inside(-joined) * (self.medial > 0)
        return np.maximum(flow, self.grid.inside(-outside)) * self.grid.inside(self.diaphragm)

    @cached_property
    def space(self) -> Field:
        """(n, n) 1 in the pleural spaces (lungs, whatever fills them), soft at the borders."""
        inside = self.grid.inside
        return inside(self.wall) * inside(self.medial) * inside(self.diaphragm)

    @cached_property
    def field(self) -> Field:
        """(n, n) 1 in the lung fields: the pleural spaces beside the heart."""
        return self.space * (1 - self.cardiac)

    @property
    def hila(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(x, y) of the right and the left hilum."""
        return (-36.0, self.arch + 50), (40.0, self.arch + 38)

    @cached_property
    def body_half(self) -> Field:
        """(n, 1) half width of the body's outline."""
        trunk = self.anatomy.half_width + self.anatomy.wall
        heights, halves = zip(
            *_SHOULDERS, (225, trunk + 8), (300, trunk), (500, trunk - 4), strict=True
        )
        return _between(self.grid.y, heights, halves)

    @cached_property
    def thickness(self) -> Field:
        """(n, n) millimetres of body from front to back."""
        depth = _between(self.grid.y, (0, 60, 130, 400), (0.62, 0.66, 0.84, 1.05))
        across = np.minimum(np.abs(self.grid.x / self.body_half), 1)
        round_side: Field = np.sqrt(1 - across**5)
        return self.anatomy.depth * depth * round_side


def _between(y: Field, heights: Sequence[float], values: Sequence[float]) -> Field:
    """Values at heights y on straight lines between those given."""
    return np.interp(y, heights, values).astype(np.float32)
