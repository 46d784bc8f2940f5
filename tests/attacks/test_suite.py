"""Suites reach optima that are known, and ask for no more than they must."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from medrobust.attacks import Ball
from medrobust.attacks.ball import Norm
from medrobust.attacks.goals import Goal
from medrobust.attacks.suite import Budget, Member, is_wrong, suite_of
from medrobust.attacks.worst import Worst
from medrobust.errors import MedrobustError
from medrobust.losses import TARGET
from medrobust.randomness import image_keys, key

RADII: dict[Norm, float] = {"linf": 0.05, "l2": 0.2, "l1": 0.6}
NAN = float("nan")
IMAGES, PIXELS = 8, 16


class Kinked(nn.Module):
    """w·x and ReLUs of steeper and flatter parts of it, which bend inside the ball; convex."""

    def __init__(self, kinks: int) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.slope = torch.randn(PIXELS, generator=source).double()
        stretch = 0.5 + torch.rand(kinks, PIXELS, generator=source).double()
        self.parts = stretch * self.slope
        self.shift = -0.5 * self.parts.sum(1)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return (flat @ self.slope + (flat @ self.parts.T + self.shift).relu().sum(1))[:, None]


def centres() -> Tensor:
    """Images away from the walls, around the kinks."""
    drawn = torch.rand(IMAGES, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return (0.45 + 0.1 * drawn).double()


def linear_rise(slope: Tensor, norm: Norm) -> float:
    """The most a linear function rises, away from walls (l1: each pixel at most to its wall)."""
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    return RADII[norm] * float(torch.linalg.vector_norm(slope, dual))


def highest(model: Kinked, image: Tensor, norm: Norm) -> float:
    """Of a convex function: the best of the optima of its linear pieces."""
    flat, found = image.flatten(), []
    for pattern in product((0.0, 1.0), repeat=len(model.parts)):
        on = torch.tensor(pattern).double()
        slope = model.slope + on @ model.parts
        rise = one_norm_rise(slope, flat) if norm == "l1" else linear_rise(slope, norm)
        found.append(float(flat @ slope + on @ model.shift) + rise)
    return max(found)


def one_norm_rise(slope: Tensor, flat: Tensor) -> float:
    """The steepest pixels first, each as far as its wall."""
    left, rise = RADII["l1"], 0.0
    for pixel in slope.abs().argsort(descending=True).tolist():
        room = float(1 - flat[pixel] if slope[pixel] > 0 else flat[pixel])
        rise += float(slope[pixel].abs()) * min(left, room)
        left -= min(left, room)
    return rise


def lowest(model: Kinked, image: Tensor, norm: Norm) -> float:
    """Of a convex function: a linear program; in l2 the largest of the dual's values."""
    x, slope = image.flatten().numpy(), model.slope.numpy()
    parts, shift, kinks = model.parts.numpy(), model.shift.numpy(), len(model.shift)
    if norm == "l2":

        def dual(on: np.ndarray) -> float:
            direction = slope + on @ parts
            return -float(direction @ x + on @ shift - RADII["l2"] * np.linalg.norm(direction))

        bounds = [(0, 1)] * kinks
        starts = [np.array(start) for start in product((0.1, 0.9), repeat=kinks)] if kinks else []
        found = [minimize(dual, start, bounds=bounds, tol=1e-12).fun for start in starts]
        return -min(found) if kinks else -dual(np.zeros(0))
    radius, none, one = RADII[norm], np.zeros((PIXELS, kinks)), np.eye(PIXELS)
    # variables: the image, the ReLUs, and how far each pixel is from where it was
    bends = np.hstack([parts, -np.eye(kinks), np.zeros((kinks, PIXELS))])
    apart = np.vstack([np.hstack([one, none, -one]), np.hstack([-one, none, -one])])
    length = np.hstack([np.zeros(PIXELS + kinks), np.ones(PIXELS)])[None]
    matrices, limits = [bends, apart], [-shift, x, -x]
    if norm == "l1":
        matrices, limits = [*matrices, length], [*limits, np.array([radius])]
    furthest = (0, radius) if norm == "linf" else (0, None)
    program = linprog(
        np.hstack([slope, np.ones(kinks), np.zeros(PIXELS)]),
        np.vstack(matrices),
        np.concatenate(limits),
        bounds=[(0, 1)] * PIXELS + [(0, None)] * kinks + [furthest] * PIXELS,
    )
    return float(program.fun)


def worst_of(
    members: list[Member], model: nn.Module, images: Tensor, labels: Tensor, ball: Ball
) -> Worst:
    """All members, one after the other, as an evaluation does it."""
    keys, rows = image_keys(key(0, "test"), torch.arange(len(images))), torch.arange(len(images))
    task = "multilabel"
    worst = Worst(model(images), labels, task, images, torch.zeros(len(images)).bool())
    for member in members:
        own = member.labels(model, images, labels)
        first = member.look(model, images, own)
        never = lambda logits, labels: torch.zeros(len(logits)).bool()  # noqa: E731
        attacked = member.run(model, images, own, keys, ball, first, never)
        worst.see(model(attacked), rows, attacked)
    return worst


@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("kinks", [0, 2])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_strong_reaches_the_optimum(norm: Norm, kinks: int, label: float) -> None:
    model, images = Kinked(kinks), centres()
    members = suite_of(
        "strong", task="multilabel", findings=1, norm=norm, budget=Budget(queries=20)
    )
    labels = torch.full((IMAGES, 1), label)
    worst = worst_of(members, model, images, labels, Ball(norm, RADII[norm]))
    optimum = lowest if label else highest
    expected = [optimum(model, image, norm) for image in images]
    assert worst.scores[:, 0].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("norm", RADII)
def test_the_optima_lie_on_other_pieces_than_the_images(norm: Norm) -> None:
    model, images = Kinked(2), centres()
    for optimum, sign in ((highest, 1), (lowest, -1)):
        bent = 0
        for image in images:
            on = (model.parts @ image.flatten() + model.shift > 0).double()
            steepness = linear_rise(model.slope + on @ model.parts, norm)
            expected = float(model(image[None])) + sign * steepness
            bent += abs(optimum(model, image, norm) - expected) > 0.01
        assert bent >= 3


@pytest.mark.parametrize("norm", RADII)
def test_fast_is_near_the_optimum(norm: Norm) -> None:
    model, images = Kinked(2), centres()
    members = suite_of("fast", task="multilabel", findings=1, norm=norm)
    labels = torch.zeros(IMAGES, 1)
    worst = worst_of(members, model, images, labels, Ball(norm, RADII[norm]))
    expected = np.array([highest(model, image, norm) for image in images])
    rises = expected - model(images)[:, 0].numpy()
    assert (worst.scores[:, 0].numpy() <= expected + 1e-9).all()
    assert (expected - worst.scores[:, 0].numpy() < 0.02 * rises).all()


STRONG = {
    ("multilabel", 1, "linf"): ["margin-apgd", "cross-entropy-apgd", "square"],
    ("multilabel", 3, "l2"): [
        *("margin-apgd", "cross-entropy-apgd"),
        *("margin-apgd", "margin-apgd", "margin-apgd", "square", "square", "square"),
    ],
    ("multilabel", 2, "l1"): ["margin-apgd", "cross-entropy-apgd", "margin-apgd", "margin-apgd"],
    ("exclusive", 2, "linf"): [
        *("margin-apgd", "cross-entropy-apgd"),
        *("margin-apgd", "margin-apgd", "square"),
    ],
    ("exclusive", 4, "l1"): [
        *("margin-apgd", "cross-entropy-apgd"),
        *("targeted-apgd-1", "targeted-apgd-2", "targeted-apgd-3"),
        *("margin-apgd", "margin-apgd", "margin-apgd", "margin-apgd"),
    ],
}


@pytest.mark.parametrize(("case", "expected"), STRONG.items())
def test_members_of_strong(case: tuple[str, int, Norm], expected: list[str]) -> None:
    task, findings, norm = case
    members = suite_of("strong", task=task, findings=findings, norm=norm)
    assert [member.name for member in members] == expected
    black_box = [member for member in members if member.black_box]
    # whose question is only "broken or not"
    assert [m for m in members if m.retires] == [m for m in members if m.black_box or m.rank]
    assert {member.name for member in black_box} == ({"square"} if norm != "l1" else set())
    each = list(range(findings)) if findings > 1 else []
    aimed = [m.goal.finding for m in members if m.goal.kind == "finding" and not m.black_box]
    assert aimed == each
    if black_box and task == "multilabel":  # each sigmoid is broken, or not, by itself
        assert [member.goal.finding for member in black_box] == (each or [None])


def test_at_most_nine_classes_are_aimed_at() -> None:
    members = suite_of("strong", task="exclusive", findings=12, norm="linf")
    assert [member.rank for member in members if member.rank] == list(range(1, 10))


def test_a_goal_has_its_own_members() -> None:
    goals = [Goal("vanish", 1)]
    strong = suite_of("strong", task="multilabel", findings=3, norm="linf", goals=goals)
    assert [member.name for member in strong] == ["margin-apgd", "cross-entropy-apgd", "square"]
    assert {member.goal for member in strong} == set(goals)
    each = [Goal("finding", column) for column in range(3)]
    fast = suite_of("fast", task="multilabel", findings=3, norm="linf", goals=each)
    assert [member.goal for member in fast] == each


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "square"])
def test_a_single_attack_is_a_suite_of_one(name: str) -> None:
    (member,) = suite_of(name, task="multilabel", findings=3, norm="linf")  # type: ignore[arg-type]
    assert member.name == name
    assert not member.retires
    assert not member.from_images


def test_budgets() -> None:
    def budget_of(member: Member) -> dict[str, object]:
        assert isinstance(member.attack, partial)
        return member.attack.keywords

    usual = partial(suite_of, task="multilabel", findings=1, norm="linf")
    assert [budget_of(one) for one in usual("strong")] == [
        *[{"steps": 100, "restarts": 1}] * 2,
        {"queries": 5000},
    ]
    assert budget_of(usual("fast")[0]) == {"steps": 20, "restarts": 1}
    assert budget_of(usual("pgd")[0]) == {"steps": 20, "restarts": 1}
    other = Budget(steps=7, restarts=3, queries=50)
    assert budget_of(usual("apgd", budget=other)[0]) == {"steps": 7, "restarts": 3}
    assert budget_of(usual("square", budget=other)[0]) == {"queries": 50}


def test_fast_looks_at_the_images_once_unless_it_restarts() -> None:
    (once,) = suite_of("fast", task="multilabel", findings=1, norm="linf")
    (twice,) = suite_of(
        "fast", task="multilabel", findings=1, norm="linf", budget=Budget(restarts=2)
    )
    assert once.from_images
    assert not twice.from_images
    images, labels = centres(), torch.ones(IMAGES, 1)
    value, gradient = once.look(Kinked(0), images, labels) or (None, None)
    torch.testing.assert_close(value, -Kinked(0)(images)[:, 0])
    torch.testing.assert_close(gradient, -Kinked(0).slope.reshape(1, 1, 4, 4).expand_as(images))
    assert twice.look(Kinked(0), images, labels) is None


def test_a_target_is_the_likeliest_other_class_of_the_unchanged_image() -> None:
    targeted = suite_of("strong", task="exclusive", findings=4, norm="linf")[2:5]
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    labels = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    found = [member.labels(nn.Identity(), logits, labels).tolist()[0] for member in targeted]
    assert found == [
        [TARGET, 1.0, 0.0, 0.0],
        [0.0, 1.0, TARGET, 0.0],
        [0.0, 1.0, 0.0, TARGET],
    ]


def test_no_such_suite() -> None:
    with pytest.raises(MedrobustError) as refused:
        suite_of("slow", task="multilabel", findings=1, norm="linf")  # type: ignore[arg-type]
    assert str(refused.value) == (
        "suite: expected one of fast, strong, pgd, apgd, fgsm, square, found 'slow'"
    )


@pytest.mark.parametrize(
    ("task", "findings", "goal", "found"),
    [
        ("exclusive", 2, Goal(), "2 findings of task exclusive and goal total"),
        ("multilabel", 5, Goal(), "5 findings of task multilabel and goal total"),
        ("multilabel", 1, Goal(), "1 finding of task multilabel and goal total"),
        ("exclusive", 5, Goal("vanish", 0), "5 findings of task exclusive and goal vanish"),
    ],
)
def test_dlr_that_does_not_fit(task: str, findings: int, goal: Goal, found: str) -> None:
    with pytest.raises(MedrobustError) as refused:
        suite_of(
            *("apgd",),
            task=task,
            findings=findings,
            norm="linf",
            goals=[goal],
            budget=Budget(loss="dlr"),
        )
    assert str(refused.value) == (
        "loss dlr: expected at least 3 exclusive classes and the goal total, found "
        f"{found}; use margin or cross-entropy"
    )


class TestIsWrong:
    """What retires an image."""

    logits = torch.tensor([[1.0, -1.0, 0.0], [2.0, -1.0, 3.0]])

    def broken(self, task: str, labels: list[list[float]], goal: Goal | None = None) -> list[bool]:
        broken: Callable[[Tensor, Tensor], Tensor] = is_wrong(task, torch.zeros(3), goal)
        return list(broken(self.logits, torch.tensor(labels)).tolist())

    def test_any_known_finding(self) -> None:
        assert self.broken("multilabel", [[1, 0, 1], [1, 0, 1]]) == [False, False]
        assert self.broken("multilabel", [[1, 0, 0], [1, 1, 1]]) == [True, True]
        assert self.broken("multilabel", [[1, 0, NAN], [NAN, NAN, NAN]]) == [False, False]

    def test_the_class(self) -> None:
        assert self.broken("exclusive", [[1, 0, 0], [1, 0, 0]]) == [False, True]
        assert self.broken("exclusive", [[NAN, NAN, NAN], [0, 0, 1]]) == [False, False]

    def test_one_class_against_the_rest(self) -> None:
        # of the second image class 0 has p = 0.27 and class 2 has p = 0.72
        goal = Goal("finding", 0)
        assert self.broken("exclusive", [[1, NAN, NAN], [1, NAN, NAN]], goal) == [False, True]
        assert self.broken("exclusive", [[0, NAN, NAN], [0, NAN, NAN]], goal) == [True, False]
