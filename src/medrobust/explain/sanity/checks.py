"""The checks of one method on one scene, each a list of outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from medrobust.explain.sanity import deletion
from medrobust.explain.sanity.methods import Method
from medrobust.explain.sanity.randomisation import cascade
from medrobust.explain.sanity.repeatability import across_images
from medrobust.explain.sanity.scene import KINDS, Scene
from medrobust.explain.sanity.similarity import (
    SIMILARITIES,
    Floats,
    is_comparable,
    rank_similarity,
)
from medrobust.explain.sanity.stability import NOISE, under_noise
from medrobust.explain.sanity.table import WHOLE, Outcome
from medrobust.explain.sanity.verdicts import NO_MAPS, joined

PRODUCT = "gradient-x-input"
"""The method that is attacked itself; all others but the gradient are shown its images."""
FALL = 0.1
"""Fall of the probability in the wholly blurred image below which curves say nothing.

What a blur does not take away, such as a diffuse shadow, is not in the curves.
"""


@dataclass(frozen=True)
class Trial:
    """A method on a scene."""

    name: str
    method: Method
    scene: Scene

    @cached_property
    def maps(self) -> Tensor:
        """Of the scene's network, (N, ...)."""
        return self.of_images(self.scene.images)

    @cached_property
    def references(self) -> Mapping[str, Floats]:
        """What two trainings' agreement must surpass, (N,): it needs no training in common."""
        fresh = self.by(self.scene.fresh, self.scene.column)
        return {
            "other images": across_images(self.maps, self.scene.patients),
            "untrained network": rank_similarity(self.maps, fresh),
        }

    def by(self, network: nn.Module, column: int) -> Tensor:
        """Maps of the scene's images by another network, (N, ...)."""
        return self.scene.batched(self.method)(network, self.scene.images, column)

    def of_images(self, images: Tensor) -> Tensor:
        """Maps of other images by the scene's network, (N, ...)."""
        scene = self.scene
        return scene.batched(self.method)(scene.network, images, scene.column)


def check_randomisation(trial: Trial) -> list[Outcome]:
    """Similarity along the cascade; the verdict is on the network with no trained weight left."""
    scene, judge, name = trial.scene, trial.scene.judge, "randomisation"
    method, found, last = scene.batched(trial.method), [], trial.maps
    for stage in cascade(scene.network, method, scene.images, scene.column, seed=scene.seed):
        last = stage.maps
        found.append(judge.measured(name, stage.layer, rank_similarity(trial.maps, last)))
    by_name = {which: similar(trial.maps, last) for which, similar in SIMILARITIES.items()}
    found.append(judge.unlike(name, WHOLE, by_name.pop("rank")))
    return found + [judge.measured(name, f"{WHOLE}, {w}", v) for w, v in by_name.items()]


def check_labels(
    trial: Trial, shuffled: nn.Module, column: int, against: str, detail: str
) -> list[Outcome]:
    """Similarity with the maps of a network that was trained on shuffled labels."""
    values = rank_similarity(trial.maps, trial.by(shuffled, column))
    return [trial.scene.judge.unlike("labels", against, values, detail)]


def check_agreement(
    trial: Trial, check: str, other: nn.Module, column: int, against: str, detail: str
) -> Outcome:
    """Similarity of two trainings' maps, held against the trial's references."""
    values = rank_similarity(trial.maps, trial.by(other, column))
    rule = "passes where it is surely above that of other images and of the untrained network"
    told = joined(rule, detail)
    return trial.scene.judge.above(check, against, values, trial.references, told)


def check_references(trial: Trial, check: str) -> list[Outcome]:
    """The references themselves."""
    judge = trial.scene.judge
    return [judge.measured(check, name, values) for name, values in trial.references.items()]


def check_noise(trial: Trial) -> list[Outcome]:
    """Similarity under noise that no reader would see."""
    scene = trial.scene
    values = under_noise(trial.maps, trial.of_images, scene.images, scene.keys)
    return [scene.judge.alike("noise", f"noise of standard deviation {NOISE:g}", values)]


def check_attack(trial: Trial) -> list[Outcome]:
    """Similarity at the points an attack has found, and how often the prediction could stay."""
    scene, judge = trial.scene, trial.scene.judge
    points = scene.attacked(times_input=trial.name == PRODUCT)
    kept = points.found.cpu().numpy()
    values = rank_similarity(trial.maps, trial.of_images(points.images))
    values[~kept] = np.nan  # the image itself, which would be alike
    by_chance = rank_similarity(trial.maps, trial.of_images(scene.randomly_changed))
    eps = f"l∞ radius eps = {scene.ball.radius:.4g}"
    own = trial.name in ("gradient", PRODUCT)
    how = eps if own else f"{eps}; the attack was made on the gradient"
    absent = f"no change was found that keeps the prediction, or {NO_MAPS}"
    return [
        judge.alike("attack", "worst change found", values, how, absent),
        judge.measured("attack", "random change", by_chance, eps),
        judge.measured("attack", "prediction kept", kept.astype(float), "share of the images"),
    ]


def check_curves(trial: Trial) -> list[Outcome]:
    """Areas under deletion and insertion curves, and their gain over a random order."""
    scene, found = trial.scene, []
    order = deletion.by_importance(trial.maps, scene.keys)
    usable = is_comparable(trial.maps.abs())
    for kind in KINDS:
        areas = np.where(usable, scene.areas(order, kind), np.nan)
        found += _curve(trial, kind, areas, scene.random_areas[kind])
    return found


def _curve(trial: Trial, kind: deletion.Kind, areas: Floats, random: Floats) -> list[Outcome]:
    judge = trial.scene.judge
    gain = random - areas if kind == "deletion" else areas - random
    fall = trial.scene.fall.mean()
    rule = "passes where the interval lies above 0"
    gained = judge.above(kind, "gain over random order", gain, {"none": np.zeros_like(gain)}, rule)
    if not fall >= FALL:
        reason = (
            f"blurring the whole image changes the mean probability by {-fall:+.2f}, "
            f"where a fall of {FALL:g} is needed"
        )
        gained = gained._replace(verdict="not checked", detail=reason)
    return [
        gained,
        judge.measured(kind, "area", areas),
        judge.measured(kind, "area of random order", random),
    ]
