"""The five findings: where each is, and how it changes the picture. All in millimetres.

Every finding has its own random numbers, so that drawing one or not leaves all others where they
are. What is chronic (nodules, the side of a pneumothorax) is the patient's, the rest the image's.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medrobust.datasets.phantom_anatomy import Chest
from medrobust.datasets.phantom_canvas import Field, Lines, draw_lines, generator, smooth, texture

Names = frozenset[str]
Side = Literal[-1, 1]
"""-1 is the patient's right, 1 the left."""


def _side(rng: np.random.Generator) -> Side:
    return 1 if rng.random() < 0.5 else -1


def pneumothorax_side(seed: int, patient: int) -> Side:
    """The side on which this patient may have a pneumothorax; nodules are in the other lung."""
    return _side(generator(seed, "side", patient))


@dataclass(frozen=True)
class Nodule:
    """A round, slightly lobed and spiculated mass: a ball that replaces lung."""

    side: Side
    across: float
    """0 at the mediastinum, 1 at the chest wall."""
    down: float
    """0 at the apex, 1 at the costophrenic angle."""
    radius: float
    density: float
    phase: tuple[float, float, float]

    def draw(self, chest: Chest) -> tuple[Field, Field]:
        """Water-equivalent millimetres added, and the shape (1 inside)."""
        x, y = _centre(chest, self.across, self.down)
        right, down = chest.grid.x - self.side * x, chest.grid.y - y
        distance, angle = np.hypot(right, down), np.arctan2(down, right)
        two, three, nine = self.phase
        lobes = 0.09 * np.cos(2 * angle + two) + 0.06 * np.cos(3 * angle + three)
        border = self.radius * (1 + lobes + 0.035 * np.cos(9 * angle + nine))
        depth = 2 * np.sqrt(np.maximum(border**2 - distance**2, 0))
        return self.density * depth, chest.grid.inside(border - distance)


def _centre(chest: Chest, across: float, down: float) -> tuple[float, float]:
    """(distance from the midline, y) of a place in a lung."""
    apex = chest.anatomy.apex
    y = apex + down * (chest.angle - apex)
    height = np.array(y, np.float32)
    inner, outer = float(chest.inner(height, apex)), float(chest.outer(height, apex))
    return inner + across * (outer - inner), y


def nodules(seed: int, patient: int) -> tuple[Nodule, ...]:
    """One nodule, or in three of ten patients two, 11 to 30 mm wide and away from the heart."""
    rng = generator(seed, "nodule", patient)
    side: Side = -1 if pneumothorax_side(seed, patient) == 1 else 1
    return tuple(_nodule(rng, side) for _ in range(1 + (rng.random() < 0.3)))


def _nodule(rng: np.random.Generator, side: Side) -> Nodule:
    down = rng.uniform(0.18, 0.38 if side == 1 else 0.62)
    beside_heart = down > (0.26 if side == 1 else 0.32)
    return Nodule(
        side=side,
        across=rng.uniform(0.58 if beside_heart else 0.45, 0.85),
        down=down,
        radius=5.5 + 9.5 * rng.beta(2, 1.4),
        density=rng.uniform(1.8, 2.8),
        phase=(rng.uniform(0, 6.28), rng.uniform(0, 6.28), rng.uniform(0, 6.28)),
    )


def draw_nodules(chest: Chest, nodules: tuple[Nodule, ...]) -> tuple[Field, Field]:
    """Water-equivalent millimetres and shape of all of a patient's nodules."""
    drawn = [nodule.draw(chest) for nodule in nodules]
    depths, shapes = zip(*drawn, strict=True)
    return np.maximum.reduce(depths), np.maximum.reduce(shapes)


@dataclass(frozen=True)
class Consolidation:
    """A patchy opacity with soft borders in which air-filled bronchi stay dark."""

    side: Side
    across: float
    down: float
    half: tuple[float, float]
    strength: float
    """Share of the air that is replaced."""
    noise: int

    def draw(self, chest: Chest) -> Field:
        """(n, n) share of the lung's air that is replaced, 0 to 1."""
        x, y = _centre(chest, self.across, self.down)
        rng = np.random.default_rng(self.noise)
        right, down = chest.grid.x - self.side * x, chest.grid.y - y
        radius = np.hypot(right / self.half[0], down / self.half[1])
        ragged = 1.1 - radius + 0.26 * texture(chest.grid, rng, 17)
        patchy = 0.85 + 0.2 * texture(chest.grid, rng, 9)
        bronchi = np.minimum(self._bronchi(chest, rng, x, y), 0.6)
        amount: Field = smooth(ragged / 0.65) * np.clip(patchy, 0.4, 1) * (1 - bronchi)
        return amount * self.strength

    def _bronchi(self, chest: Chest, rng: np.random.Generator, x: float, y: float) -> Field:
        """Air-filled bronchi that fan out from the hilum's side, about 1 at their axes."""
        angle = 0.0 if self.side == 1 else np.pi
        numbers = (self.side * (x - 0.7 * self.half[0]), y, angle, 0.6 * self.half[0], 4.0)
        lines = Lines(*(np.array([number], np.float32) for number in numbers))
        drawn = draw_lines(chest.grid, lines)
        for _ in range(2):
            lines = lines.fork(rng, 0.45, 0.8)
            drawn = drawn + draw_lines(chest.grid, lines)
        return drawn / 6


def consolidation(seed: int, patient: int, image: int) -> Consolidation:
    """A consolidation of about 40 to 100 mm, on the left beside the heart."""
    rng = generator(seed, "consolidation", patient, image)
    size, side, down = rng.uniform(28, 46), _side(rng), rng.uniform(0.26, 0.6)
    nearest = 0.7 if side == 1 and down > 0.34 else 0.45
    return Consolidation(
        side=side,
        across=rng.uniform(nearest, 0.82),
        down=down,
        half=(size * rng.uniform(0.8, 1.05), size * rng.uniform(0.9, 1.3)),
        strength=rng.uniform(0.3, 0.7),
        noise=int(rng.integers(2**63)),
    )


@dataclass(frozen=True)
class Effusion:
    """Fluid in the costophrenic angles; its upper border rises towards the chest wall."""

    heights: tuple[float, float]
    """Above the right and the left costophrenic angle, at the wall; 0 = no fluid."""
    opacity: float

    def draw(self, chest: Chest) -> Field:
        """(n, n) share of the air that is replaced by fluid, 0 to 1."""
        right, left = (self._depth(chest, height) for height in self.heights)
        amount: Field = smooth(np.where(chest.left, left, right) / 9 + 0.5)
        return amount * self.opacity

    @staticmethod
    def _depth(chest: Chest, height: float) -> Field:
        """(n, n) millimetres below the fluid's surface."""
        if height == 0:
            return np.full_like(chest.grid.x, -100.0)
        wall = np.maximum(chest.wall, 0)
        meniscus = 0.62 + 0.38 * np.exp(-wall / 22) - 0.0018 * np.maximum(wall - 45, 0)
        below: Field = chest.grid.y - chest.angle + height * meniscus
        return below


def effusion(seed: int, patient: int, image: int) -> Effusion:
    """An effusion on one side or (one in four) both, from a blunted angle to a third of a lung."""
    rng = generator(seed, "effusion", patient, image)
    first, second = (53 + 75 * rng.beta(1.1, 1.5) for _ in range(2))
    sides = rng.random()
    heights = (first if sides < 0.62 else 0.0, second if sides > 0.38 else 0.0)
    return Effusion(heights, rng.uniform(0.88, 0.99))


@dataclass(frozen=True)
class Pneumothorax:
    """Air between the chest wall and a retracted lung with a thin pleural line."""

    side: Side
    apical: float
    """How far the lung's apex has come down."""
    lateral: float
    """How far the lung has left the wall, below the apex."""
    lucency: float
    """Share of the lung in front of and behind the air that has gone."""
    line: float
    """Thickness of the visible pleura."""

    def draw(self, chest: Chest) -> tuple[Field, Field]:
        """(n, n) share of the pleural space that is air, and water-equivalent pleural line."""
        apex = chest.anatomy.apex + self.apical
        down = np.clip((chest.grid.y - apex) / (chest.angle - apex), 0, 1)
        border = chest.from_border(apex, self.lateral * (1 - down) ** 1.3)
        lung = np.minimum(border, chest.aside - chest.inner(chest.grid.y, apex))
        here = chest.left if self.side == 1 else ~chest.left
        air = here * (1 - chest.grid.inside(lung)) * (down < 1) * self.lucency
        near = np.maximum(1 - np.abs(lung) / max(1.2, chest.grid.step), 0)
        thin = min(1.0, 1.2 / chest.grid.step)
        return air, here * near * thin * self.line * (chest.grid.y > apex - 2)


def pneumothorax(seed: int, patient: int, image: int) -> Pneumothorax:
    """A pneumothorax of 22 to 54 mm at the apex."""
    rng = generator(seed, "pneumothorax", patient, image)
    apical = rng.uniform(22, 54)
    return Pneumothorax(
        side=pneumothorax_side(seed, patient),
        apical=apical,
        lateral=apical * rng.uniform(0.3, 0.7),
        lucency=rng.uniform(0.5, 0.95),
        line=rng.uniform(9, 18),
    )


@dataclass(frozen=True)
class Changes:
    """What the findings of one image do to the lung fields: all (n, n), 0 outside them."""

    air: Field
    """Share of the lung that is air without lung."""
    solid: Field
    """Share of the lung's air that fluid and consolidation replace."""
    extra: Field
    """Water-equivalent millimetres of nodules and pleural lines."""
    shapes: dict[str, Field]
    """Where each finding but cardiomegaly is: at least 0.5 inside."""


def draw_findings(seed: int, patient: int, image: int, chest: Chest, names: Names) -> Changes:
    """Draw the named findings; cardiomegaly is the chest's own shape."""
    none = np.zeros_like(chest.grid.x)
    visit = (seed, patient, image)
    air, line = pneumothorax(*visit).draw(chest) if "pneumothorax" in names else (none, none)
    fluid = effusion(*visit).draw(chest) if "effusion" in names else none
    filled = consolidation(*visit).draw(chest) if "consolidation" in names else none
    balls = draw_nodules(chest, nodules(seed, patient)) if "nodule" in names else (none, none)
    lung, dry = chest.field, 1 - fluid
    within = lung > 0.5
    shapes = {
        "nodule": balls[1] * within,
        "consolidation": filled * dry * (1 - air) * within / 0.16,
        "effusion": fluid * within / 0.6,
        "pneumothorax": air * dry * within / 0.5,
    }
    solid = lung * (1 - (1 - fluid) * (1 - filled * (1 - air)))
    found = {name: shape for name, shape in shapes.items() if name in names}
    return Changes(air * lung, solid, (line + balls[0]) * lung, found)
