"""From a patient and findings to a radiograph: thickness of tissue, x-rays, film."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medrobust.data.source import Mask
from medrobust.datasets.phantom_anatomy import Anatomy, Chest, View, draw_vessels
from medrobust.datasets.phantom_canvas import (
    WIDTH,
    Field,
    Grid,
    draw_lines,
    ellipse,
    generator,
    smooth,
    texture,
    tube,
)
from medrobust.datasets.phantom_findings import Changes, draw_findings

HIGH = 4095
"""Largest pixel value: 12 bits, as from a digital detector."""
_ATTENUATION = 0.017
"""Per water-equivalent millimetre: about 100 kV, scatter aside."""
_AIRY = 0.74
"""Share of a lung that is air."""


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn in one image, apart from random numbers."""

    seed: int
    patient: int
    image: int
    anatomy: Anatomy
    view: View
    findings: frozenset[str]
    marker: bool


@dataclass(frozen=True)
class _Exposure:
    """How an image was taken."""

    grid: Grid
    lift: float
    heart: float
    middle: float
    contrast: float
    scatter: float
    noise: float


def _draw_exposure(scene: Scene, size: int) -> _Exposure:
    """Position, breath and exposure; AP pictures are taken lying, with less air, more scatter."""
    rng = generator(scene.seed, "exposure", scene.patient, scene.image)
    portable = scene.view == "AP"
    shift = (rng.uniform(-9, 9), rng.uniform(-9, 9))
    grid = Grid(size, shift, rng.uniform(0.95, 1.05), rng.uniform(-0.045, 0.045))
    return _Exposure(
        grid=grid,
        lift=rng.uniform(-6, 10) + 16 * portable,
        heart=rng.uniform(0.985, 1.015) + 0.06 * portable,
        middle=rng.normal(0, 0.10),
        contrast=rng.uniform(1.5, 2.1),
        scatter=rng.uniform(0.12, 0.25) + 0.1 * portable,
        noise=rng.uniform(0.010, 0.022),
    )


def draw(scene: Scene, size: int) -> tuple[Field, tuple[Mask, ...]]:
    """The (size, size) picture in [0, HIGH], and the masks of all that is in it."""
    exposure = _draw_exposure(scene, size)
    grid, anatomy = exposure.grid, scene.anatomy
    heart = anatomy.enlarged_heart if "cardiomegaly" in scene.findings else anatomy.heart
    chest = Chest(grid, anatomy, exposure.lift, min(heart * exposure.heart, 0.67))
    changes = draw_findings(scene.seed, scene.patient, scene.image, chest, scene.findings)
    water, masks = _water(scene, chest, changes), _masks(scene, chest, changes)
    if not scene.marker:
        return _film(scene, exposure, water), tuple(masks)
    lead, plate = _marker(scene, grid)
    masks.append(Mask("marker", "marker", grid.mask(plate)))
    return _film(scene, exposure, water, lead), tuple(masks)


def _masks(scene: Scene, chest: Chest, changes: Changes) -> list[Mask]:
    """Findings and anatomy; a pixel that lung and heart share equally is the lung's."""
    cover = chest.grid.mask
    left, right = cover(chest.field * chest.left), cover(chest.field * ~chest.left)
    heart = cover(chest.cardiac) & ~left & ~right
    masks = [Mask(name, "finding", cover(shape)) for name, shape in changes.shapes.items()]
    if "cardiomegaly" in scene.findings:
        masks.append(Mask("cardiomegaly", "finding", heart))
    anatomy = {"left_lung": left, "right_lung": right, "heart": heart}
    return masks + [Mask(name, "anatomy", pixels) for name, pixels in anatomy.items()]


def _water(scene: Scene, chest: Chest, changes: Changes) -> Field:
    """(n, n) water-equivalent millimetres between tube and detector."""
    lung, tissue = _lung(scene, chest)
    airy = lung * (_AIRY + (1 - _AIRY) * changes.air) - tissue * (1 - changes.air)
    body = chest.thickness + _bones(scene, chest) + _soft(chest)
    return np.maximum(body - airy * (1 - changes.solid) + changes.extra, 0)


def _marker(scene: Scene, grid: Grid) -> tuple[Field, Field]:
    """Water-equivalent millimetres of a plate with an L at the patient's left, and its shape."""
    rng = generator(scene.seed, "plate", scene.patient, scene.image)
    x = grid.place[None] - rng.uniform(364, 380)
    y = grid.place[:, None] - rng.uniform(20, 34)
    plate = grid.inside(13 - np.abs(x)) * grid.inside(13 - np.abs(y))
    stem = grid.inside(3 - np.abs(x + 4.5)) * grid.inside(9 - np.abs(y))
    foot = grid.inside(3 - np.abs(y - 6)) * grid.inside(7.5 - np.abs(x))
    return plate * (125 + 200 * np.maximum(stem, foot)), plate


def _lung(scene: Scene, chest: Chest) -> tuple[Field, Field]:
    """(n, n) millimetres of lung a ray crosses, and water-equivalent vessels and texture in it."""
    across = np.clip(chest.wall / 72, 0, 1)
    depth = 0.74 * chest.thickness * np.sqrt(across * (2 - across))
    beside = 1 - chest.cardiac * (0.8 + 0.12 * np.sqrt(np.maximum(1 - chest.heart, 0)))
    lung = depth * chest.space * beside
    rng = generator(scene.seed, "texture", scene.patient)
    fine = 1.6 * texture(chest.grid, rng, 9) + 1.0 * texture(chest.grid, rng, 5)
    haze = 2.2 * texture(chest.grid, rng, 55)
    tree = draw_vessels(scene.seed, scene.patient, chest.hila)
    vessels = sum(draw_lines(chest.grid, generation) for generation in tree)
    inside = chest.space * beside * np.clip(chest.wall / 25, 0, 1)
    strength = 2.2 * scene.anatomy.vessels * vessels + scene.anatomy.clutter * (fine + haze)
    return lung, strength * inside


def _bones(scene: Scene, chest: Chest) -> Field:
    """(n, n) water-equivalent millimetres of bone beyond soft tissue."""
    rng = generator(scene.seed, "bones", scene.patient)
    uneven = 1.8 * texture(chest.grid, rng, 50)
    bones = _ribs(chest, uneven) + _clavicles(chest) + _shoulders(chest) + _spine(chest)
    return chest.anatomy.bone * bones


def _ribs(chest: Chest, uneven: Field) -> Field:
    """Posterior ribs fall from the spine to the side, anterior ones from there to the front."""
    anatomy, y = chest.anatomy, chest.grid.y
    cage = np.maximum(chest.outer(y, anatomy.apex - 6) + 3, 52)
    across = np.minimum(chest.aside / cage, 1)
    round_side = np.sqrt(np.maximum(1 - across * across, 1e-4))
    slope = across / (round_side * cage)
    side = anatomy.apex - 8 + anatomy.rib_fall + uneven
    back = _arcs(chest, side - anatomy.rib_fall * round_side, anatomy.rib_fall * slope, 6.2)
    fore = _arcs(chest, side + 52 * round_side, 52 * slope, 7.0)
    fore *= np.clip((across - 0.36) / 0.12, 0, 1) * 0.6
    ribs: Field = (back + fore) * (across < 1) * np.clip((y - anatomy.apex + 10) / 8, 0, 1)
    return ribs


def _arcs(chest: Chest, first: Field, slope: Field, radius: float, count: int = 10) -> Field:
    """(n, n) millimetres of bone in `count` parallel ribs of which the first runs at y = first."""
    spacing = chest.anatomy.rib_spacing
    number = (chest.grid.y - first) / spacing
    nearest = np.clip(np.rint(number), 0, count - 1)
    distance = (number - nearest) * spacing / np.sqrt(1 + slope * slope)
    return tube(distance, radius, 0.78 * radius)


def _clavicles(chest: Chest) -> Field:
    x, anatomy = chest.aside, chest.anatomy
    height = anatomy.apex + 34 - anatomy.clavicle * x + 5 * np.sin(x / 24)
    slope = -anatomy.clavicle + 5 / 24 * np.cos(x / 24)
    distance = (chest.grid.y - height) / np.sqrt(1 + slope * slope)
    ends = smooth((x - 12) / 8) * smooth((182 - x) / 40)
    return (tube(distance, 6.5, 4.2) + 0.25 * tube(distance, 6.5)) * ends


def _shoulders(chest: Chest) -> Field:
    """The heads of the upper arms."""
    x, y = chest.aside - 188, chest.grid.y - chest.anatomy.apex - 34
    return 6 * np.sqrt(np.maximum(1 - ellipse(x, y, (24, 27)), 0))


def _spine(chest: Chest) -> Field:
    """Vertebral bodies with denser end plates, and the discs between them."""
    y = chest.grid.y
    body = 0.5 - 0.5 * np.cos(2 * np.pi * (y - chest.anatomy.apex) / 23)
    profile = 5 + 6 * body**0.3
    return profile * chest.grid.inside(18 + 2 * body - chest.aside)


def _soft(chest: Chest) -> Field:
    """The windpipe's air, the stomach's bubble and breasts, in water-equivalent millimetres."""
    grid, anatomy, right, left = chest.grid, chest.anatomy, *chest.domes
    carina = anatomy.apex + 92
    windpipe = tube(grid.x + 1, 9) * np.clip((carina - grid.y) / 8, 0, 1)
    bubble = np.maximum(1 - np.hypot((grid.x - 62) / 30, (grid.y - left - 26) / 13), 0)
    x, y = (chest.aside - 78) / 62, (grid.y - right + 36) / 58
    breast = smooth(y + 0.9) * np.sqrt(np.maximum(1 - x * x - y * y, 0))
    soft: Field = anatomy.breast * breast - 1.3 * windpipe - 30 * bubble
    return soft


def _film(scene: Scene, exposure: _Exposure, water: Field, lead: Field | None = None) -> Field:
    """X-rays through the patient, scatter, quantum noise, and a film's S-shaped response.

    Lead lies on the detector, where it stops the scatter too.
    """
    rays = exposure.grid.average(np.exp(-_ATTENUATION * water))
    blur = _blur(exposure.grid.size)
    rays = (1 - exposure.scatter) * rays + exposure.scatter * (blur @ rays @ blur.T)
    if lead is not None:
        rays = rays * exposure.grid.average(np.exp(-_ATTENUATION * lead))
    rng = generator(scene.seed, "noise", scene.patient, scene.image)
    grain = rng.standard_normal(rays.shape, dtype=np.float32)
    rays = rays + exposure.noise * np.sqrt(0.12 * rays) * grain
    density = -np.log(np.maximum(rays, 1e-4))
    middle = _ATTENUATION * 0.62 * scene.anatomy.depth + exposure.middle
    return HIGH / (1 + np.exp(-exposure.contrast * (density - middle)))


@lru_cache(maxsize=8)
def _blur(size: int, sigma: float = 24.0) -> Field:
    """(size, size) matrix that blurs by a Gaussian of `sigma` millimetres."""
    place = np.arange(size) * WIDTH / size
    weight = np.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    return weight.astype(np.float32)
