import copy
import warnings
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from medrobust.attacks import Ball, fgsm, n_fgsm, pgd
from medrobust.attacks.gradient import frozen
from medrobust.errors import MedrobustError
from medrobust.losses import sigmoid_loss, softmax_loss
from medrobust.networks import build_backbone
from medrobust.randomness import image_keys, key

KEYS = image_keys(key(0, "test"), torch.arange(16))
LINF, L2 = Ball("linf", 8 / 255), Ball("l2", 0.5)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = build_backbone("small", channels=1, outputs=3, width=4)
    with torch.no_grad():
        network(torch.rand(32, 1, 12, 12))  # running statistics that are not 0 and 1
    return network.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(16, 1, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(0, 2, (16, 3), generator=torch.Generator().manual_seed(2)).float()


ATTACKS = {
    "fgsm": partial(fgsm, loss=sigmoid_loss),
    "n_fgsm": partial(n_fgsm, loss=sigmoid_loss),
    "pgd": partial(pgd, loss=sigmoid_loss, steps=3),
    "pgd-restarts": partial(pgd, loss=sigmoid_loss, steps=2, restarts=3),
}


class Linear(nn.Module):
    """One logit: w · x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(48, generator=torch.Generator().manual_seed(3)))

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.weight.to(images.dtype))[:, None] - 0.3


@pytest.mark.parametrize("steps", [1, 10, 40])
def test_pgd_reaches_the_optimum_of_a_linear_model_linf(steps: int) -> None:
    network, images = Linear().double(), torch.rand(8, 3, 4, 4).double()
    labels = (torch.arange(8) % 2)[:, None].double()
    ball = Ball("linf", 0.3)
    attacked = pgd(network, images, labels, KEYS[:8], ball=ball, loss=sigmoid_loss, steps=steps)
    away = torch.where(labels == 1, -1, 1) * network.weight.sign()
    expected = (images + 0.3 * away.reshape(8, 3, 4, 4)).clamp(0, 1)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-12)


def test_pgd_reaches_the_optimum_of_a_linear_model_l2() -> None:
    network, images = Linear().double(), torch.full((8, 3, 4, 4), 0.5).double()
    labels = (torch.arange(8) % 2)[:, None].double()
    ball = Ball("l2", 0.4)  # small enough for the box not to matter
    attacked = pgd(
        *(network, images, labels, KEYS[:8]), ball=ball, loss=sigmoid_loss, steps=40, step_size=0.2
    )
    direction = network.weight / network.weight.norm()
    away = torch.where(labels == 1, -1, 1) * direction
    expected = images + 0.4 * away.reshape(8, 3, 4, 4)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-5)
    reached = network(attacked)
    torch.testing.assert_close(reached, network(expected), rtol=0, atol=1e-8)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [True, False])
def test_pgd_agrees_with_foolbox_from_the_same_start(
    network: nn.Module, images: Tensor, norm: str, random_start: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from foolbox import PyTorchModel
        from foolbox.attacks import L2PGD, LinfPGD
    classes = torch.arange(16) % 3
    ball = LINF if norm == "linf" else L2
    network.double()
    images, start = images.double(), images.double()
    if random_start:
        start = ball.start(images, image_keys(key("restart", 0), KEYS))
    theirs = {"linf": LinfPGD, "l2": L2PGD}[norm](
        abs_stepsize=ball.radius / 4, steps=10, random_start=random_start
    )
    theirs.get_random_start = lambda x0, epsilon: type(x0)(start)  # type: ignore[method-assign]
    model = PyTorchModel(network, bounds=(0, 1))
    expected, _, _ = theirs(model, images, classes, epsilons=ball.radius)
    found = pgd(
        network,
        images,
        nn.functional.one_hot(classes, 3).double(),
        KEYS,
        ball=ball,
        loss=softmax_loss,
        steps=10,
        step_size=ball.radius / 4,
        random_start=random_start,
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ball", [LINF, L2])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_leaves_everything_as_it_was(
    network: nn.Module, images: Tensor, labels: Tensor, name: str, ball: Ball
) -> None:
    network.train()
    network.bn1.eval()
    network.conv1.weight.requires_grad_(False)
    network(images).sum().backward()
    network.bn1.running_mean.add_(0.1)
    before, gradients = copy.deepcopy(network), [p.grad for p in network.parameters()]
    values = [None if gradient is None else gradient.clone() for gradient in gradients]
    state = torch.random.get_rng_state()
    given = images.clone().requires_grad_()

    attacked = ATTACKS[name](network, given, labels, KEYS, ball=ball)

    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.is_grad_enabled()
    assert not attacked.requires_grad
    assert given.grad is None
    assert torch.equal(given, images)
    for one, other in zip(network.modules(), before.modules(), strict=True):
        assert one.training == other.training
    for one, other in zip(network.buffers(), before.buffers(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(network.parameters(), before.parameters(), strict=True):
        assert one.requires_grad == other.requires_grad
        assert torch.equal(one, other)
    for parameter, gradient, value in zip(network.parameters(), gradients, values, strict=True):
        assert parameter.grad is gradient
        assert value is None or torch.equal(parameter.grad, value)


def test_modes_come_back_after_an_error(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 1)).train()
    with pytest.raises(RuntimeError):
        fgsm(network, images, torch.ones(16, 1), KEYS, ball=LINF, loss=sigmoid_loss)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", ["fgsm", "pgd", "pgd-restarts"])
@pytest.mark.parametrize("ball", [LINF, L2])
def test_attacks_raise_the_loss_inside_ball_and_box(
    network: nn.Module, images: Tensor, labels: Tensor, name: str, ball: Ball
) -> None:
    attacked = ATTACKS[name](network, images, labels, KEYS, ball=ball)
    offset = (attacked - images).flatten(1)
    size = offset.abs().amax(1) if ball.norm == "linf" else offset.norm(dim=1)
    assert (size <= ball.radius * (1 + 1e-5)).all()
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    with torch.no_grad():
        before, after = (sigmoid_loss(network(x), labels) for x in (images, attacked))
    assert after.mean() > before.mean()


def test_the_attack_is_made_in_evaluation_mode(
    network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    resting = ATTACKS["pgd"](network.eval(), images, labels, KEYS, ball=LINF)
    training = ATTACKS["pgd"](network.train(), images, labels, KEYS, ball=LINF)
    assert torch.equal(resting, training)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_image_is_attacked_alike_in_any_batch(
    network: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    network.double()
    images = images.double()
    whole = ATTACKS[name](network, images, labels, KEYS, ball=LINF)
    part = ATTACKS[name](network, images[3:5], labels[3:5], KEYS[3:5], ball=LINF)
    torch.testing.assert_close(whole[3:5], part, rtol=0, atol=1e-12)


def test_restarts_never_lower_the_loss(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    losses = []
    for restarts in (1, 2, 5):
        attacked = pgd(
            *(network, images, labels, KEYS), ball=LINF, loss=sigmoid_loss, steps=2,
            restarts=restarts,
        )  # fmt: skip
        with torch.no_grad():
            losses.append(sigmoid_loss(network(attacked), labels))
    assert (losses[1] >= losses[0] - 1e-6).all()
    assert (losses[2] >= losses[1] - 1e-6).all()
    assert losses[2].sum() > losses[0].sum()


def test_unknown_labels_are_not_attacked(network: nn.Module, images: Tensor) -> None:
    unknown = torch.full((16, 3), float("nan"))
    attacked = pgd(network, images, unknown, KEYS, ball=LINF, loss=sigmoid_loss, random_start=False)
    assert torch.equal(attacked, images)


def test_fgsm_is_one_signed_step(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    given = images.clone().requires_grad_()
    sigmoid_loss(network(given), labels).sum().backward()
    expected = (images + LINF.radius * given.grad.sign()).clamp(0, 1)
    found = fgsm(network, images, labels, KEYS, ball=LINF, loss=sigmoid_loss)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_n_fgsm_starts_wide_and_is_not_projected(
    network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    found = n_fgsm(network, images, labels, KEYS, ball=LINF, loss=sigmoid_loss, noise=2)
    size = (found - images).abs().max()
    assert 2 * LINF.radius < size <= 3 * LINF.radius + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def test_images_made_in_inference_mode_can_be_attacked(network: nn.Module, labels: Tensor) -> None:
    with torch.inference_mode():
        images = torch.rand(16, 1, 12, 12)
        attacked = pgd(
            network, images, labels, KEYS, ball=LINF, loss=sigmoid_loss, random_start=False
        )
    assert not torch.equal(attacked, images)


def test_half_precision_logits_are_judged_in_full(images: Tensor, labels: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 3)).bfloat16()
    attacked = pgd(
        network, images.bfloat16(), labels, KEYS, ball=LINF, loss=sigmoid_loss, restarts=2
    )
    assert attacked.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "expected at least 1 step and 1 restart, found 0 and 1"),
        ({"restarts": 0}, "expected at least 1 step and 1 restart, found 10 and 0"),
        ({"restarts": 2, "random_start": False}, "2 restarts from the same point are one"),
    ],
)
def test_bad_budgets(
    network: nn.Module, images: Tensor, labels: Tensor, settings: dict[str, int], message: str
) -> None:
    with pytest.raises(MedrobustError, match=message):
        pgd(network, images, labels, KEYS, ball=LINF, loss=sigmoid_loss, **settings)  # type: ignore[arg-type]


def test_frozen_is_evaluation_without_gradients(network: nn.Module, images: Tensor) -> None:
    network.train()
    with frozen(network):
        assert not network.training
        assert not network(images).requires_grad
    assert network.training
