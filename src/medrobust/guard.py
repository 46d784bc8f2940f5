"""A guard for training with one step of attack.

Such training can collapse within an epoch: the network learns to resist the one step and nothing
else (catastrophic overfitting; Wong, Rice & Kolter, Fast is better than free, ICLR 2020). Its own
attack then hardly raises the loss, while several steps raise it greatly. That is looked at on
images held back for validation.
"""

from functools import partial

import torch
from torch import nn

from medrobust.attacks import Attack, pgd
from medrobust.attacks.gradient import frozen, full_precision
from medrobust.config import Config
from medrobust.data.store import Store
from medrobust.folding import Fast, as_it_is
from medrobust.inference import Cases
from medrobust.models import ball_of, loss_for, training_attack

IMAGES = 128
"""Held-back images that are looked at."""
STEPS = 10
"""Of the attack that one step is held against."""
COLLAPSED = 2.0
"""How many times as large the loss under several steps is, from which a network has collapsed."""


def is_needed(config: Config) -> bool:
    """Whether these settings can collapse."""
    one_step = config.attack.name in ("fgsm", "n-fgsm") and config.regime in ("adversarial", "dual")
    return one_step and config.attack.guard and config.attack.eps > 0


def excess(
    network: nn.Module,
    store: Store,
    config: Config,
    device: torch.device,
    fast: Fast = as_it_is,
) -> float:
    """The mean loss under several steps of PGD by that under the attack of training.

    Both attack what `fast` makes of the network. On the first images of the validation split;
    about 1 for a network that has not collapsed.
    """
    loss = loss_for(store.info.task)
    several: Attack = partial(pgd, ball=ball_of(config.attack), loss=loss, steps=STEPS)
    rows = store.rows("val")[:IMAGES]
    cases = Cases(store, rows, config.evaluate.batch_size, device, config.seed)
    sums = torch.zeros(2, dtype=torch.float64)
    for number, attack in enumerate((several, training_attack(config, loss))):
        for _, images, labels, keys in cases.batches("guard"):
            with fast(network, images) as copied:
                attacked = attack(copied, images, labels, keys)
            with frozen(network):
                sums[number] += loss(full_precision(network(attacked)), labels).sum().cpu()
    return float(sums[0] / sums[1].clamp(min=torch.finfo(torch.float64).tiny))
