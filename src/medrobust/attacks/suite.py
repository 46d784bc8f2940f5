"""Suites: attacks whose worst case is what counts.

`fast`, for daily use, is APGD on the margin with 20 steps. `strong` is, with standard budgets (100
steps, 5,000 queries): APGD on the margin and on the cross-entropy, APGD aimed at each finding (or
class), and the black-box Square attack on each finding (or class) that is not broken yet. It is
AutoAttack's idea (Croce & Hein 2020) for any number of sigmoids: AutoAttack itself needs a softmax
over four classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn

from medrobust.attacks.apgd import apgd
from medrobust.attacks.ball import Ball, Norm
from medrobust.attacks.goals import Goal
from medrobust.attacks.gradient import Broken, Look, fgsm, frozen, full_precision, look, pgd
from medrobust.attacks.square import square
from medrobust.attacks.worst import class_margin, wrong
from medrobust.errors import MedrobustError
from medrobust.losses import (
    Loss,
    class_margin_loss,
    dlr_loss,
    margin_loss,
    one_against_rest,
    rank_scores,
    sigmoid_loss,
    softmax_loss,
    targeted_dlr_loss,
    targeted_margin_loss,
    towards,
)

SuiteName = Literal["fast", "strong", "pgd", "apgd", "fgsm", "square"]
LossName = Literal["margin", "cross-entropy", "dlr"]
MOST_TARGETS = 9
"""Classes aimed at, the likeliest first, as in AutoAttack."""


@dataclass(frozen=True)
class Budget:
    """How much an attack may cost; the suites' own budgets where it is None."""

    steps: int | None = None
    restarts: int | None = None
    queries: int | None = None
    loss: LossName | None = None
    """Of a single attack; the suites choose theirs."""


@dataclass(frozen=True)
class Member:
    """One attack of a suite."""

    name: str
    loss: Loss
    attack: Callable[..., Tensor]
    """(network, images, labels, keys, ball=, loss=) -> attacked images."""
    goal: Goal = field(default_factory=Goal)
    rank: int | None = None
    """Aim at the other class that is so likely on the unchanged image; None: at none."""
    from_images: bool = False
    """Start at the images themselves, so that one look at them serves every radius."""
    retires: bool = False
    """The question is only "broken or not": for images that are not broken yet."""
    black_box: bool = False
    """It costs thousands of passes, and may be shown a part of the images."""

    def labels(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The labels as this attack takes them: others unknown, or a target marked."""
        labels = self.goal.labels(labels)
        if self.rank is None:
            return labels
        with frozen(network):
            return towards(full_precision(network(images)), labels, self.rank)

    def look(self, network: nn.Module, images: Tensor, labels: Tensor) -> Look | None:
        """What all radii share; `labels` are those of `labels`."""
        if not self.from_images:
            return None
        with frozen(network):
            return look(network, images, labels, self.loss)

    def run(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        keys: Tensor,
        ball: Ball,
        first: Look | None,
        broken: Broken,
    ) -> Tensor:
        """The attacked images; `labels` and `first` are what the two methods above gave."""
        shared = {"first": first} if self.from_images else {}
        early = {"broken": broken} if self.retires else {}
        return self.attack(
            network, images, labels, keys, ball=ball, loss=self.loss, **shared, **early
        )


def suite_of(
    name: SuiteName,
    *,
    task: str,
    findings: int,
    norm: Norm,
    goals: Sequence[Goal] = (Goal(),),
    budget: Budget | None = None,
) -> list[Member]:
    """The attacks of a suite, or a single attack as a suite of one.

    Args:
        name: `fast`, `strong`, or one attack: `fgsm`, `pgd`, `apgd`, `square`.
        task: `multilabel` (sigmoids, also a single one) or `exclusive` (softmax).
        findings: number of logits.
        norm: of the ball; Square has no l1 form and is left out of `strong` there.
        goals: what the attacks are after; `strong` adds each finding alone to `total`.
        budget: other steps, restarts, queries or loss than usual.

    Raises:
        MedrobustError: no such suite, or a loss that does not fit the task.
    """
    if name not in get_args(SuiteName):
        raise MedrobustError(
            f"suite: expected one of {', '.join(get_args(SuiteName))}, found {name!r}"
        )
    budget = budget or Budget()
    if name == "strong":
        return _strong(task, findings, norm, goals, budget)
    if name == "fast":
        budget = replace(budget, steps=budget.steps or 20, loss=budget.loss or "margin")
        return [
            _member("margin-apgd", "apgd", goal, task, findings, budget, from_images=True)
            for goal in goals
        ]
    return [_member(name, name, goal, task, findings, budget) for goal in goals]


def _strong(
    task: str, findings: int, norm: Norm, goals: Sequence[Goal], budget: Budget
) -> list[Member]:
    def make(loss: LossName, attack: str, goal: Goal) -> Member:
        label = attack if attack == "square" else f"{loss}-{attack}"
        return _member(label, attack, goal, task, findings, replace(budget, loss=loss))

    members = []
    for goal in goals:
        members += [make("margin", "apgd", goal), make("cross-entropy", "apgd", goal)]
        if goal.kind == "total":
            members += _targeted(task, findings, budget)
            alone = findings if findings > 1 else 0  # on one sigmoid it is the margin again
            members += [make("margin", "apgd", Goal("finding", j)) for j in range(alone)]
    if norm != "l1":
        asked = [one for goal in goals for one in _each_alone(goal, task, findings)]
        members += [replace(make("margin", "square", goal), retires=True) for goal in asked]
    return members


def _each_alone(goal: Goal, task: str, findings: int) -> list[Goal]:
    """Of several sigmoids each is broken, or not, by itself; an image has one class."""
    if goal.kind != "total" or task == "exclusive" or findings == 1:
        return [goal]
    return [Goal("finding", column) for column in range(findings)]


def _targeted(task: str, findings: int, budget: Budget) -> list[Member]:
    """Aimed at each other class; with two classes that is the margin again."""
    if task != "exclusive" or findings < 3:
        return []
    loss = targeted_dlr_loss if findings >= 4 else targeted_margin_loss
    attack = _attack("apgd", budget)
    ranks = range(1, min(MOST_TARGETS, findings - 1) + 1)
    # whether the class changes is all they ask: each class's own score has members of its own
    return [
        Member(f"targeted-apgd-{rank}", loss, attack, rank=rank, retires=True) for rank in ranks
    ]


def _member(
    label: str,
    attack: str,
    goal: Goal,
    task: str,
    findings: int,
    budget: Budget,
    from_images: bool = False,
) -> Member:
    default: LossName = "margin" if attack in ("apgd", "square") else "cross-entropy"
    loss = _loss(budget.loss or default, task, findings, goal)
    # with restarts each starts somewhere else, so there is no common first look
    shared = from_images and (budget.restarts or 1) == 1
    return Member(
        *(label, loss, _attack(attack, budget), goal),
        from_images=shared,
        black_box=attack == "square",
    )


def _attack(name: str, budget: Budget) -> Callable[..., Tensor]:
    if name == "fgsm":
        return fgsm
    if name == "square":
        return partial(square, queries=budget.queries or 5000)
    steps = budget.steps or (20 if name == "pgd" else 100)
    return partial(pgd if name == "pgd" else apgd, steps=steps, restarts=budget.restarts or 1)


def _loss(name: LossName, task: str, findings: int, goal: Goal) -> Loss:
    """A loss that fits the task; of exclusive classes and one of them, against the rest."""
    if name == "dlr" and (task != "exclusive" or findings < 3 or goal.kind != "total"):
        raise MedrobustError(
            "loss dlr: expected at least 3 exclusive classes and the goal total, found "
            f"{findings} finding{'s' if findings != 1 else ''} of task {task} and goal "
            f"{goal.kind}; use margin or cross-entropy"
        )
    own: dict[str, Loss] = {"margin": margin_loss, "cross-entropy": sigmoid_loss}
    classes: dict[str, Loss] = {
        "margin": class_margin_loss,
        "cross-entropy": softmax_loss,
        "dlr": dlr_loss,
    }
    if task != "exclusive":
        return own[name]
    return classes[name] if goal.kind == "total" else one_against_rest(own[name])


def is_wrong(task: str, cuts: Tensor, goal: Goal | None = None) -> Broken:
    """What tells from logits that an image is broken: a finding, or the class, is wrong.

    The class decides for the goal `total` of exclusive classes; labels are those of the goal.
    """
    by_class = task == "exclusive" and (goal or Goal()).kind == "total"

    def broken(logits: Tensor, labels: Tensor) -> Tensor:
        if by_class:
            return class_margin(logits, labels) <= 0
        return wrong(rank_scores(logits, task), labels, cuts.to(logits)).any(1)

    return broken
