"""Noise of the attack's size, but not aimed: the control for every attack."""

from torch import Tensor, nn

from medrobust.attacks.ball import Ball
from medrobust.randomness import normal


def gaussian_noise(
    network: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, *, ball: Ball
) -> Tensor:
    """Images plus Gaussian noise of mean 0, clipped to ball and box; takes an attack's place.

    The standard deviation is the radius in l∞; in l2 it is radius / √d, which gives noise of
    about the same length. (The published code's noise had mean 0.5 and was not clipped.)
    `network` and `labels` are not used.
    """
    spread = ball.radius
    if ball.norm == "l2":
        spread /= images[0].numel() ** 0.5
    noise = normal(keys, images.shape[1:]).to(images)
    return ball.project(images.detach() + spread * noise, images.detach())
