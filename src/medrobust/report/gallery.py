"""Cases side by side: the image, every model's saliency map, the attack and what it changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrobust.adversarial import read_adversarial
from medrobust.data.cases import gallery_rows
from medrobust.data.store import Store
from medrobust.explain.truth import truth_if_any
from medrobust.files import file_name
from medrobust.report import pictures, text
from medrobust.report.arrays import arrays_of
from medrobust.report.card import image, positives
from medrobust.report.figures import Style
from medrobust.report.numbers import Numbers
from medrobust.report.predicted import Predicted
from medrobust.report.read import Run
from medrobust.report.terms import CLEAN, Arm, Condition

Images = Mapping[str, NDArray[np.float32]]
"""Arrays by image id."""

METHODS = ("gradient", "grad-cam")
"""Of which maps are shown; of models that have neither, the first other."""
PER_FINDING = 3
MOST_CASES = 12
PIXELS = 8_000_000
"""Of all pictures together, which keeps the page below about 8 MB."""


@dataclass(frozen=True)
class SaliencyMap:
    """One method's map as a data address, empty where there is none."""

    method: str
    picture: str = ""
    limit: str = ""
    """The value where the colours end."""


@dataclass(frozen=True)
class Panel:
    """What one model shows of one case; pictures are data addresses, empty where missing."""

    arm: Arm
    style: Style
    maps: Sequence[SaliencyMap]
    attacked: str
    perturbation: str
    clean_probability: str
    attacked_probability: str


@dataclass(frozen=True)
class Case:
    """One image and one of its findings."""

    finding: str
    image_id: str
    labels: str
    width: int
    height: int
    picture: str
    outline: str
    """The truth as the `d` of an SVG path in picture pixels; empty without a mask or box."""
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Gallery:
    """Cases by finding, and what holds for all of them."""

    cases: Mapping[str, Sequence[Case]]
    methods: Sequence[str]
    """Whose maps are shown."""
    gain: int
    """How many times larger than it is the perturbation is drawn."""
    attack: str
    """`PGD, ε = 4/255`."""
    seeds: str
    shrunk: str
    """The shown size where pictures are smaller than the store's; else empty."""
    volumes: bool
    bar: str


@dataclass(frozen=True)
class _Shown:
    """One model's material: maps per method and finding, attacked images."""

    arm: Arm
    run: Run
    style: Style
    maps: Mapping[str, Mapping[str, Images]]
    attacked: Images
    """(S, C, ...) by image: what was found against each finding."""

    def against(self, identity: str, column: int) -> NDArray[np.float32] | None:
        """The attacked image behind a finding's score."""
        images = self.attacked.get(identity)
        return None if images is None else images[column if len(images) > 1 else 0]

    def map(self, method: str, finding: str, identity: str) -> NDArray[np.float32] | None:
        return self.maps[method].get(finding, {}).get(identity)

    def has(self, finding: str, identity: str) -> bool:
        """Whether there is any map of an image."""
        return any(self.map(method, finding, identity) is not None for method in self.maps)


@dataclass(frozen=True)
class _Scene:
    """What all cases have in common."""

    store: Store
    predicted: Predicted
    condition: Condition
    shown: Sequence[_Shown]
    methods: Sequence[str]
    side: int
    gain: int


def gallery(
    numbers: Numbers, looks: dict[Arm, Style], store: Store, predicted: Predicted
) -> Gallery | None:
    """Cases of `gallery_rows` that every explained model has a map of; None without any.

    The first seed of every model is shown.

    Raises `MedrobustError` for files that are no maps or attacked images.
    """
    methods = _methods(numbers)
    shown = [_load(numbers, arm, looks[arm], store, methods) for arm in numbers.arms]
    explained = [one for one in shown if any(one.maps.values())]
    rows = _select(store, numbers.evaluation.split, explained)
    if not rows:
        return None
    native = max(store.info.size[-2:])
    count = sum(map(len, rows.values())) * (1 + (2 + len(methods)) * len(shown))
    side = min(native, int((PIXELS / count) ** 0.5))
    condition = _pictured(numbers)
    gain = max(1, int(0.5 / condition.eps)) if condition.eps else 1
    scene = _Scene(store, predicted, condition, shown, methods, side, gain)
    return Gallery(
        {finding: [_case(scene, row, finding) for row in found] for finding, found in rows.items()},
        methods,
        gain,
        condition.phrase,
        _seeds(dict.fromkeys(one.run for one in shown)),
        f"{side} of {native} pixels" if side < native else "",
        len(store.info.size) == 3,
        pictures.data_uri(pictures.colour_bar()),
    )


def _seeds(runs: Iterable[Run]) -> str:
    """`seed 0 of standard and dual`."""
    by_seed: dict[int, list[str]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run.name)
    parts = [f"seed {seed} of {text.enumeration(names)}" for seed, names in by_seed.items()]
    return text.enumeration(parts)


def _pictured(numbers: Numbers) -> Condition:
    """The attack to show: the one that is quoted, if any model's attacked images are there."""
    for condition in filter(None, (numbers.training, numbers.swept)):
        stems = (
            (r, numbers.stem(r, a.branch, condition))
            for a in numbers.arms
            for r in numbers.runs_of(a)
        )
        if any((run.path / "adversarial" / f"{stem}.npz").is_file() for run, stem in stems):
            return condition
    return numbers.training or CLEAN


def _methods(numbers: Numbers) -> list[str]:
    """Whose maps are shown."""
    folders = [_folder(numbers, arm) for arm in numbers.arms]
    there = {method.name for folder in folders for method in folder.glob("*") if method.is_dir()}
    return [name for name in METHODS if name in there] or sorted(there)[:1]


def _folder(numbers: Numbers, arm: Arm) -> Path:
    """Where the maps of a model's first seed are, a folder for each method."""
    here = numbers.evaluation
    return numbers.runs_of(arm)[0].path / "explain" / "maps" / here.store / here.split / arm.branch


def _load(numbers: Numbers, arm: Arm, style: Style, store: Store, methods: Sequence[str]) -> _Shown:
    run, folder = numbers.runs_of(arm)[0], _folder(numbers, arm)
    files = {method: _files(folder / method, store) for method in methods}
    maps = {
        method: {finding: _read(file) for finding, file in found.items()}
        for method, found in files.items()
    }
    stem = numbers.stem(run, arm.branch, _pictured(numbers))
    attacked = run.path / "adversarial" / f"{stem}.npz"
    images = {}
    if attacked.is_file():
        found = read_adversarial(attacked)
        images = dict(zip(found.image_id, found.images, strict=True))
    return _Shown(arm, run, style, maps, images)


def _files(folder: Path, store: Store) -> dict[str, Path]:
    """Finding -> its file of maps, where there is one."""
    files = {finding: folder / f"{file_name(finding)}.npz" for finding in store.findings}
    return {finding: file for finding, file in files.items() if file.is_file()}


def _read(file: Path) -> Images:
    """Image id -> map, multiplied by its scale again."""
    images: dict[str, NDArray[np.float32]] = {}
    with arrays_of(file, "maps") as arrays:
        values = np.asarray(arrays["map"], dtype=np.float32)
        scales = arrays["scale"] if "scale" in arrays else np.ones(len(values), np.float32)
        for identity, value, scale in zip(arrays["image_id"], values, scales, strict=True):
            images[str(identity)] = value * scale
    return images


def _select(store: Store, split: str, shown: Sequence[_Shown]) -> dict[str, list[int]]:
    """Finding -> rows; findings take turns, and an image is shown for one of them only."""
    ids = store.table["image_id"].astype(str).to_numpy()
    left = gallery_rows(store, split).tolist() if shown else []
    findings = store.findings[:MOST_CASES]
    chosen: dict[str, list[int]] = {finding: [] for finding in findings}
    for _ in range(max(1, min(PER_FINDING, MOST_CASES // len(findings)))):
        for finding in findings:
            for row in left:
                mapped = all(one.has(finding, ids[row]) for one in shown)
                if mapped and finding in positives(store, row):
                    chosen[finding].append(row)
                    left.remove(row)
                    break
    return {finding: rows for finding, rows in chosen.items() if rows}


def _case(scene: _Scene, row: int, finding: str) -> Case:
    store = scene.store
    identity = str(store.table["image_id"].iloc[row])
    clean = image(store, row)
    small = pictures.fit(clean, scene.side)
    return Case(
        finding,
        identity,
        ", ".join(positives(store, row)) or "no finding",
        small.shape[-1],
        small.shape[-2],
        pictures.data_uri(pictures.photograph(small)),
        _outline(truth_if_any(store, finding).get(row), scene.side),
        [_panel(scene, one, identity, finding, clean) for one in scene.shown],
    )


def _outline(mask: NDArray[np.bool_] | None, side: int) -> str:
    if mask is None:
        return ""
    flat = pictures.plane(mask.astype(np.float32), mask.ndim)
    return pictures.outline(pictures.fit(flat, side) >= 0.5)


def _panel(
    scene: _Scene, one: _Shown, identity: str, finding: str, clean: NDArray[np.floating]
) -> Panel:
    maps = [
        _saliency(method, one.map(method, finding, identity), scene.side)
        for method in scene.methods
    ]
    attacked, difference = _attack(
        one.against(identity, scene.store.findings.index(finding)), clean, scene
    )
    before, after = (
        text.number(
            scene.predicted.probability(one.run, one.arm.branch, condition, identity, finding), 2
        )
        for condition in (CLEAN, scene.condition)
    )
    return Panel(one.arm, one.style, maps, attacked, difference, before, after)


def _saliency(method: str, values: NDArray[np.float32] | None, side: int) -> SaliencyMap:
    """A map with a value that is not finite is none."""
    if values is None or not np.isfinite(values).all():
        return SaliencyMap(method)
    flat = pictures.fit(pictures.plane(values, values.ndim), side)
    picture = pictures.data_uri(pictures.saliency(flat))
    return SaliencyMap(method, picture, f"{pictures.saliency_limit(flat):#.2g}")


def _attack(
    attacked: NDArray[np.float32] | None, clean: NDArray[np.floating], scene: _Scene
) -> tuple[str, str]:
    if attacked is None:
        return "", ""
    flat = pictures.plane(attacked, attacked.ndim - 1)
    difference = pictures.fit(flat - clean, scene.side)
    return (
        pictures.data_uri(pictures.photograph(pictures.fit(flat, scene.side))),
        pictures.data_uri(pictures.perturbation(difference, scene.gain)),
    )
