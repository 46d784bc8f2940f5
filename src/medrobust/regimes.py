"""The paper: three ways to train, and its control, each a loss of one batch.

Han et al., Nature Communications 12:4315 (2021). `attack` is any function
(network, images, labels, keys) -> attacked images; the noise control is `adversarial` training
with `gaussian_noise` in the attack's place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
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

    def only(self, chosen: Tensor) -> "Batch":
        """The images where `chosen` (N,) is true."""
        return Batch(*(part[chosen] for part in (self.images, self.labels, self.keys, self.rows)))


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


def unpaired(model: DualBN, batch: Batch, attack: Attack, loss: Loss, *, part: float) -> Tensor:
    """As `dual`, but each image is in one half: a share `part` is attacked, the others are clean.

    Mei et al., Fast AdvProp (ICLR 2022). With a half a step needs half the passes of `dual`.
    """
    count = torch.arange(len(batch.images) + 1, device=batch.images.device) * part
    is_attacked = count.floor().diff() > 0  # every other image of a batch, for a half
    other, clean = batch.only(is_attacked), batch.only(~is_attacked)
    attacked = attack(model.branch("adv"), other.images, other.labels, other.keys)
    logits = model({"clean": clean.images, "adv": attacked})
    return loss(logits["clean"], clean.labels).mean() + loss(logits["adv"], other.labels).mean()


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


def regime_of(name: str, part: float = 1) -> Regime:
    """The regime of this name; a `part` below 1 makes `dual` unpaired."""
    return partial(unpaired, part=part) if part < 1 else REGIMES[name]
