import copy

import pytest
import torch
from torch import Tensor, nn

from medrobust.dual import DualBN, is_sharing, twin
from medrobust.errors import MedrobustError
from medrobust.networks import build_backbone
from medrobust.weights import load_tensors, tensors_of


def small(dimensions: int) -> nn.Module:
    torch.manual_seed(0)
    convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions]
    return nn.Sequential(
        convolution(1, 4, 3, padding=1), norm(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    )


def images(dimensions: int, count: int = 6) -> Tensor:
    return torch.rand(count, 1, *[5] * dimensions, generator=torch.Generator().manual_seed(1))


def dual(dimensions: int = 2, branches: tuple[str, ...] = ("clean", "adv")) -> DualBN:
    network = small(dimensions)
    network(images(dimensions))  # lets the lazy layer take its size
    return DualBN(network, branches)


def norms(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_branches_are_bit_equal_at_birth(dimensions: int, training: bool) -> None:
    model = dual(dimensions).train(training)
    given = images(dimensions)
    logits = model({"clean": given, "adv": given})
    assert torch.equal(logits["clean"], logits["adv"])


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_pass_through_one_branch_leaves_the_others_statistics_untouched(dimensions: int) -> None:
    model = dual(dimensions).train()
    before = copy.deepcopy(model.clean.state_dict())
    model({"adv": images(dimensions) * 3})
    assert all(torch.equal(before[n], t) for n, t in model.clean.state_dict().items())
    assert not torch.equal(norms(model.adv)[0].running_mean, norms(model.clean)[0].running_mean)


def test_shared_weights_receive_both_gradients_and_norms_only_their_own() -> None:
    model = dual().double().train()
    one, other = images(2).double(), images(2).double().flip(0) * 0.5

    def gradients(given: dict[str, Tensor]) -> dict[str, Tensor | None]:
        model.zero_grad(set_to_none=True)
        sum(logits.square().sum() for logits in model(given).values()).backward()
        return {n: p.grad for n, p in tensors_of(model).items() if isinstance(p, nn.Parameter)}

    clean, adv = gradients({"clean": one}), gradients({"adv": other})
    both = gradients({"clean": one, "adv": other})
    torch.testing.assert_close(both["0.weight"], clean["0.weight"] + adv["0.weight"])
    torch.testing.assert_close(both["1.weight"], clean["1.weight"])
    torch.testing.assert_close(both["adv/1.weight"], adv["adv/1.weight"])
    assert clean["adv/1.weight"] is None
    assert adv["1.weight"] is None


def test_everything_but_norms_is_the_same_object() -> None:
    model = dual()
    clean, adv = dict(model.clean.named_parameters()), dict(model.adv.named_parameters())
    same = {name for name in clean if clean[name] is adv[name]}
    assert same == {"0.weight", "0.bias", "4.weight", "4.bias"}
    assert is_sharing(model)
    own = sum(p.numel() for norm in norms(model.clean) for p in norm.parameters())
    assert (
        sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in clean.values()) + own
    )


@pytest.mark.parametrize("name", ["small", "resnet18", "densenet121"])
def test_catalogue_networks_can_be_doubled(name: str) -> None:
    network = build_backbone(name, channels=1, outputs=2, width=8)
    model = DualBN(network, ("clean", "adv", "l2")).eval()
    assert is_sharing(model)
    given = torch.rand(2, 1, 32, 32)
    logits = model(dict.fromkeys(model.branches, given))
    assert torch.equal(logits["clean"], logits["l2"])
    own = {id(p) for norm in norms(model.l2) for p in norm.parameters()}
    assert own.isdisjoint(id(p) for p in model.adv.parameters())


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.double(),
        copy.deepcopy,
        lambda model: model.to(memory_format=torch.channels_last),
        lambda model: model.half().float(),
    ],
)
def test_sharing_survives(change: object) -> None:
    assert is_sharing(change(dual()))  # type: ignore[operator]


def test_assigning_tensors_breaks_sharing_and_is_noticed() -> None:
    model = dual()
    state = {n: t.clone() for n, t in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    assert not is_sharing(model)


def test_loading_copies_and_keeps_sharing() -> None:
    source, target = dual(), dual()
    with torch.no_grad():
        for tensor in tensors_of(source).values():
            tensor.add_(1)
    load_tensors(target, {n: t.clone() for n, t in tensors_of(source).items()}, "test")
    assert is_sharing(target)
    given = images(2)
    for branch in ("clean", "adv"):
        torch.testing.assert_close(
            source.eval()({branch: given})[branch], target.eval()({branch: given})[branch]
        )


def test_a_norm_with_an_activation_of_its_own_keeps_it() -> None:
    class NormAct(nn.BatchNorm2d):
        def forward(self, given: Tensor) -> Tensor:
            return super().forward(given).relu()

    other = twin(nn.Sequential(nn.Conv2d(1, 3, 3), NormAct(3)))
    assert float(other(images(2)).detach().min()) >= 0


def test_one_branch_needs_no_norm() -> None:
    model = DualBN(nn.Sequential(nn.Flatten(), nn.Linear(25, 2)), ("single",))
    assert model({"single": images(2)})["single"].shape == (6, 2)
    assert is_sharing(model)


def test_no_batch_norm_is_an_error() -> None:
    with pytest.raises(MedrobustError, match="expected a network with batch norms, found none in"):
        DualBN(nn.Sequential(nn.Flatten(), nn.Linear(25, 2)))


def test_a_layer_that_cannot_be_copied_is_named() -> None:
    class Stubborn(nn.Module):
        def __deepcopy__(self, memo: object) -> object:
            raise TypeError("no")

    network = nn.Sequential(nn.BatchNorm2d(1), nn.Sequential(Stubborn()))
    with pytest.raises(
        MedrobustError, match=r"layer 1\.0 \(Stubborn\) can't be deep-copied \(no\)"
    ):
        DualBN(network)


@pytest.mark.parametrize("branches", [(), ("a", "a"), ("clean", "train"), ("a b",), ("clean", "")])
def test_bad_branch_names(branches: tuple[str, ...]) -> None:
    with pytest.raises(MedrobustError, match="branches: expected different names"):
        DualBN(small(2), branches)


def test_an_unknown_branch_names_those_there_are() -> None:
    with pytest.raises(MedrobustError, match="expected one of clean, adv, found 'robust'"):
        dual().branch("robust")
