import copy

import pytest
import torch
from torch import Tensor, nn

from medrobust.attacks import Ball, apgd
from medrobust.attacks.gradient import look
from medrobust.dual import DualBN
from medrobust.errors import MedrobustError
from medrobust.explain.dial import clean_and_attacked, dialled
from medrobust.losses import margin_loss
from medrobust.networks import build_backbone
from medrobust.randomness import image_keys, key

KEYS = image_keys(key(0, "test"), torch.arange(6))
BALL = Ball("linf", 0.02)


@pytest.fixture
def model() -> DualBN:
    """Two branches whose batch norms differ in everything."""
    torch.manual_seed(0)
    model = DualBN(build_backbone("small", channels=1, outputs=2, width=4))
    generator = torch.Generator().manual_seed(1)
    for branch in model.branches:
        for module in model.branch(branch).modules():
            if isinstance(module, nn.BatchNorm2d):
                for value in (*module.parameters(), module.running_mean, module.running_var):
                    value.data = 0.5 + torch.rand(value.shape, generator=generator)
    model.branch("adv").bn1.num_batches_tracked += 7
    return model.eval()


def images() -> Tensor:
    return torch.rand(6, 1, 10, 10, generator=torch.Generator().manual_seed(2))


LABELS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, torch.nan], [0, 0]])


@pytest.mark.parametrize(("share", "branch"), [(0, "clean"), (1, "adv")])
def test_its_ends_are_the_branches_bit_for_bit(model: DualBN, share: float, branch: str) -> None:
    network = dialled(model.branch("clean"), model.branch("adv"), share)
    expected = model.branch(branch).state_dict()
    assert list(network.state_dict()) == list(expected)
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name
    with torch.no_grad():
        assert torch.equal(network(images()), model.branch(branch)(images()))


def test_between_them_each_number_is_mixed_and_weights_are_shared(model: DualBN) -> None:
    clean, adv = model.branch("clean"), model.branch("adv")
    network = dialled(clean, adv, 0.3).state_dict()
    mine, theirs = clean.state_dict(), adv.state_dict()
    mixed = 0
    for name, value in network.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.7 * mine[name] + 0.3 * theirs[name])
            mixed += not torch.equal(mine[name], theirs[name])
    norms = [m for m in clean.modules() if isinstance(m, nn.BatchNorm2d)]
    assert mixed == 4 * len(norms)
    assert torch.equal(network["conv1.weight"], mine["conv1.weight"])


def test_a_mixed_batch_norm_by_hand() -> None:
    clean, adv = nn.Sequential(nn.BatchNorm1d(1)), nn.Sequential(nn.BatchNorm1d(1))
    with torch.no_grad():
        for norm, (weight, bias, mean, variance) in (
            (clean[0], (1.0, 0.0, 0.0, 1.0)),
            (adv[0], (3.0, 4.0, 2.0, 15.0)),
        ):
            norm.weight.fill_(weight)
            norm.bias.fill_(bias)
            norm.running_mean.fill_(mean)
            norm.running_var.fill_(variance)
    network = dialled(clean, adv, 0.5)
    # weight 2, bias 2, mean 1, variance 8: 2 (x - 1) / √8 + 2 at x = 5
    found = network(torch.tensor([[5.0]])).item()
    assert found == pytest.approx(2 * 4 / 8**0.5 + 2, abs=1e-5)


def test_a_network_of_its_own(model: DualBN) -> None:
    before = copy.deepcopy(model.state_dict())
    model.train()
    network = dialled(model.branch("clean"), model.branch("adv"), 0.5)
    assert not network.training
    assert model.training
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_attack_is_on_the_network_itself(model: DualBN) -> None:
    network = dialled(model.branch("clean"), model.branch("adv"), 0.5)
    batches = [(images()[:4], LABELS[:4], KEYS[:4]), (images()[4:], LABELS[4:], KEYS[4:])]
    seen: list[int] = []
    clean, attacked = clean_and_attacked(network, batches, BALL, "multilabel", seen.append)
    assert seen == [4, 2]
    with torch.no_grad():
        expected = network(images())
    torch.testing.assert_close(clean, expected)
    first = look(network, images(), LABELS, margin_loss)
    shown = apgd(
        *(network, images(), LABELS, KEYS), ball=BALL, loss=margin_loss, steps=20, first=first
    )
    with torch.no_grad():
        lower = torch.where(LABELS == 1, torch.minimum(expected, network(shown)), expected)
        worst = torch.where(LABELS == 0, torch.maximum(expected, network(shown)), lower)
    torch.testing.assert_close(attacked, worst, atol=1e-5, rtol=1e-5)
    assert (attacked != clean).any()


def test_exclusive_classes(model: DualBN) -> None:
    labels = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    batches = [(images(), labels, KEYS)]
    clean, attacked = clean_and_attacked(model.branch("adv"), batches, BALL, "exclusive")
    torch.testing.assert_close(clean[:, 0], -clean[:, 1])  # log-odds of two classes
    own = labels == 1
    assert (attacked[own] <= clean[own]).all()
    assert (attacked[~own] >= clean[~own]).all()


@pytest.mark.parametrize(("share", "shown"), [(-0.1, "-0.1"), (1.5, "1.5"), (torch.nan, "nan")])
def test_a_share_beyond_the_ends(model: DualBN, share: float, shown: str) -> None:
    with pytest.raises(MedrobustError) as caught:
        dialled(model.branch("clean"), model.branch("adv"), share)
    assert str(caught.value) == f"share: expected a number between 0 and 1, found {shown}"


def test_networks_that_are_no_twins(model: DualBN) -> None:
    def message(clean: nn.Module, adv: nn.Module) -> str:
        with pytest.raises(MedrobustError) as caught:
            dialled(clean, adv, 0.5)
        return str(caught.value)

    start = (
        "dial: expected two branches of one network, which differ in their batch norms only, found "
    )
    clean = model.branch("clean")
    other = copy.deepcopy(model.branch("adv"))
    nn.init.zeros_(other.fc.bias)
    assert message(clean, other) == start + "another fc.bias"
    wider = build_backbone("small", channels=1, outputs=2, width=8)
    assert message(clean, wider) == start + "other layers"
    assert message(nn.Linear(2, 2), nn.Linear(2, 2)) == start + "no batch norms"


def test_no_images(model: DualBN) -> None:
    with pytest.raises(MedrobustError) as caught:
        clean_and_attacked(model.branch("adv"), [], BALL, "multilabel")
    assert str(caught.value) == "dial: expected images, found none"
