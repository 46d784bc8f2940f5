"""Attacks: functions of (network, images, labels), with a ball and a loss as values."""

from medrobust.attacks.apgd import apgd
from medrobust.attacks.ball import Ball
from medrobust.attacks.gradient import Attack, fgsm, n_fgsm, pgd
from medrobust.attacks.noise import gaussian_noise
from medrobust.attacks.square import square

__all__ = ["Attack", "Ball", "apgd", "fgsm", "gaussian_noise", "n_fgsm", "pgd", "square"]
