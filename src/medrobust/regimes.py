"""The paper: three ways to train, and its control, each a loss of one batch.

Han et al., Nature Communications 12:4315 (2021). `attack` is any function
(network, images, labels, keys) -> attacked images; the noise control is `adversarial` training
with `gaussian_noise` in the attack's place.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from medrobust.attacks import Attack
from medrobust.dual import DualBN
from medrobust.losses import Loss


@dataclass(frozen=True)
class Batch:
    """What one training step works on."""

    images: Tensor
    """(N, C, H, W) or (N, C, D, H, W), in [0, 1]."""
    labels: Tensor
    """(N, K) in {0, 1}, NaN = unknown."""
    keys: Tensor
    """(N,) int64; decide the attack's random starts."""
    rows: Tensor
    """(N,) int64; the images' places in the store, plus its length for each time that an image
    came before in the epoch (balanced classes)."""


Regime = Callable[[DualBN, Batch, Attack, Loss], Tensor]


def standard(model: DualBN, batch: Batch, attack: Attack, loss: Loss) -> Tensor:
    """Clean images only."""
    logits = model({"single": batch.images})
    return loss(logits["single"], batch.labels).mean()


def adversarial(model: DualBN, batch: Batch, attack: Attack, loss: Loss) -> Tensor:
    """Attacked images only, one set of batch norms."""
    attacked = attack(model.branch("single"), batch.images, batch.labels, batch.keys)
    logits = model({"single": attacked})
    return loss(logits["single"], batch.labels).mean()


def dual(model: DualBN, batch: Batch, attack: Attack, loss: Loss) -> Tensor:
    """Clean images through the clean norms plus attacked images through the adversarial norms."""
    attacked = attack(model.branch("adv"), batch.images, batch.labels, batch.keys)
    logits = model({"clean": batch.images, "adv": attacked})
    return (loss(logits["clean"], batch.labels) + loss(logits["adv"], batch.labels)).mean()


BRANCHES = {
    "standard": ("single",),
    "adversarial": ("single",),
    "noise": ("single",),
    "dual": ("clean", "adv"),
}
"""The branches a model needs in each regime."""

REGIMES: dict[str, Regime] = {
    "standard": standard,
    "adversarial": adversarial,
    "noise": adversarial,
    "dual": dual,
}
"""By the name that stands in a configuration."""
