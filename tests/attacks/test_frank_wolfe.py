"""The oracle against SciPy and bisection; the search against known optima and its step rule."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from torch import Tensor, nn

from medrobust.attacks.apgd import checkpoints
from medrobust.attacks.frank_wolfe import corner, frank_wolfe
from medrobust.errors import MedrobustError
from medrobust.losses import sigmoid_loss
from medrobust.networks import build_backbone
from medrobust.randomness import image_keys, key, normal

KEYS = image_keys(key(0, "test"), torch.arange(32))
NORMS = [1.25, 1.5, 2.0, 3.0]


def best_change(slope: np.ndarray, centre: np.ndarray, radius: float, p: float) -> np.ndarray:
    """The corner of one image in [0, 1], by bisection of its optimality condition."""
    room = np.where(slope > 0, 1 - centre, centre) * (slope != 0)
    steep = np.abs(slope) / np.abs(slope).max(initial=1e-300)

    def change(log_factor: float) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.minimum(room, np.exp(log_factor) * steep ** (1 / (p - 1)))

    if (room**p).sum() <= radius**p:
        return np.sign(slope) * room
    factor = brentq(lambda x: (change(x) ** p).sum() - radius**p, -400, 600, xtol=1e-13)
    return np.sign(slope) * change(factor)


def cases(seed: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradients and images, with zeros among the ones and walls among the others."""
    rng = np.random.default_rng(seed)
    centre = rng.random((4, pixels))
    centre[0] = centre[0].round()
    slope = rng.normal(size=centre.shape) ** 3 * (rng.random(pixels) < 0.8)
    return slope, centre


def changes(slope: np.ndarray, centre: np.ndarray, radius: float, p: float) -> np.ndarray:
    there = corner(torch.from_numpy(slope), torch.from_numpy(centre), radius, p)
    return there.numpy() - centre


@pytest.mark.parametrize("scale", [1.0, 1e-16])
@pytest.mark.parametrize("p", NORMS)
def test_a_generic_solver_finds_the_same_corner(p: float, scale: float) -> None:
    slope, centre = cases(3, 8)
    radius = 0.4
    for one, middle, found in zip(
        slope, centre, changes(slope * scale, centre, radius, p), strict=True
    ):
        room = np.where(one > 0, 1 - middle, middle) * (one != 0)
        solved = minimize(
            lambda size, steep: -(steep * size).sum(),
            np.minimum(room, 0.01),
            args=(np.abs(one),),
            jac=lambda size, steep: -steep,
            bounds=[(0, top) for top in room],
            constraints={
                "type": "ineq",
                "fun": lambda size: radius**p - (size**p).sum(),
                "jac": lambda size: -p * size ** (p - 1),
            },
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        assert (one * found).sum() == pytest.approx(-solved.fun, abs=1e-6)
        lengths = [(np.abs(change) ** p).sum() ** (1 / p) for change in (found, solved.x)]
        assert lengths[0] == pytest.approx(lengths[1], abs=1e-6)
        assert lengths[0] == pytest.approx(min(radius, (room**p).sum() ** (1 / p)), abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    pixels=st.integers(1, 12),
    radius=st.floats(1e-3, 4),
    p=st.sampled_from([1.1, *NORMS, 8.0]),
    scale=st.sampled_from([1.0, 1e-16, 1e-200, 1e200]),
)
def test_the_corner_is_that_of_bisection(
    seed: int, pixels: int, radius: float, p: float, scale: float
) -> None:
    slope, centre = cases(seed, pixels)
    found = changes(slope * scale, centre, radius, p)
    expected = [best_change(w, x, radius, p) for w, x in zip(slope, centre, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert ((np.abs(found) ** p).sum(1) <= radius**p * (1 + 1e-9)).all()
    assert (found + centre).min() >= 0
    assert (found + centre).max() <= 1


def test_between_norms_the_limits_are_met() -> None:
    slope, centre = cases(5, 9)
    for exact, near in ((1.0, 1.0005), (math.inf, 5000.0)):
        np.testing.assert_allclose(
            changes(slope, centre, 0.3, near), changes(slope, centre, 0.3, exact), atol=2e-3
        )
    signs = np.sign(slope)
    expected = np.clip(centre + 0.3 * signs, 0, 1) - centre
    np.testing.assert_allclose(changes(slope, centre, 0.3, math.inf), expected, atol=1e-12)


def test_in_l2_far_from_walls_it_is_the_gradient() -> None:
    slope = np.array([[3.0, -4.0, 0.0]])
    found = changes(slope, np.full((1, 3), 0.5), 0.1, 2.0)
    np.testing.assert_allclose(found, [[0.06, -0.08, 0.0]], atol=1e-12)


@pytest.mark.parametrize("p", [1.0, 1.5, math.inf])
@pytest.mark.parametrize("gradient", [0.0, math.nan, math.inf, -math.inf])
def test_without_a_gradient_nothing_moves(gradient: float, p: float) -> None:
    images = torch.tensor([[[0.0, 0.2, 1.0]]])
    assert torch.equal(corner(torch.full_like(images, gradient), images, 0.5, p), images)


@pytest.mark.parametrize("p", [1.0, 1.5, math.inf])
def test_pixels_without_a_gradient_stay_among_others(p: float) -> None:
    images = torch.tensor([[0.5, 0.5, 0.5, 0.0, 1.0]])
    gradient = torch.tensor([[1.0, math.nan, 0.0, -9.0, 9.0]])
    found = corner(gradient, images, 0.25, p)
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.5, 0.5, 0.0, 1.0]]))


def test_radius_zero_moves_nothing_and_a_large_one_all_to_the_walls() -> None:
    images, gradient = torch.rand(2, 3, 4), torch.randn(2, 3, 4)
    for p in (1.0, 1.5, math.inf):
        torch.testing.assert_close(corner(gradient, images, 0.0, p), images)
        there = corner(gradient, images, 99.0, p)
        torch.testing.assert_close(there, (gradient > 0).to(images))


def test_shape_type_and_other_boxes() -> None:
    images = torch.rand(3, 2, 4, 5) * 2 - 1
    found = corner(torch.randn(3, 2, 4, 5), images, 1.0, 1.5, -1.0, 1.0)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert found.min() >= -1
    assert found.max() <= 1
    lengths = torch.linalg.vector_norm((found - images).flatten(1).double(), 1.5, 1)
    torch.testing.assert_close(lengths, torch.ones(3).double(), atol=1e-6, rtol=0)


class Linear(nn.Module):
    """w · x, with weights of very different size."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        drawn = torch.randn(pixels, generator=torch.Generator().manual_seed(3)).double()
        self.weight = nn.Parameter(drawn**3)

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.weight.to(images))[:, None]


class Bowl(nn.Module):
    """Minus the squared distance from a point inside the ball."""

    def forward(self, images: Tensor) -> Tensor:
        return -(images.flatten(1) - 0.55).square().sum(1, keepdim=True)


def first_logit(logits: Tensor, labels: Tensor) -> Tensor:
    return logits[:, 0]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = build_backbone("small", channels=1, outputs=3, width=4)
    with torch.no_grad():
        network(torch.rand(32, 1, 12, 12))
    return network.eval()


def images(count: int = 16) -> Tensor:
    return torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def labels(count: int = 16) -> Tensor:
    drawn = torch.randint(0, 2, (count, 3), generator=torch.Generator().manual_seed(2))
    return drawn.float()


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, math.inf])
def test_the_optimum_of_a_linear_model(p: float) -> None:
    model, centre = Linear(144).double(), images().double()
    radius = 0.8 if p < math.inf else 0.03
    found = frank_wolfe(
        *(model, centre, torch.zeros(16, 1), KEYS[:16]),
        **{"radius": radius, "loss": first_logit, "p": p},
    )
    slope = model.weight.detach().expand(16, -1).reshape(centre.shape)
    best = model(corner(slope, centre, radius, p)).detach()
    torch.testing.assert_close(model(found).detach(), best, rtol=0, atol=1e-6)


def test_small_shares_find_an_optimum_inside_the_ball() -> None:
    centre = torch.full((2, 1, 3, 3), 0.5).double()
    model, given = Bowl(), {"radius": 1.0, "loss": first_logit}
    coarse, fine = (
        -model(frank_wolfe(model, centre, torch.zeros(2, 1), KEYS[:2], **given, steps=steps))
        for steps in (10, 300)
    )
    assert (fine < 1e-4).all()
    assert (fine < coarse / 4).all()


def test_the_first_steps_are_those_of_the_rule() -> None:
    centre = torch.full((1, 1, 1, 2), 0.5).double()
    seen: list[Tensor] = []
    settings = {"radius": 0.1, "loss": first_logit, "p": 2.0, "steps": 2}
    model = Linear(2).double()
    frank_wolfe(
        *(model, centre, torch.zeros(1, 1), KEYS[:1]),
        **settings,
        watch=lambda step, best: seen.append(best.clone()),
    )
    there = corner(model.weight.detach().reshape(centre.shape), centre, 0.1, 2.0)
    # each step leaves a quarter of the way to the corner, the same for all of a linear model
    torch.testing.assert_close((there - seen[1]), (there - seen[0]) / 4)


def by_hand(network: nn.Module, image: Tensor, label: Tensor, start: Tensor, steps: int) -> Tensor:
    """One image's search, as plainly as the paper tells it (radius 2, p = 1.5)."""

    def measured(point: Tensor) -> tuple[float, Tensor]:
        point = point.detach().requires_grad_()
        value = sigmoid_loss(network(point), label).sum()
        return value.item(), torch.autograd.grad(value, point)[0]

    best = (*measured(image), image)
    here = (*measured(start), start)
    best = max(best, here, key=lambda found: found[0])
    share, halved, rises, old, last = 0.75, False, 0, best[0], 0
    for number in range(1, steps + 1):
        there = here[2] + share * (corner(here[1], image, 2.0, 1.5) - here[2])
        new = (*measured(there), there)
        rises += new[0] > here[0]
        here, best = new, max(best, new, key=lambda found: found[0])
        if number in checkpoints(steps):
            halved = rises <= 0.75 * (number - last) or (not halved and old == best[0])
            share, here = (share / 2, best) if halved else (share, here)
            rises, old, last = 0, best[0], number
    return best[2]


def test_it_is_the_search_of_the_paper(network: nn.Module) -> None:
    network, clean, given = network.double(), images(6).double(), labels(6).double()
    noise = normal(image_keys(key("frank-wolfe"), KEYS[:6]), clean.shape[1:]).double()
    starts = corner(noise, clean, 2.0, 1.5)
    expected = torch.cat(
        [
            by_hand(network, clean[n : n + 1], given[n : n + 1], starts[n : n + 1], 40)
            for n in range(6)
        ]
    )
    settings = {"radius": 2.0, "loss": sigmoid_loss, "steps": 40}
    found = frank_wolfe(network, clean, given, KEYS[:6], **settings)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_it_stays_in_ball_and_box_and_never_loses(network: nn.Module) -> None:
    clean, given, seen = images(), labels(), []
    settings = {"radius": 2.0, "loss": sigmoid_loss, "steps": 20}

    def watch(step: int, best: Tensor) -> None:
        with torch.no_grad():
            seen.append((step, sigmoid_loss(network(best), given)))

    found = frank_wolfe(network, clean, given, KEYS[:16], **settings, watch=watch)
    lengths = torch.linalg.vector_norm((found - clean).flatten(1).double(), 1.5, 1)
    assert (lengths <= 2 * (1 + 1e-5)).all()
    assert found.min() >= 0
    assert found.max() <= 1
    with torch.no_grad():
        before = sigmoid_loss(network(clean), given)
    losses = torch.stack([before, *(value for _, value in seen)])
    assert (losses.diff(dim=0) >= -1e-6).all()
    assert (losses[-1] > before + 0.01).all()
    assert [step for step, _ in seen] == list(range(1, 21))


def test_an_image_does_not_depend_on_its_batch(network: nn.Module) -> None:
    network, clean, given = network.double(), images(5).double(), labels(5).double()
    settings = {"radius": 1.0, "loss": sigmoid_loss, "steps": 15}
    together = frank_wolfe(network, clean, given, KEYS[:5], **settings)
    alone = [
        frank_wolfe(network, clean[n : n + 1], given[n : n + 1], KEYS[n : n + 1], **settings)
        for n in range(5)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-9)


def test_keys_decide_the_start(network: nn.Module) -> None:
    clean, settings = images(2), {"radius": 1.0, "loss": sigmoid_loss, "steps": 2}
    one, same, other = (
        frank_wolfe(network, clean, labels(2), keys, **settings)
        for keys in (KEYS[:2], KEYS[:2], KEYS[2:4])
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_network_is_left_as_it_was(network: nn.Module) -> None:
    network.train()
    before = copy.deepcopy(network.state_dict())
    found = frank_wolfe(
        network, images(4), labels(4), KEYS[:4], radius=1.0, loss=sigmoid_loss, steps=3
    )
    assert network.training
    assert not found.requires_grad
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_radius_zero_is_the_image(network: nn.Module) -> None:
    clean = images(4)
    found = frank_wolfe(network, clean, labels(4), KEYS[:4], radius=0.0, loss=sigmoid_loss, steps=3)
    assert torch.equal(found, clean)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"p": 0.5}, "p: expected a norm's number ≥ 1, found 0.5"),
        ({"p": math.nan}, "p: expected a norm's number ≥ 1, found nan"),
        ({"radius": -1.0}, "radius: expected a finite number ≥ 0, found -1.0"),
        ({"radius": math.inf}, "radius: expected a finite number ≥ 0, found inf"),
        ({"steps": 0}, "attack: expected at least 1 step and 1 restart, found 0 and 1"),
        ({"first_step": 0.0}, "first step: expected a share above 0 up to 1, found 0.0"),
        ({"first_step": 1.5}, "first step: expected a share above 0 up to 1, found 1.5"),
    ],
)
def test_settings_that_cannot_be(network: nn.Module, wrong: dict[str, float], message: str) -> None:
    given = {"radius": 1.0, "loss": sigmoid_loss} | wrong
    with pytest.raises(MedrobustError) as refused:
        frank_wolfe(network, images(2), labels(2), KEYS[:2], **given)
    assert str(refused.value) == message
