"""Drawing in millimetres: a grid over the picture, soft edges, tubes, lines and texture.

Nothing here knows what is drawn. All shapes are functions of millimetres, so that one phantom
looks the same at every picture size.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Field = NDArray[np.floating[Any]]
Bits = NDArray[np.bool_]

WIDTH = 400.0
"""Width and height of every picture in millimetres."""


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """The random numbers for one purpose, patient and image, whatever was drawn before."""
    return np.random.default_rng([seed, crc32(purpose.encode()), *numbers])


@dataclass(frozen=True)
class Grid:
    """The points at which a picture of `size` pixels is drawn, in the patient's millimetres.

    x runs from the midline to the patient's left (the picture's right), y downwards from the
    picture's top. The patient may be shifted, scaled and lean over, so that x depends on the row
    and y does not depend on the column: `x` is (n, n) and `y` is (n, 1), n twice the size.
    """

    size: int
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    lean: float = 0.0

    @property
    def points(self) -> int:
        """Grid points along one side."""
        return 2 * self.size

    @property
    def step(self) -> float:
        """Millimetres between grid points."""
        return WIDTH / self.points

    @cached_property
    def place(self) -> Field:
        """(n,) distance of each grid point from the picture's left or upper border."""
        return ((np.arange(self.points) + 0.5) * self.step).astype(np.float32)

    @cached_property
    def y(self) -> Field:
        """(n, 1) patient's y."""
        return ((self.place - WIDTH / 2 - self.shift[1]) / self.scale + WIDTH / 2)[:, None]

    @cached_property
    def x(self) -> Field:
        """(n, n) patient's x; 0 is the midline."""
        across = (self.place - WIDTH / 2 - self.shift[0]) / self.scale
        return across[None] - self.lean * (self.y - WIDTH / 2)

    def locate(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Fractional (row, column) on the grid of points in the patient's millimetres."""
        across = (x + self.lean * (y - WIDTH / 2)) * self.scale + WIDTH / 2 + self.shift[0]
        down = (y - WIDTH / 2) * self.scale + WIDTH / 2 + self.shift[1]
        return down / self.step - 0.5, across / self.step - 0.5

    def inside(self, distance: Field) -> Field:
        """1 where the signed distance (mm) is positive, 0 where negative, soft over one step."""
        ramp: Field = np.clip(distance / self.step + 0.5, 0, 1)
        return ramp

    def average(self, field: Field) -> Field:
        """(size, size) means over the grid points of each pixel."""
        pairs = field[0::2] + field[1::2]
        return (pairs[:, 0::2] + pairs[:, 1::2]) / 4

    def mask(self, amount: Field, threshold: float = 0.5) -> Bits:
        """(size, size) pixels at least half covered by `amount` > threshold.

        A structure that covers no pixel to a half is the pixel it covers most.
        """
        cover = self.average((amount > threshold).astype(np.float32))
        if cover.max() == 0:
            cover = self.average(amount)
        return cover >= max(min(0.5, float(cover.max())), 1e-6)


def tube(distance: Field, outer: float, inner: float = 0.0) -> Field:
    """Millimetres of wall that a ray crosses at `distance` from the axis of a (hollow) tube."""
    square = distance * distance
    wall = np.sqrt(np.maximum(outer * outer - square, 0))
    if inner:
        wall -= np.sqrt(np.maximum(inner * inner - square, 0))
    return 2 * wall


def ellipse(x: Field, y: Field, half: tuple[float, float], tilt: float = 0.0) -> Field:
    """Squared radius about the origin: 1 on an ellipse with half axes `half`, tilted by `tilt`."""
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    along, across = (x * cos + y * sin) / half[0], (y * cos - x * sin) / half[1]
    square: Field = along * along + across * across
    return square


def smooth(value: Field) -> Field:
    """0 below 0, 1 above 1, and a cubic step without kinks between."""
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def texture(grid: Grid, rng: np.random.Generator, cell: float) -> Field:
    """(n, n) smooth noise, mean 0 and deviation about 1, with grains of `cell` millimetres."""
    nodes = int(WIDTH / cell) + 4
    basis = _spline_basis(grid.points, nodes)
    lattice = rng.standard_normal((nodes, nodes), dtype=np.float32)
    return basis @ lattice @ basis.T


@lru_cache(maxsize=32)
def _spline_basis(points: int, nodes: int) -> Field:
    """(points, nodes) uniform cubic B-spline weights, scaled to keep the noise's variance."""
    where = (np.arange(points) + 0.5) / points * (nodes - 3) + 1
    distance = np.abs(where[:, None] - np.arange(nodes))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    weight = np.where(distance < 1, near, far)
    weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True))
    return weight.astype(np.float32)


@dataclass(frozen=True)
class Lines:
    """M straight tubes in the patient's millimetres: all arrays are (M,)."""

    x: Field
    y: Field
    angle: Field
    length: Field
    width: Field

    @property
    def ends(self) -> tuple[Field, Field]:
        """x and y of the far ends."""
        return (
            self.x + self.length * np.cos(self.angle),
            self.y + self.length * np.sin(self.angle),
        )

    def fork(self, rng: np.random.Generator, spread: float, shrink: float) -> "Lines":
        """Two thinner and shorter branches at every far end, at angles of about `spread`."""
        x, y = (np.repeat(end, 2) for end in self.ends)
        sign = np.tile(np.array([-1, 1], np.float32), len(self.x))
        turn = sign * spread * rng.uniform(0.4, 1.5, len(sign)).astype(np.float32)
        length = np.repeat(self.length, 2) * rng.uniform(0.6, 1.05, len(sign)).astype(np.float32)
        return Lines(
            x, y, np.repeat(self.angle, 2) + turn, length, np.repeat(self.width, 2) * shrink
        )


def draw_lines(grid: Grid, lines: Lines) -> Field:
    """(n, n) millimetres of tube that a ray crosses; lines in one call share a blur."""
    count = max(4, int(np.ceil(lines.length.max() / grid.step)))
    along = (np.arange(count, dtype=np.float32) + 0.5) / count * lines.length[:, None]
    x = lines.x[:, None] + along * np.cos(lines.angle)[:, None]
    y = lines.y[:, None] + along * np.sin(lines.angle)[:, None]
    volume = np.pi / 4 * lines.width**2 * lines.length / count / grid.step**2
    drawn = _splat(grid, *grid.locate(x, y), np.repeat(volume[:, None], count, axis=1))
    sigma = 0.3 * float(lines.width.mean()) / grid.step
    return gaussian_filter(drawn, sigma, truncate=3) if sigma > 0.35 else drawn


def _splat(grid: Grid, row: Field, column: Field, weight: Field) -> Field:
    """Sum of weights at fractional places, each shared among the four grid points around it."""
    size = grid.points
    row, column = np.clip(row, 0, size - 1.01).ravel(), np.clip(column, 0, size - 1.01).ravel()
    top, left, weight = row.astype(np.intp), column.astype(np.intp), weight.ravel()
    down, right = row - top, column - left
    places, weights = [], []
    for dy, share in ((0, 1 - down), (1, down)):
        for dx, part in ((0, 1 - right), (1, right)):
            places.append((top + dy) * size + left + dx)
            weights.append(weight * share * part)
    total = np.bincount(np.concatenate(places), np.concatenate(weights), size * size)
    return total.reshape(size, size).astype(np.float32)
