import pytest
import torch
from published_resnet import KINDS, network
from torch import Tensor

from medrobust.errors import MedrobustError
from medrobust.exchange.published import recognise


def tensors(kind: str = "resnet18", domains: int = 2, width: int = 4) -> dict[str, Tensor]:
    return network(kind, width=width, domains=domains).state_dict()


def without(found: dict[str, Tensor], text: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in found.items() if text not in name}


@pytest.mark.parametrize("kind", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("domains", [1, 2])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (3, 8)])
def test_network_and_branches_follow_from_names_and_shapes(
    kind: str, domains: int, channels: int, outputs: int
) -> None:
    given = network(kind, channels=channels, outputs=outputs, width=4, domains=domains)
    found = recognise(given.state_dict(), "w")
    assert (found.network, found.width, found.channels) == (kind, 4, channels)
    assert (found.outputs, found.is_dual) == (outputs, domains == 2)


def test_halves_of_norms_become_those_of_branches() -> None:
    given = tensors()
    found = recognise(given, "w").tensors
    for name, old in {
        "bn1.weight": "bn1.bns.0.weight",
        "adv/bn1.weight": "bn1.bns.1.weight",
        "adv/layer2.0.downsample.1.running_mean": "layer2.0.downsample.1.bns.1.running_mean",
        "layer4.1.bn2.running_var": "layer4.1.bn2.bns.0.running_var",
        "layer1.0.conv1.weight": "layer1.0.conv1.weight",
    }.items():
        assert found[name] is given[old]
    assert len(found) == len(given)
    assert not any(".bns." in name for name in found)


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "net."])
def test_prefixes_of_wrappers_are_left_out(prefix: str) -> None:
    given = tensors()
    wrapped = {prefix + name: tensor for name, tensor in given.items()}
    assert recognise(wrapped, "w").tensors.keys() == recognise(given, "w").tensors.keys()


@pytest.mark.parametrize(("gone", "left"), [("1", "0"), ("0", "1")])
def test_half_of_a_dual_network(gone: str, left: str) -> None:
    with pytest.raises(MedrobustError) as refused:
        recognise(without(tensors(), f".bns.{gone}."), "w.pth")
    assert str(refused.value) == (
        "w.pth: expected bn1.bns.0.bias and bn1.bns.1.bias, found "
        f"bns.{left} only; a part of a dual network can't be used"
    )


def test_half_of_one_norm() -> None:
    with pytest.raises(MedrobustError, match=r"^w: expected layer1\.0\.bn2\.bns\.0\.running_var "):
        recognise(without(tensors(), "layer1.0.bn2.bns.1.running_var"), "w")


def test_three_branches() -> None:
    message = r"^w: expected two branches, bns\.0 and bns\.1, found bns\.0, bns\.1, bns\.2 in bn1$"
    with pytest.raises(MedrobustError, match=message):
        recognise(network("resnet18", width=4, domains=3).state_dict(), "w")


def test_a_single_norm_among_pairs() -> None:
    given = without(tensors(), "layer1.0.bn1.")
    given |= {n: t for n, t in tensors(domains=1).items() if n.startswith("layer1.0.bn1.")}
    with pytest.raises(MedrobustError) as refused:
        recognise(given, "w")
    assert str(refused.value) == (
        "w: expected all norms in pairs (bns.0, bns.1) or none, found "
        "layer1.0.bn1.running_mean beside them"
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"conv1.weight": torch.zeros(4, 3, 3, 3)}, "bn1.bias (4,), bn1.num_batches_tracked ()"),
        ({"conv1.weight": torch.zeros(4, 3, 7, 7, 7)}, "bn1.bias (4,), bn1.num_batches_tracked ()"),
        ({"fc.weight": torch.zeros(3)}, "bn1.bias (4,), bn1.num_batches_tracked ()"),
    ],
)
def test_another_stem_or_head(change: dict[str, Tensor], found: str) -> None:
    with pytest.raises(MedrobustError) as refused:
        recognise(tensors(domains=1) | change, "w")
    assert str(refused.value).startswith(
        "w: expected a ResNet with torchvision's names (conv1.weight of 7x7 pixels, "
        f"layer1.0.conv1.weight, fc.weight), found {found}"
    )


def test_another_architecture() -> None:
    densenet = {"features.conv0.weight": torch.zeros(4, 3, 7, 7), "classifier.bias": torch.zeros(2)}
    message = r"found classifier\.bias \(2,\), features\.conv0\.weight \(4, 3, 7, 7\)$"
    with pytest.raises(MedrobustError, match=message):
        recognise(densenet, "w")


@pytest.mark.parametrize(
    ("layers", "bottleneck", "found"),
    [
        ((1, 1, 1, 1), False, r"a ResNet of basic blocks, \(1, 1, 1, 1\) per stage"),
        ((3, 8, 36, 3), True, "resnet152"),
    ],
)
def test_a_resnet_that_is_not_among_the_backbones(
    monkeypatch: pytest.MonkeyPatch,
    layers: tuple[int, int, int, int],
    bottleneck: bool,
    found: str,
) -> None:
    monkeypatch.setitem(KINDS, "other", (layers, bottleneck))
    with pytest.raises(MedrobustError, match=rf"^w: expected one of resnet18, .*, found {found}$"):
        recognise(tensors("other", width=1), "w")
