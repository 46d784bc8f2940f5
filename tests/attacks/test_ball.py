import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medrobust.attacks.ball import Ball
from medrobust.errors import MedrobustError
from medrobust.randomness import image_keys, key

NORMS = ("linf", "l2")
KEYS = image_keys(key(0, "test"), torch.arange(4000))


def distance(one: Tensor, other: Tensor, norm: str) -> Tensor:
    return torch.linalg.vector_norm((one - other).flatten(1), torch.inf if norm == "linf" else 2, 1)


@st.composite
def pictures(draw: st.DrawFn) -> Tensor:
    """Images with many exact zeros and ones, as X-rays have."""
    shape = draw(st.sampled_from([(3, 1, 4, 5), (2, 3, 2, 2), (2, 1, 2, 3, 2)]))
    values = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32))
    count = int(torch.Size(shape).numel())
    return torch.tensor(draw(st.lists(values, min_size=count, max_size=count))).reshape(shape)


@settings(max_examples=60, deadline=None)
@given(images=pictures(), norm=st.sampled_from(NORMS), radius=st.floats(0, 3), seed=st.integers())
def test_start_step_and_projection_stay_in_ball_and_box(
    images: Tensor, norm: str, radius: float, seed: int
) -> None:
    ball = Ball(norm, radius)  # type: ignore[arg-type]
    start = ball.start(images, image_keys(seed % 2**63, torch.arange(len(images))))
    gradient = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed % 2**32))
    moved = ball.project(ball.step(start, gradient, 2 * radius), images)
    for found in (start, moved):
        assert (distance(found, images, norm) <= radius * (1 + 1e-5) + 1e-6).all()
        assert found.min() >= 0
        assert found.max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_projection_leaves_points_inside_alone(norm: str) -> None:
    ball, centre = Ball(norm, 0.5), torch.full((2, 1, 3, 3), 0.5)  # type: ignore[arg-type]
    inside = centre + 0.01
    torch.testing.assert_close(ball.project(inside, centre), inside)
    torch.testing.assert_close(ball.project(centre, centre), centre)


def test_l2_start_is_uniform_in_the_ball() -> None:
    centre = torch.full((4000, 1, 1, 3), 0.5)
    offset = (Ball("l2", 0.4).start(centre, KEYS) - centre).flatten(1)
    volume = (offset.norm(dim=1) / 0.4) ** 3  # uniform in [0, 1] for a uniform point in 3-D
    assert abs(float(volume.mean()) - 0.5) < 0.02
    assert abs(float((volume < 0.25).float().mean()) - 0.25) < 0.03
    assert offset.mean(0).abs().max() < 0.01


def test_linf_start_is_uniform_in_the_cube() -> None:
    centre = torch.full((4000, 1, 1, 3), 0.5)
    offset = (Ball("linf", 0.4).start(centre, KEYS) - centre).flatten(1) / 0.4
    assert offset.mean(0).abs().max() < 0.03
    assert abs(float((offset.abs() < 0.5).float().mean()) - 0.5) < 0.02


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_l2_step_has_its_length_whatever_the_gradients_size(size: float) -> None:
    images = torch.full((2, 1, 4, 4), 0.5)
    gradient = torch.randn(2, 1, 4, 4) * size
    moved = Ball("l2", 1).step(images, gradient, 0.25)
    torch.testing.assert_close(distance(moved, images, "l2"), torch.full((2,), 0.25))


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_no_step_and_no_nan(norm: str) -> None:
    images = torch.rand(2, 1, 4, 4)
    ball = Ball(norm, 1)  # type: ignore[arg-type]
    assert torch.equal(ball.step(images, torch.zeros_like(images), 0.1), images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("l3", 0.1), "norm: expected one of .*'linf', 'l2'.*, found 'l3'"),
        (("linf", -0.1), "eps: expected a finite number ≥ 0, found -0.1"),
        (("l2", float("nan")), "eps: expected a finite number ≥ 0, found nan"),
        (("l2", 1.0, 1.0, 0.0), r"box: expected low < high, found \[1.0, 0.0\]"),
    ],
)
def test_bad_balls(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(MedrobustError, match=message):
        Ball(*arguments)  # type: ignore[arg-type]
