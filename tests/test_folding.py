"""Batch norms folded away: the same function, on any network, or a refusal that says why."""

import pytest
import torch
from torch import Tensor, nn

from medrobust.errors import MedrobustError
from medrobust.folding import FoldedCopies, FoldedCopy, folded
from medrobust.networks import Classifier, build_backbone


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def norms(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def lived_in(network: nn.Module) -> nn.Module:
    """With statistics and scales that are not those of birth."""
    draw = torch.Generator().manual_seed(5)
    for norm in norms(network):
        for tensor, low, high in (
            (norm.running_mean, -0.2, 0.2),
            (norm.running_var, 0.5, 2.0),
            (norm.weight, 0.5, 1.5),
            (norm.bias, -0.3, 0.3),
        ):
            if tensor is not None:
                tensor.data.uniform_(low, high, generator=draw)
    return network


@pytest.mark.parametrize(
    ("name", "dimensions", "left"),
    [
        ("small", 2, 0),
        ("small", 3, 0),
        ("resnet18", 2, 0),
        ("resnet50", 2, 0),
        ("densenet121", 2, 62),  # norms that come before their convolution
    ],
)
def test_outputs_and_input_gradients_are_those_of_the_network(
    name: str, dimensions: int, left: int
) -> None:
    width = 8
    backbone = build_backbone(name, channels=1, outputs=3, dimensions=dimensions, width=width)
    network = lived_in(Classifier(backbone, [0.4], [0.3], dimensions)).double().eval()
    shown = images(2, 1, *[32] * dimensions).double()
    fast = folded(network, shown[:1])
    assert len(norms(fast)) == left
    for one in (network, fast):
        shown.grad = None
        logits = one(shown.requires_grad_())
        logits.square().sum().backward()
        if one is network:
            expected, gradient = logits.detach(), shown.grad.clone()
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(shown.grad, gradient, rtol=1e-8, atol=1e-9)


def test_the_network_is_left_as_it_was_and_the_copy_is_frozen() -> None:
    network = lived_in(build_backbone("small", channels=1, outputs=1, dimensions=2, width=4))
    before = {n: t.clone() for n, t in network.state_dict().items()}
    state = torch.get_rng_state()
    fast = folded(network.train(), images(2, 1, 16, 16))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert not any(module.training for module in fast.modules())
    own = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert own.isdisjoint(parameter.data_ptr() for parameter in fast.parameters())


def test_a_linear_layer_carries_its_norm_too() -> None:
    network = lived_in(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))).eval()
    fast = folded(network, images(2, 1, 2, 2))
    assert not norms(fast)
    torch.testing.assert_close(fast(images(5, 1, 2, 2)), network(images(5, 1, 2, 2)))


class Odd(nn.Module):
    """A convolution, a norm, and something unusual about them."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.layer = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2, track_running_stats=what != "statistics of the batch")

    def forward(self, given: Tensor) -> Tensor:
        features = self.layer(given)
        if self.what == "used elsewhere":
            return (self.norm(features) + features).mean((2, 3))
        if self.what == "used twice":
            return (self.norm(features) + self.norm(2 * features)).mean((2, 3))
        if self.what == "changed between":
            return self.norm(features.relu()).mean((2, 3))
        if self.what == "draws":
            features = nn.functional.dropout(self.norm(features), training=True)
            return features.mean((2, 3))
        if self.what == "asks":
            return self.norm(features).mean((2, 3)) * self.norm.weight.sum()
        return self.norm(features).mean((2, 3))


@pytest.mark.parametrize("what", ["statistics of the batch", "used twice", "changed between"])
def test_a_norm_that_can_not_be_folded_stays(what: str) -> None:
    network = lived_in(Odd(what)).eval()
    fast = folded(network, images(2, 1, 6, 6))
    assert len(norms(fast)) == 1
    torch.testing.assert_close(fast(images(3, 1, 6, 6)), network(images(3, 1, 6, 6)))


def test_a_network_that_draws_still_draws() -> None:
    fast = folded(lived_in(Odd("draws")), images(2, 1, 6, 6))
    assert not norms(fast)
    assert not torch.equal(fast(images(3, 1, 6, 6)), fast(images(3, 1, 6, 6)))


def test_where_the_outputs_would_change_it_is_refused() -> None:
    with pytest.raises(
        MedrobustError, match=r"^batch norms can't be folded: the outputs would change$"
    ):
        folded(lived_in(Odd("used elsewhere")), images(2, 1, 6, 6))


def test_a_network_that_asks_its_norm_for_something_is_refused() -> None:
    with pytest.raises(MedrobustError, match=r"^batch norms can't be folded: .*weight"):
        folded(lived_in(Odd("asks")), images(2, 1, 6, 6))


@pytest.mark.parametrize("name", ["small", "densenet121"])
def test_a_copy_is_brought_up_to_date_after_learning(name: str) -> None:
    backbone = build_backbone(name, channels=1, outputs=3, width=8)
    network = Classifier(backbone, [0.4], [0.3], 2).double()
    shown = images(2, 1, 32, 32).double()
    copied = FoldedCopy(network, shown)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()(shown).square().mean().backward()
    optimiser.step()
    network.eval()
    assert not torch.allclose(copied.network(shown), network(shown), atol=1e-3)
    copied.refresh()
    torch.testing.assert_close(copied.network(shown), network(shown), rtol=1e-9, atol=1e-9)
    assert not any(parameter.requires_grad for parameter in copied.network.parameters())


def test_a_layer_of_one_channel_passes_on_channels_last() -> None:
    backbone = build_backbone("small", channels=1, outputs=1, width=8)
    network = folded(Classifier(backbone, [0.4], [0.3], 2), images(2, 1, 16, 16))
    seen = network.get_submodule("backbone.conv1")(images(2, 1, 16, 16))
    assert seen.is_contiguous(memory_format=torch.channels_last)


def test_copies_hold_no_memory_between_uses() -> None:
    network = build_backbone("small", channels=1, outputs=1, width=8).eval()
    copies, shown = FoldedCopies(), images(2, 1, 16, 16)
    for _ in range(2):
        with copies.of(network, shown) as fast:
            torch.testing.assert_close(fast(shown), network(shown), rtol=1e-4, atol=1e-5)
        assert not sum(tensor.numel() for tensor in fast.state_dict().values())
        assert all(tensor.numel() for tensor in network.state_dict().values())


class Stubborn(nn.Module):
    """It can't be copied."""

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("a handle is open")

    def forward(self, shown: Tensor) -> Tensor:
        return shown.flatten(1)


def test_a_network_that_cannot_be_folded_stands_for_itself_and_this_is_said_once() -> None:
    said: list[str] = []
    copies, network = FoldedCopies(said.append), Stubborn()
    for _ in range(2):
        with copies.of(network, images(4, 1, 8, 8)) as found:
            assert found is network
    assert said == [
        "attacks take the network as it is: batch norms can't be folded: a handle is open"
    ]


def test_norms_without_scale_and_shift_are_folded_too() -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 2)
    )
    network = lived_in(network).double().eval()
    shown = images(3, 1, 4, 4).double()
    fast = folded(network, shown)
    assert not norms(fast)
    torch.testing.assert_close(fast(shown), network(shown), rtol=1e-9, atol=1e-9)
