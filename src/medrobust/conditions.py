"""What is evaluated: the ways in which a model is shown its images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medrobust.config import Config, check_radius
from medrobust.errors import MedrobustError


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate; None stands for the run's own settings."""

    split: str = "test"
    checkpoint: str = "best"
    matrix: bool = False
    """Predict attacked images with every branch, not only with the attacked one."""
    eps: tuple[float, ...] | None = None
    steps: int | None = None
    restarts: int | None = None
    batch_size: int | None = None
    redraws: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Condition:
    """One way to show the images: clean, with noise, or attacked through one branch."""

    name: str = ""
    eps: float = 0.0
    attacked: str = ""
    """The branch an attack is made on."""
    steps: int = 0
    restarts: int = 0


def conditions_of(config: Config, what: Evaluation, branches: Sequence[str]) -> Iterator[Condition]:
    """Clean, the noise control at the training radius, and PGD on every branch at every radius."""
    radii = _checked(config.evaluated_eps if what.eps is None else what.eps, config)
    steps = what.steps or config.evaluate.steps
    restarts = what.restarts or config.evaluate.restarts
    yield Condition()
    if config.attack.eps > 0:
        yield Condition("noise-control", config.attack.eps)
    for branch in branches:
        for eps in radii:
            yield Condition("pgd", eps, branch, steps, restarts)


def _checked(radii: Sequence[float], config: Config) -> list[float]:
    """The radii, ascending, each once; without 0, which is the clean row."""
    try:
        for eps in radii:
            check_radius(config.attack.norm, eps, "eps")
    except ValueError as error:
        raise MedrobustError(str(error)) from error
    by_name = {f"{eps:.6g}": eps for eps in radii if eps > 0}  # as files are named
    return sorted(by_name.values())
