"""What is evaluated: the ways in which a model is shown its images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from medrobust.attacks.ball import Norm
from medrobust.attacks.goals import Goal, Kind
from medrobust.attacks.suite import Budget, Member, SuiteName, suite_of
from medrobust.config import Config, check_radius
from medrobust.corruptions import SEVERITIES, check_corruption
from medrobust.errors import MedrobustError

VERSION = 1
"""Of the attacks: a change of what they find makes older predictions another evaluation."""
POINTS = 21
"""Of the curve of AUROC against ε, the clean images included."""


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate; None stands for the run's own settings."""

    split: str = "test"
    checkpoint: str = "best"
    matrix: bool = False
    """Attack every branch, their mean and the router, and show each the others' images."""
    suite: SuiteName | None = None
    goal: str = "total"
    """`total`, `finding`, `vanish:NAME` or `appear:NAME`."""
    eps: tuple[float, ...] | None = None
    norm: Norm | None = None
    unit: Literal["image", "native"] = "image"
    """Of eps: the image's range [0, 1], or native values such as Hounsfield units."""
    budget: Budget = field(default_factory=Budget)
    square_images: int | None = None
    """Show Square only so many images, a fixed share of every class; None: all."""
    corruptions: tuple[str, ...] = ()
    save: Literal["8", "16", "stored"] | None = None
    """Save attacked images as PNG files of this depth, and score what is read back."""
    groups: tuple[str, ...] | None = None
    """Columns of the table whose values are scored apart; None: sex, age, view and site."""
    trust_images: int | None = None
    batch_size: int | None = None
    redraws: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Condition:
    """One way to show the images: clean, with noise, corrupted, or attacked."""

    name: str = ""
    eps: float = 0.0
    """The radius; of a corruption the severity."""
    attacked: str = ""
    """The network an attack is made on."""


@dataclass(frozen=True)
class Sweep:
    """A suite against one network at rising radii, which share what can be shared."""

    suite: SuiteName
    attacked: str
    radii: tuple[float, ...]
    norm: Norm
    goal: str
    members: tuple[Member, ...]
    budget: Budget

    def condition(self, radius: float, name: str = "") -> Condition:
        """The suite at one of the radii; `name` stands for its own."""
        return Condition(name or self.suite, radius, self.attacked)

    def settings(self, radius: float) -> dict[str, Any]:
        """What made the predictions at a radius, for their sidecar."""
        budget = self.budget
        return {
            "name": self.suite,
            "version": VERSION,
            "goal": self.goal,
            "norm": self.norm,
            "eps": radius,
            "members": [member.name for member in self.members],
            "carried": [smaller for smaller in self.radii if smaller < radius],
            "steps": budget.steps,
            "restarts": budget.restarts,
            "queries": budget.queries,
            "loss": budget.loss,
            "attacked_branch": self.attacked,
        }


def shown_conditions(config: Config, what: Evaluation) -> Iterator[Condition]:
    """The conditions that need no network: clean, the noise control, corruptions.

    Raises:
        MedrobustError: no such corruption.
    """
    yield Condition()
    if config.attack.eps > 0:
        yield Condition("noise-control", config.attack.eps)
    for name in what.corruptions:
        check_corruption(name)
        for severity in SEVERITIES:
            yield Condition(f"corruption:{name}", severity)


def sweeps_of(
    config: Config, what: Evaluation, networks: Sequence[str], task: str, findings: Sequence[str]
) -> list[Sweep]:
    """A sweep for every network to be attacked.

    Raises:
        MedrobustError: a radius, goal, norm or loss that is not valid.
    """
    suite, norm = what.suite or config.evaluate.suite, what.norm or config.attack.norm
    radii = _radii(config, what, suite, norm)
    budget = _budget(config, what, suite)
    members = suite_of(
        suite,
        task=task,
        findings=len(findings),
        norm=norm,
        goals=goals_of(what.goal, findings),
        budget=budget,
    )
    if not radii:
        return []
    return [Sweep(suite, name, radii, norm, what.goal, tuple(members), budget) for name in networks]


def goals_of(text: str, findings: Sequence[str]) -> list[Goal]:
    """The goals that `total`, `finding`, `vanish:NAME` or `appear:NAME` stand for.

    Raises:
        MedrobustError: something else, or a finding that the model does not have.
    """
    kind, _, name = text.partition(":")
    if kind not in get_args(Kind) or bool(name) != (kind in ("vanish", "appear")):
        raise MedrobustError(
            f"goal: expected total, finding, vanish:NAME or appear:NAME, found {text!r}"
        )
    if kind == "total":
        return [Goal()]
    if kind == "finding":
        return [Goal("finding", column) for column in range(len(findings))]
    return [Goal("vanish" if kind == "vanish" else "appear", _column(name, findings))]


def aimed_at(text: str) -> str | None:
    """The finding that alone is attacked under this goal, if it is one."""
    return text.partition(":")[2] or None


def _column(name: str, findings: Sequence[str]) -> int:
    if name not in findings:
        raise MedrobustError(
            f"goal: expected a finding of the model ({', '.join(findings)}), found {name!r}"
        )
    return list(findings).index(name)


def _radii(config: Config, what: Evaluation, suite: SuiteName, norm: Norm) -> tuple[float, ...]:
    given: Sequence[float] | None = what.eps
    if given is None:
        check_own_ball(config, what)
        usual = [config.attack.eps * factor for factor in _factors(suite)]
        given = usual if config.evaluate.eps is None else config.evaluate.eps
    return tuple(_checked(given, norm, what.unit))


def check_own_ball(config: Config, what: Evaluation) -> None:
    """Raise MedrobustError if the training's radius says nothing of the norm or unit wanted."""
    if (what.norm or config.attack.norm) != config.attack.norm or what.unit != "image":
        raise MedrobustError(
            "eps: expected radii (--eps) beside another norm or unit than the training's, "
            "found none"
        )


def _factors(suite: SuiteName) -> list[float]:
    """Default radii in units of the training's."""
    if suite == "fast":
        return [2 * step / (POINTS - 1) for step in range(1, POINTS)]
    return [1.0, 2.0] if suite == "strong" else [0.5, 1.0, 2.0]


def _checked(radii: Sequence[float], norm: Norm, unit: str) -> list[float]:
    """The radii, ascending, each once; without 0, which is the clean row."""
    try:
        for eps in radii:
            check_radius(norm if unit == "image" else "native", eps, "eps")
    except ValueError as error:
        raise MedrobustError(str(error)) from error
    by_name = {f"{eps:.6g}": eps for eps in radii if eps > 0}  # as files are named
    return sorted(by_name.values())


def _budget(config: Config, what: Evaluation, suite: SuiteName) -> Budget:
    """What was asked for; single attacks have the configured steps and restarts otherwise."""
    asked = what.budget
    if suite in ("fast", "strong"):
        return asked
    steps = None if suite in ("fgsm", "square") else asked.steps or config.evaluate.steps
    restarts = None if suite in ("fgsm", "square") else asked.restarts or config.evaluate.restarts
    return Budget(steps, restarts, asked.queries, asked.loss)
