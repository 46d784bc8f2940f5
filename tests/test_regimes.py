import copy

import pytest
import torch
from torch import Tensor, nn

from medrobust.dual import DualBN
from medrobust.losses import sigmoid_loss
from medrobust.networks import build_backbone
from medrobust.regimes import BRANCHES, REGIMES, Batch, adversarial, dual, regime_of, standard


def batch() -> Batch:
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(8, 1, 12, 12, generator=draw)
    labels = torch.randint(0, 2, (8, 2), generator=draw).float()
    return Batch(images, labels, torch.arange(8), torch.arange(8))


def model(*branches: str) -> DualBN:
    torch.manual_seed(0)
    return DualBN(build_backbone("small", channels=1, outputs=2, width=4), branches).train()


class Brighter:
    """An attack that can be recognised, and knows which network it was made on."""

    def __init__(self) -> None:
        self.seen: list[nn.Module] = []

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
        self.seen.append(network)
        return (images + 0.2).clamp(0, 1)


def test_standard_sees_clean_images_and_never_attacks() -> None:
    one, given, attack = model("single"), batch(), Brighter()
    other = copy.deepcopy(one)
    loss = standard(one, given, attack, sigmoid_loss)
    torch.testing.assert_close(loss, sigmoid_loss(other.single(given.images), given.labels).mean())
    assert not attack.seen


def test_adversarial_sees_attacked_images_only() -> None:
    one, given, attack = model("single"), batch(), Brighter()
    other = copy.deepcopy(one)
    loss = adversarial(one, given, attack, sigmoid_loss)
    attacked = (given.images + 0.2).clamp(0, 1)
    torch.testing.assert_close(loss, sigmoid_loss(other.single(attacked), given.labels).mean())
    assert attack.seen == [one.single]


def test_dual_is_the_sum_of_clean_and_attacked_each_through_its_own_norms() -> None:
    one, given, attack = model("clean", "adv"), batch(), Brighter()
    other = copy.deepcopy(one)
    loss = dual(one, given, attack, sigmoid_loss)
    attacked = (given.images + 0.2).clamp(0, 1)
    expected = (
        sigmoid_loss(other.clean(given.images), given.labels).mean()
        + sigmoid_loss(other.adv(attacked), given.labels).mean()
    )
    torch.testing.assert_close(loss, expected)
    assert attack.seen == [one.adv]
    for one_buffer, other_buffer in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one_buffer, other_buffer)


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_has_its_branches_and_a_loss(regime: str) -> None:
    one = model(*BRANCHES[regime])
    loss = REGIMES[regime](one, batch(), Brighter(), sigmoid_loss)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in one.parameters())


@pytest.mark.parametrize(("part", "places"), [(0.5, [1, 3, 5, 7]), (0.25, [3, 7])])
def test_unpaired_attacks_a_share_and_shows_the_others_clean(
    part: float, places: list[int]
) -> None:
    one, given, attack = model("clean", "adv"), batch(), Brighter()
    other = copy.deepcopy(one)
    loss = regime_of("dual", part)(one, given, attack, sigmoid_loss)
    rest = [place for place in range(8) if place not in places]
    attacked = (given.images[places] + 0.2).clamp(0, 1)
    expected = (
        sigmoid_loss(other.clean(given.images[rest]), given.labels[rest]).mean()
        + sigmoid_loss(other.adv(attacked), given.labels[places]).mean()
    )
    torch.testing.assert_close(loss, expected)
    assert attack.seen == [one.adv]


def test_the_whole_part_is_the_regime_itself() -> None:
    assert regime_of("dual") is dual
    assert regime_of("standard", 1.0) is standard
