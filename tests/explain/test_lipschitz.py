"""Lower bounds: attained where the answer is known, and never above what is proved."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from medrobust.attacks import Ball
from medrobust.errors import MedrobustError
from medrobust.explain.lipschitz import lipschitz_lower_bound
from medrobust.networks import build_backbone
from medrobust.randomness import image_keys, key

KEYS = image_keys(key(0, "test"), torch.arange(5))
DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}
RADII = {"linf": 0.03, "l2": 0.3, "l1": 0.5}


def images(count: int = 5, low: float = 0.0, high: float = 1.0) -> Tensor:
    drawn = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    return low + (high - low) * drawn


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        drawn = torch.randn(3, 36, generator=torch.Generator().manual_seed(0)).double()
        self.weight = nn.Parameter(drawn)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("column", [0, 2])
def test_of_a_linear_logit_it_is_the_weights_dual_norm(norm: str, column: int) -> None:
    model, shown = Linear(), images(low=0.4, high=0.6)
    found = lipschitz_lower_bound(
        model, shown, KEYS, ball=Ball(norm, 0.3 * RADII[norm]), column=column, steps=30
    )
    expected = torch.linalg.vector_norm(model.weight[column].detach(), DUAL[norm])
    torch.testing.assert_close(found, expected.expand(5), rtol=1e-5, atol=0)


def test_of_all_linear_logits_it_is_the_best_choice_of_signs() -> None:
    model = Linear()
    found = lipschitz_lower_bound(
        model, images(low=0.4, high=0.6), KEYS, ball=Ball("l2", 0.1), steps=100
    )
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))).double()
    expected = (signs @ model.weight.detach()).norm(dim=1).max()
    assert (found <= expected * (1 + 1e-9)).all()
    assert found.max() > 0.999 * expected
    assert found.min() > 0.8 * expected  # ascent may end at another choice of signs


def test_of_a_weight_towards_a_wall_there_is_no_secant() -> None:
    class Sum(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).sum(1, keepdim=True)

    shown = torch.zeros(1, 1, 2, 2).double()
    shown[0, 0, 0] = 1  # two pixels can only fall, two can only rise
    found = lipschitz_lower_bound(Sum(), shown, KEYS[:1], ball=Ball("linf", 0.1))
    torch.testing.assert_close(found, torch.tensor([2.0]).double(), rtol=1e-9, atol=0)


def relu_network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 2)).double()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", range(3))
def test_never_above_the_product_of_the_layers_norms(norm: str, seed: int) -> None:
    network, shown = relu_network(seed), images()
    ball = Ball(norm, RADII[norm])
    first, last = network[1].weight.detach(), network[3].weight.detach()[1]
    if norm == "l2":
        bound = torch.linalg.matrix_norm(first, 2) * last.norm()
    else:
        bound = first.abs().sum(1).max() * last.abs().sum()
    found = lipschitz_lower_bound(network, shown, KEYS, ball=ball, column=1)
    assert (found > 0).all()
    assert (found < bound).all()


def test_between_a_dense_search_and_the_steepest_piece() -> None:
    """Two inputs and few units: every piece of the network can be written down."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 1)).double()
    centre, radius = torch.full((1, 1, 1, 2), 0.5).double(), 0.4
    side = torch.linspace(0.5 - radius, 0.5 + radius, 401).double()
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        rise = (network(grid) - network(centre)).abs()[:, 0]
        distance = (grid - centre).abs().flatten(1).amax(1)
        steepest = (rise / distance)[distance > 0.01].max()
        active = (network[1](grid.flatten(1)) > 0).double()
        pieces = (active * network[3].weight) @ network[1].weight  # the gradient at each point
    found = lipschitz_lower_bound(network, centre, KEYS[:1], ball=Ball("linf", radius)).item()
    assert 0.97 * steepest < found <= pieces.abs().sum(1).max() * (1 + 1e-9)


def test_a_saturated_logit_is_steepest_inside_the_ball() -> None:
    class Capped(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (8 * (images - 0.5).flatten(1).mean(1, keepdim=True)).clamp(-0.4, 0.4)

    shown = torch.full((1, 1, 4, 4), 0.5).double()
    found = lipschitz_lower_bound(Capped(), shown, KEYS[:1], ball=Ball("linf", 0.2))
    torch.testing.assert_close(found, torch.tensor([8.0]).double(), rtol=1e-9, atol=0)


def test_a_network_that_never_changes() -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :1] * 0 + 1

    found = lipschitz_lower_bound(Constant(), images(), KEYS, ball=Ball("linf", 0.1))
    assert torch.equal(found, torch.zeros(5).double())


def test_each_image_alone_and_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    network = build_backbone("small", channels=1, outputs=2, width=4).double().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ball = Ball("linf", 0.02)
    together = lipschitz_lower_bound(network, images(), KEYS, ball=ball, steps=3)
    alone = [
        lipschitz_lower_bound(network, images()[i : i + 1], KEYS[i : i + 1], ball=ball, steps=3)
        for i in range(5)
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_no_ball() -> None:
    with pytest.raises(MedrobustError) as caught:
        lipschitz_lower_bound(Linear(), images(), KEYS, ball=Ball("linf", 0.0))
    assert str(caught.value) == (
        "eps: expected a number above 0, found 0: a ball of no size has nothing in it to measure"
    )
