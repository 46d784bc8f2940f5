"""The l1 projection against a bisection of the same optimality condition, and against SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from medrobust.attacks.l1 import l1_corner, project_l1, sparse_direction


def bisected(wanted: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """The projection of one image in [0, 1]."""
    change = wanted - centre
    room = np.where(change > 0, 1 - centre, centre)
    size = np.abs(change)
    low, high = 0.0, float(size.max(initial=0))
    if np.minimum(size, room).sum() > radius:
        for _ in range(200):
            middle = (low + high) / 2
            length = np.clip(size - middle, 0, room).sum()
            low, high = (middle, high) if length > radius else (low, middle)
    else:
        high = 0.0
    return centre + np.sign(change) * np.clip(size - high, 0, room)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), pixels=st.integers(1, 9), radius=st.floats(0, 3))
def test_projection_is_that_of_bisection(seed: int, pixels: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.random((4, pixels))
    centre[0] = centre[0].round()  # walls, as X-rays have them
    wanted = centre + rng.normal(0, rng.random() * 2, centre.shape) * (rng.random(pixels) < 0.7)
    found = project_l1(torch.from_numpy(wanted), torch.from_numpy(centre), radius, 0, 1).numpy()
    for one, middle, goal in zip(found, centre, wanted, strict=True):
        np.testing.assert_allclose(one, bisected(goal, middle, radius), atol=1e-9)
        assert np.abs(one - middle).sum() <= radius + 1e-9
    assert found.min() >= 0
    assert found.max() <= 1


def test_nothing_in_ball_and_box_is_nearer() -> None:
    centre = np.array([0.1, 0.9, 0.5, 0.0])
    wanted = np.array([-0.6, 1.4, 0.8, 0.3])
    near = minimize(
        lambda point: ((point - wanted) ** 2).sum(),
        centre,
        bounds=[(0, 1)] * 4,
        constraints={"type": "ineq", "fun": lambda point: 0.4 - np.abs(point - centre).sum()},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    found = project_l1(torch.tensor(wanted)[None], torch.tensor(centre)[None], 0.4, 0, 1)[0]
    np.testing.assert_allclose(found.numpy(), near.x, atol=1e-5)


def test_shape_and_type_stay() -> None:
    images = torch.rand(3, 2, 4, 5)
    found = project_l1(images + 0.3, images, 1.0, 0, 1)
    assert found.shape == images.shape
    assert found.dtype == torch.float32


@pytest.mark.parametrize(("share", "moving"), [(1e-9, 1), (0.25, 2), (0.5, 4), (1.0, 7)])
def test_sparse_directions(share: float, moving: int) -> None:
    gradient = torch.tensor([[[3.0, -7.0], [0.0, 1.0]], [[-2.0, 4.0], [6.0, -5.0]]])[None]
    direction = sparse_direction(gradient, torch.tensor([share]))
    assert int((direction != 0).sum()) == moving
    assert float(direction.abs().sum()) == pytest.approx(1)
    assert (direction.sign() * gradient.sign() >= 0).all()
    assert float(direction[0, 0, 0, 1]) < 0  # the largest one always moves


def test_nothing_moves_without_a_gradient() -> None:
    assert not sparse_direction(torch.zeros(2, 1, 3, 3), torch.ones(2)).any()


@pytest.mark.parametrize("radius", [0.0, 0.3, 2.0, 50.0])
def test_the_corner_is_the_optimum_of_a_linear_program(radius: float) -> None:
    rng = np.random.default_rng(0)
    centre, gradient = rng.random((5, 12)), rng.normal(size=(5, 12)).round(1)
    gradient[0, :4] = 0
    found = l1_corner(torch.from_numpy(gradient), torch.from_numpy(centre), radius, 0, 1).numpy()
    assert found.min() >= 0
    assert found.max() <= 1
    assert (np.abs(found - centre).sum(1) <= radius + 1e-9).all()
    assert (found[gradient == 0] == centre[gradient == 0]).all()
    for x, slope, corner in zip(centre, gradient, found, strict=True):
        one = np.eye(12)
        apart = np.block([[one, -one], [-one, -one], [np.zeros((1, 12)), np.ones((1, 12))]])
        limits = np.concatenate([x, -x, [radius]])
        cost = np.concatenate([-slope, np.zeros(12)])
        program = linprog(cost, apart, limits, bounds=[(0, 1)] * 12 + [(0, None)] * 12)
        assert slope @ corner == pytest.approx(-program.fun, abs=1e-7)


def test_the_corner_of_images_in_single_precision() -> None:
    centre = torch.tensor([[[[0.5, 0.9]]]])
    gradient = torch.tensor([[[[1.0, -2.0]]]])
    corner = l1_corner(gradient, centre, 1.0, 0.0, 1.0)
    torch.testing.assert_close(corner, torch.tensor([[[[0.6, 0.0]]]]))
