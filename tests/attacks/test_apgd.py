"""APGD: optima that are known, and never less than PGD with the same number of steps."""

import copy

import pytest
import torch
from torch import Tensor, nn

from medrobust.attacks import Ball, apgd, pgd
from medrobust.attacks.apgd import checkpoints
from medrobust.attacks.gradient import look
from medrobust.attacks.suite import is_wrong
from medrobust.errors import MedrobustError
from medrobust.losses import margin_loss, sigmoid_loss
from medrobust.networks import build_backbone
from medrobust.randomness import image_keys, key

KEYS = image_keys(key(0, "test"), torch.arange(32))
RADII = {"linf": 0.03, "l2": 0.4, "l1": 2.0}
NEAR = 1e-4
"""How near to the optimum 100 steps come."""


def first_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """To raise a linear model's only output."""
    return logits[:, 0]


class Linear(nn.Module):
    """w · x, with weights of very different size."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        drawn = torch.randn(pixels, generator=torch.Generator().manual_seed(3)).double()
        self.weight = nn.Parameter(drawn**3)

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.weight.to(images))[:, None]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = build_backbone("small", channels=1, outputs=3, width=4)
    with torch.no_grad():
        network(torch.rand(32, 1, 12, 12))
    return network.eval()


def images(count: int = 16, low: float = 0.0, high: float = 1.0) -> Tensor:
    drawn = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    return low + (high - low) * drawn


def optimum(model: Linear, norm: str, radius: float, centre: Tensor) -> Tensor:
    """The largest rise of w · x in the ball and the box."""
    weight = model.weight.detach()
    flat = centre.flatten(1).double()
    room = torch.where(weight > 0, 1 - flat, flat)
    if norm == "linf":
        return (weight.abs() * room.clamp(max=radius)).sum(1)
    if norm == "l1":  # the steepest pixels first, each as far as its wall
        order = weight.abs().argsort(descending=True)
        ahead = room[:, order].cumsum(1)
        used = (radius - (ahead - room[:, order])).clamp(min=0).minimum(room[:, order])
        return (weight.abs()[order] * used).sum(1)
    return torch.full((len(flat),), float(radius * weight.norm())).double()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_optimum_of_a_linear_model(norm: str) -> None:
    radius = RADII[norm]
    walls = norm != "l2"  # far from walls the l2 optimum has a closed form
    centre = (images() if walls else images(low=0.45, high=0.55)).double()
    model = Linear(144).double()
    ball = Ball(norm, radius)
    attacked = apgd(
        *(model, centre, torch.zeros(16, 1), KEYS[:16]),
        ball=ball,
        loss=first_logit,
        steps=100,
    )
    rise = (model(attacked) - model(centre))[:, 0].detach()
    expected = optimum(model, norm, radius, centre)
    torch.testing.assert_close(rise, expected, rtol=0, atol=NEAR)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_it_stays_in_ball_and_box_and_beats_pgd(network: nn.Module, norm: str) -> None:
    ball, clean = Ball(norm, RADII[norm]), images(32)
    labels = torch.randint(0, 2, (32, 3), generator=torch.Generator().manual_seed(2)).float()
    settings = {"ball": ball, "loss": sigmoid_loss, "steps": 40}
    attacked = apgd(network, clean, labels, KEYS, **settings)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    length = torch.linalg.vector_norm((attacked - clean).flatten(1).double(), order, 1)
    assert (length <= RADII[norm] * (1 + 1e-5)).all()
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    plain = pgd(network, clean, labels, KEYS, **settings)
    with torch.no_grad():
        ours, theirs, before = (
            sigmoid_loss(network(shown), labels) for shown in (attacked, plain, clean)
        )
    assert ours.mean() > theirs.mean() - 1e-4
    assert (ours >= before).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_an_image_does_not_depend_on_its_batch(network: nn.Module, norm: str) -> None:
    network, clean = network.double(), images(6).double()
    labels = torch.ones(6, 3).double()
    settings = {"ball": Ball(norm, RADII[norm]), "loss": sigmoid_loss, "steps": 12, "restarts": 2}
    together = apgd(network, clean, labels, KEYS[:6], **settings)
    alone = torch.cat(
        [
            apgd(network, clean[n : n + 1], labels[n : n + 1], KEYS[n : n + 1], **settings)
            for n in range(6)
        ]
    )
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


def test_more_restarts_never_lose(network: nn.Module) -> None:
    clean, labels = images(16), torch.ones(16, 3)
    settings = {"ball": Ball("linf", 0.05), "loss": sigmoid_loss, "steps": 8}
    one, three = (
        sigmoid_loss(
            network(apgd(network, clean, labels, KEYS[:16], **settings, restarts=n)), labels
        )
        for n in (1, 3)
    )
    assert (three >= one - 1e-6).all()
    assert (three > one).any()


def test_the_network_is_left_as_it_was(network: nn.Module) -> None:
    network.train()
    before = copy.deepcopy(network.state_dict())
    found = apgd(
        *(network, images(4), torch.ones(4, 3), KEYS[:4]),
        ball=Ball("linf", 0.05),
        loss=sigmoid_loss,
        steps=3,
    )
    assert network.training
    assert not found.requires_grad
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_radius_zero_is_the_image(network: nn.Module) -> None:
    clean = images(4)
    for norm in RADII:
        found = apgd(
            *(network, clean, torch.ones(4, 3), KEYS[:4]),
            ball=Ball(norm, 0.0),
            loss=sigmoid_loss,
            steps=3,
        )
        torch.testing.assert_close(found, clean)


def test_checkpoints_are_those_of_the_paper() -> None:
    # p = 0, 0.22, then gaps that shrink by 0.03 down to 0.06
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("budget", [{"steps": 0}, {"restarts": 0}])
def test_budgets_that_cannot_be(network: nn.Module, budget: dict[str, int]) -> None:
    with pytest.raises(MedrobustError, match="attack: expected at least 1 step and 1 restart"):
        apgd(
            *(network, images(2), torch.ones(2, 3), KEYS[:2]),
            ball=Ball("linf", 0.1),
            loss=sigmoid_loss,
            **budget,
        )


class Counting(nn.Module):
    """A network that counts the images it is shown."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.shown = network, 0

    def forward(self, images: Tensor) -> Tensor:
        self.shown += len(images)
        return self.network(images)


@pytest.mark.parametrize("norm", RADII)
def test_a_first_look_is_that_of_a_start_at_the_images(
    network: nn.Module, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, labels, counting = images(8), torch.ones(8, 3), Counting(network)
    settings = {"ball": Ball(norm, RADII[norm]), "loss": sigmoid_loss, "steps": 10}
    first = look(network, clean, labels, sigmoid_loss)
    shared = apgd(counting, clean, labels, KEYS[:8], **settings, first=first)
    assert counting.shown == 8 * 10  # the steps alone
    monkeypatch.setattr(Ball, "start", lambda ball, centre, keys: centre)
    alone = apgd(counting, clean, labels, KEYS[:8], **settings)
    assert counting.shown == 8 * 10 + 8 * (1 + 1 + 10)
    assert torch.equal(shared, alone)


def test_there_is_one_start_at_the_images(network: nn.Module) -> None:
    clean, labels = images(2), torch.ones(2, 3)
    with pytest.raises(MedrobustError) as refused:
        apgd(
            *(network, clean, labels, KEYS[:2]),
            ball=Ball("linf", 0.1),
            loss=sigmoid_loss,
            restarts=2,
            first=look(network, clean, labels, sigmoid_loss),
        )
    assert str(refused.value) == (
        "attack: 2 restarts from the same point are one; use restarts=1 or random_start=true"
    )


@pytest.mark.parametrize("norm", RADII)
def test_broken_images_retire_and_the_verdict_stays(network: nn.Module, norm: str) -> None:
    clean = images(32)
    with torch.no_grad():
        cuts = network(clean).mean(0)
    labels = torch.full((32, 3), torch.nan)  # of one finding: the margin tells all
    labels[:, 0] = (torch.arange(32) % 2).float()
    broken, counting = is_wrong("multilabel", cuts), Counting(network)
    settings = {"ball": Ball(norm, RADII[norm] / 4), "loss": margin_loss, "steps": 20}
    early = apgd(counting, clean, labels, KEYS, **settings, broken=broken)
    fewer, counting.shown = counting.shown, 0
    late = apgd(counting, clean, labels, KEYS, **settings)
    with torch.no_grad():
        before, found, expected = (broken(network(x), labels) for x in (clean, early, late))
    assert before.any()
    assert before.sum() < expected.sum() < 32
    assert torch.equal(found, expected)
    assert torch.equal(early[before], clean[before])
    assert fewer < 0.75 * counting.shown
    torch.testing.assert_close(early[~expected], late[~expected], rtol=0, atol=1e-5)


def test_a_later_restart_is_for_what_is_not_broken_yet(network: nn.Module) -> None:
    clean, labels, counting = images(8), torch.ones(8, 3), Counting(network)
    settings = {"ball": Ball("linf", 0.05), "loss": margin_loss, "steps": 4, "restarts": 3}
    all_broken = is_wrong("multilabel", torch.full((3,), 99.0))
    attacked = apgd(counting, clean, labels, KEYS[:8], **settings, broken=all_broken)
    assert counting.shown == 8
    assert torch.equal(attacked, clean)
    counting.shown = 0
    none_broken = is_wrong("multilabel", torch.full((3,), -99.0))
    some = apgd(counting, clean, labels, KEYS[:8], **settings, broken=none_broken)
    assert counting.shown == 8 * (1 + 3 * (1 + 4))
    assert torch.equal(some, apgd(network, clean, labels, KEYS[:8], **settings))
