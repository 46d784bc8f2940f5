"""Moves in a circle are left out, and nothing else changes."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medrobust.attacks import Ball, pgd
from medrobust.attacks.circles import moved_often
from medrobust.attacks.gradient import MANY, ascent
from medrobust.losses import sigmoid_loss


class Walk:
    """Each image holds a number that follows a table of successors; counts its moves."""

    def __init__(self, follows: list[int]) -> None:
        self.follows = torch.tensor(follows, dtype=torch.float32)
        self.moves = 0

    def __call__(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        self.moves += len(images)
        return self.follows[images.long()]


@given(
    st.lists(st.integers(0, 11), min_size=12, max_size=12),
    st.lists(st.integers(0, 11), min_size=1, max_size=6),
    st.integers(0, 60),
)
def test_any_walk_ends_where_all_its_moves_would_lead(
    follows: list[int], starts: list[int], times: int
) -> None:
    walk = Walk(follows)
    images = torch.tensor(starts, dtype=torch.float32)[:, None]
    expected = images
    for _ in range(times):
        expected = walk(expected)
    walk.moves = 0
    assert torch.equal(moved_often(walk, images, times), expected)
    # with 12 places a walk is back within 12 moves, and what is left over is below 12
    assert walk.moves <= len(starts) * min(times, 24)


def test_images_that_never_come_back_make_all_moves() -> None:
    images = torch.zeros(3, 1)
    assert moved_often(lambda moved, rows: moved + 1, images, 70).eq(70).all()
    assert images.eq(0).all()


class Counting(nn.Module):
    """A convex loss with its maximum inside the ball, in one pixel; counts what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0

    def forward(self, images: Tensor) -> Tensor:
        self.shown += len(images)
        return -(images - 0.51).abs().flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("steps", [MANY, MANY + 1, 200])
def test_pgd_of_many_steps_is_the_plain_loop_in_fewer_passes(steps: int) -> None:
    network, ball, size = Counting(), Ball("linf", 0.0625), 0.015625
    images = torch.rand(4, 1, 3, 3, dtype=torch.float64) * 0.02 + 0.5
    labels, keys = torch.zeros(4, 1), torch.arange(4)
    expected = images
    for _ in range(steps):
        gradient = ascent(network, expected, labels, sigmoid_loss)
        expected = ball.project(ball.step(expected, gradient, size), images)
    network.shown = 0
    attack = partial(pgd, ball=ball, loss=sigmoid_loss, step_size=size, random_start=False)
    found = attack(network, images, labels, keys, steps=steps)
    assert torch.equal(found, expected)
    assert network.shown < 4 * steps / 3
