"""Ways to train that have a name: settings that are put on top of a configuration."""

from typing import Literal

Recipe = Literal["fast"]


def recipe_settings(recipe: Recipe, regime: str) -> tuple[str, ...]:
    """Overrides such as `attack.name=n-fgsm` of a recipe for a regime.

    `fast`: one step of attack from strong noise (N-FGSM, watched for collapse) in the place of
    many, and in dual training each image in one half only (Fast AdvProp), so that a step takes 4
    passes in the place of 26.
    """
    if regime not in ("adversarial", "dual"):
        return ()
    once = ("attack.name=n-fgsm", "train.validation_steps=3")
    return (*once, "attack.part=0.5") if regime == "dual" else once
