import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medrobust.errors import MedrobustError
from medrobust.explain.landscape import (
    AXIS,
    gradient_norms,
    lengths,
    loss_surface,
    random_signs,
)
from medrobust.losses import sigmoid_loss
from medrobust.networks import build_backbone
from medrobust.randomness import image_keys, key

KEYS = image_keys(key(0, "test"), torch.arange(6))
EPS = 0.02


class Linear(nn.Module):
    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(pixels, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.weight)[:, None]


def first_logit(logits: Tensor, labels: Tensor) -> Tensor:
    return logits[:, 0]


def images(low: float = 0.0, high: float = 1.0) -> Tensor:
    drawn = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return low + (high - low) * drawn


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone("small", channels=1, outputs=2, width=4).train()


LABELS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, torch.nan], [0, 0]])


def test_a_linear_loss_is_a_plane() -> None:
    model, shown = Linear(64), images(0.2, 0.8)
    surface = loss_surface(
        *(model, shown, torch.zeros(6, 1), KEYS),
        eps=EPS,
        loss=first_logit,
        along=(-1.0, 0.0, 2.0),
        across=(-2.0, 0.0, 1.0, 2.0),
    )
    weight, signs = model.weight.detach(), random_signs(KEYS, shown).flatten(1)
    along = EPS * torch.tensor([-1.0, 0, 2])[None, :, None] * weight.abs().sum()
    across = EPS * torch.tensor([-2.0, 0, 1, 2])[None, None, :] * (signs @ weight)[:, None, None]
    expected = model(shown).detach()[:, :, None] + along + across
    torch.testing.assert_close(surface.losses, expected, atol=1e-4, rtol=1e-5)
    assert torch.equal(surface.clipped, torch.zeros(6))


def test_points_never_leave_the_box() -> None:
    seen = []

    class Watching(Linear):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach())
            return super().forward(images)

    shown = images()
    surface = loss_surface(
        *(Watching(64), shown, torch.zeros(6, 1), KEYS), eps=0.5, loss=first_logit, along=(0.0, 1.0)
    )
    every = torch.cat(seen)
    assert every.min() == 0
    assert every.max() == 1
    assert ((surface.clipped > 0.1) & (surface.clipped < 0.9)).all()


def test_the_share_of_pixels_that_the_box_holds_back() -> None:
    shown = torch.zeros(1, 1, 4, 4)
    shown[0, 0, 0] = 0.5
    model = Linear(16)
    nn.init.constant_(model.weight, -1.0)  # the gradient's sign is -1 everywhere
    surface = loss_surface(
        *(model, shown, torch.zeros(1, 1), KEYS[:1]),
        **{"eps": 0.1, "loss": first_logit, "along": (1.0,), "across": (0.0,)},
    )
    assert surface.clipped.item() == 0.75
    torch.testing.assert_close(surface.losses.flatten(), torch.tensor([-4 * 0.4]))


def test_the_middle_is_the_loss_itself(network: nn.Module) -> None:
    surface = loss_surface(network, images(), LABELS, KEYS, eps=EPS, loss=sigmoid_loss)
    assert surface.losses.shape == (6, 21, 21)
    assert AXIS[10] == 0.0
    assert (AXIS[0], AXIS[5], AXIS[15], AXIS[-1]) == (-2.0, -1.0, 1.0, 2.0)
    with torch.no_grad():
        expected = sigmoid_loss(network.eval()(images()), LABELS)
    torch.testing.assert_close(surface.losses[:, 10, 10], expected)


def test_an_image_does_not_depend_on_its_batch(network: nn.Module) -> None:
    settings = {"eps": EPS, "loss": sigmoid_loss, "along": (0.0, 1.0), "across": (-1.0, 1.0)}
    together = loss_surface(network, images(), LABELS, KEYS, **settings).losses
    alone = [
        loss_surface(
            network, images()[i : i + 1], LABELS[i : i + 1], KEYS[i : i + 1], **settings
        ).losses
        for i in range(6)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_network_is_left_as_it_was(network: nn.Module) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loss_surface(
        *(network, images(), LABELS, KEYS), eps=EPS, loss=sigmoid_loss, along=(1.0,), across=(0.0,)
    )
    gradient_norms(network, images(), LABELS, sigmoid_loss)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_random_signs_are_signs_of_their_keys() -> None:
    signs = random_signs(KEYS, torch.zeros(6, 1, 40, 40))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(signs[2:3], random_signs(KEYS[2:3], torch.zeros(1, 1, 40, 40)))
    # 1,600 fair signs: their mean has a standard deviation of 1/40
    assert signs.mean((1, 2, 3)).abs().max() < 5 / 40
    correlations = signs.flatten(1) @ signs.flatten(1).T / 1600
    assert (correlations - torch.eye(6)).abs().max() < 5 / 40


def test_gradient_norms_of_a_linear_model() -> None:
    model = Linear(64)
    found = gradient_norms(model, images(), torch.zeros(6, 1), first_logit)
    weight = model.weight.detach().double()
    assert list(found) == ["l1", "l2", "linf"]
    for name, expected in (
        ("l1", weight.abs().sum()),
        ("l2", weight.square().sum().sqrt()),
        ("linf", weight.abs().max()),
    ):
        torch.testing.assert_close(found[name], expected.expand(6))


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=9))
def test_norms_are_ordered(values: list[float]) -> None:
    vector = torch.tensor([values])
    l1, l2, largest = (lengths(vector, norm).item() for norm in ("l1", "l2", "linf"))
    assert largest <= l2 * (1 + 1e-12) <= l1 * (1 + 2e-12)
    assert l1 <= len(values) * largest * (1 + 1e-12)


@pytest.mark.parametrize(("eps", "shown"), [(0.0, "0"), (-0.1, "-0.1"), (float("nan"), "nan")])
def test_a_unit_of_nothing(network: nn.Module, eps: float, shown: str) -> None:
    with pytest.raises(MedrobustError) as caught:
        loss_surface(network, images(), LABELS, KEYS, eps=eps, loss=sigmoid_loss)
    assert str(caught.value) == (
        f"eps: expected a number above 0, found {shown}: a ball of no size has nothing in it to "
        "measure"
    )
