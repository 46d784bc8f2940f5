"""Frozen convolutions against the layers that they stand for."""

import copy

import pytest
import torch
from torch import Tensor, nn

import medrobust.packing as packing
from medrobust.bench.case import Case, classifier
from medrobust.folding import FoldedCopy
from medrobust.losses import sigmoid_loss

LAYERS = {
    "of ResNet's entry": ((3, 8, 7, 2, 3), (64, 64)),
    "entry, odd images": ((1, 8, 3, 2, 1), (33, 28)),
    "entry, stride 3": ((2, 4, 5, 3, 2), (20, 31)),
    "entry, patches": ((1, 4, 4, 4, 0), (30, 29)),
    "entry, wide padding": ((4, 3, 3, 2, 2), (10, 11)),
    "entry, stride of the filter": ((1, 4, 3, 3, 0), (17, 16)),
    "3 x 3": ((8, 8, 3, 1, 1), (9, 7)),
    "dilated": ((8, 8, 3, 2, 1, 2), (12, 13)),
    "groups": ((8, 16, 3, 2, 1, 1, 4), (9, 9)),
    "depthwise": ((6, 6, 3, 1, 1, 1, 6), (8, 8)),
    "not square": ((8, 8, (3, 1), (2, 1), (1, 0)), (9, 9)),
    "a matrix": ((64, 96, 1, 1, 0), (3, 2)),
    "a matrix, stride 2": ((64, 96, 1, 2, 0), (5, 4)),
    "one pixel, many of them": ((4, 8, 1, 2, 0), (15, 14)),
}


def pair(
    how: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> tuple[nn.Conv2d, nn.Sequential]:
    """A layer, and a network of its packed twin."""
    monkeypatch.setattr(packing, "FEW", 0)
    layer = nn.Conv2d(*how, bias=bias).requires_grad_(False)
    network = nn.Sequential(copy.deepcopy(layer))
    assert len(packing.pack(network)) == 1
    return layer, network


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_gradients_and_theirs(
    name: str, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    how, size = LAYERS[name]
    layer, network = pair(how, bias, monkeypatch)
    for shape in ((2, how[0], *size), (3, how[0], *size), (2, how[0], size[0] + 1, size[1] + 3)):
        images = torch.randn(shape, requires_grad=True)
        out, packed = layer(images), network(images)
        assert torch.allclose(out, packed, atol=1e-5)
        ahead = torch.randn_like(out).requires_grad_()
        expected = torch.autograd.grad(out, images, ahead)[0]
        gradient = torch.autograd.grad(packed, images, ahead, create_graph=True)[0]
        assert gradient.shape == expected.shape
        assert torch.allclose(gradient, expected, atol=1e-5)
        twice = torch.randn_like(gradient)
        second = torch.autograd.grad(gradient, ahead, twice)[0]
        linear = nn.functional.conv2d(twice, layer.weight, None, *how[3:])
        assert torch.allclose(second, linear, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_after_passes_it_can_be_copied_and_made_double(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    how, size = LAYERS[name]
    layer, network = pair(how, True, monkeypatch)
    images = torch.randn(2, how[0], *size, requires_grad=True)
    network(images).sum().backward()
    twin, exact = copy.deepcopy(network).double(), layer.double()
    assert torch.equal(twin(images.double()), exact(images.double()))
    assert torch.equal(network.double()(images.double()), exact(images.double()))


def test_other_paddings_layers_and_small_ones_stay() -> None:
    layers = [
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(64, 64, 3, padding="same"),
        nn.Conv3d(16, 64, 3),
        nn.Conv2d(16, 16, 3),
    ]
    network = nn.Sequential(*layers)
    assert packing.pack(network) == []
    assert list(network) == layers


def test_valid_padding_is_none() -> None:
    layer = nn.Conv2d(64, 64, 3, padding="valid").requires_grad_(False)
    network = nn.Sequential(copy.deepcopy(layer))
    assert packing.pack(network)
    images = torch.randn(2, 64, 9, 9)
    assert torch.allclose(network(images), layer(images), atol=1e-5)


def test_without_kernels_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "can_pack", lambda: False)
    network = nn.Sequential(nn.Conv2d(64, 64, 3))
    assert packing.pack(network) == []
    assert type(network[0]) is nn.Conv2d


def gradient(network: nn.Module, case: Case) -> Tensor:
    images = case.images.requires_grad_()
    loss = sigmoid_loss(network(images), case.labels).sum()
    return torch.autograd.grad(loss, images)[0]


def test_a_copy_of_a_network_keeps_up_and_gives_memory_back() -> None:
    case = Case(network="resnet18", batch=2, size=32)
    network = classifier(case.model()).eval().requires_grad_(False)
    copied = FoldedCopy(network, case.images)
    frozen = [m for m in copied.network.modules() if isinstance(m, packing.FrozenConvolution)]
    assert frozen
    for _ in range(2):
        plain = gradient(network, case)
        error = (gradient(copied.network, case) - plain).norm() / plain.norm()
        assert error < 0.01  # of ReLUs that another rounding switches
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.01 * torch.randn_like(weight))
        copied.release()
        assert all(len(p) == 0 for p in copied.network.parameters())
        assert all(m._filters is None for m in frozen)
        copied.refresh()
