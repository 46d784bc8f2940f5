import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.attacks.ball import Ball
from medrobust.errors import MedrobustError
from medrobust.explain.saliency import gradient
from medrobust.explain.sanity.map_attack import TOLERANCE, Softplus, attack_maps
from medrobust.explain.sanity.similarity import rank_similarity
from medrobust.networks import build_backbone
from medrobust.randomness import seeded

BALL = Ball("linf", 8 / 255)
KEYS = torch.arange(6)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with seeded(0):
        return build_backbone("small", channels=1, outputs=2, width=4)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def product(network: nn.Module, images: Tensor, finding: int) -> Tensor:
    return gradient(network, images, finding) * images.sum(1)


@pytest.mark.parametrize("times_input", [False, True])
def test_the_map_changes_while_the_prediction_stays(
    network: nn.Module, images: Tensor, times_input: bool
) -> None:
    training = network.train().training
    found = attack_maps(network, images, 1, KEYS, ball=BALL, times_input=times_input)
    assert network.training == training
    network.eval()
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not found.images.requires_grad
    assert found.found.all()
    assert (found.images - images).abs().max() <= BALL.radius + 1e-6
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    with torch.no_grad():
        assert (network(found.images) - network(images)).abs().max() <= TOLERANCE
    method = product if times_input else gradient
    clean = method(network, images, 1)
    attacked = rank_similarity(clean, method(network, found.images, 1)).mean()
    by_chance = rank_similarity(clean, method(network, BALL.start(images, KEYS), 1)).mean()
    assert attacked < by_chance - 0.1


def test_each_image_is_attacked_by_itself(network: nn.Module, images: Tensor) -> None:
    together = attack_maps(network, images, 0, KEYS, ball=BALL, steps=3)
    alone = attack_maps(network, images[2:3], 0, KEYS[2:3], ball=BALL, steps=3)
    torch.testing.assert_close(together.images[2:3], alone.images)


def test_the_map_of_a_linear_network_cannot_change(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    found = attack_maps(network, images, 0, KEYS, ball=BALL, steps=5)
    maps = gradient(network, images, 0)
    np.testing.assert_allclose(rank_similarity(maps, gradient(network, found.images, 0)), 1)


def test_where_no_point_keeps_the_prediction_the_image_stays(
    network: nn.Module, images: Tensor
) -> None:
    found = attack_maps(network, images, 0, KEYS, ball=BALL, steps=3, tolerance=0.0)
    assert not found.found.any()
    assert torch.equal(found.images, images)


def test_volumes() -> None:
    with seeded(0):
        network = build_backbone("small", channels=1, outputs=1, width=2, dimensions=3)
    volumes = torch.rand(2, 1, 4, 8, 8)
    found = attack_maps(network, volumes, 0, KEYS[:2], ball=BALL, steps=2)
    assert (found.images - volumes).abs().max() <= BALL.radius + 1e-6


def test_a_network_of_zeros() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    found = attack_maps(network, torch.rand(2, 1, 2, 2), 0, KEYS[:2], ball=BALL, steps=2)
    assert torch.isfinite(found.images).all()


@pytest.mark.parametrize(
    "relu",
    [
        F.relu,
        torch.relu,
        torch.Tensor.relu,
        nn.ReLU(),
        nn.ReLU(inplace=True),
        lambda x: F.relu(input=x),
    ],
)
def test_every_relu_is_smooth_for_a_while(relu: object) -> None:
    assert callable(relu)
    values = torch.linspace(-1, 1, 9)
    with Softplus(10):
        torch.testing.assert_close(relu(values.clone()), torch.log1p(torch.exp(10 * values)) / 10)
    torch.testing.assert_close(relu(values.clone()), values.clamp(min=0))


def test_a_radius_of_nothing(network: nn.Module, images: Tensor) -> None:
    with pytest.raises(MedrobustError, match=r"^eps: expected a number above 0, found 0: "):
        attack_maps(network, images, 0, KEYS, ball=Ball("linf", 0.0))
