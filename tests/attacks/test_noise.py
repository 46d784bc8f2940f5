import torch
from torch import nn

from medrobust.attacks import Ball, gaussian_noise
from medrobust.randomness import image_keys, key

KEYS = image_keys(key(0, "test"), torch.arange(50))


def noise(images: torch.Tensor, ball: Ball) -> torch.Tensor:
    return gaussian_noise(nn.Identity(), images, torch.zeros(50, 1), KEYS, ball=ball) - images


def test_noise_has_mean_zero_and_is_clipped_to_the_ball() -> None:
    # The published control added noise of mean 0.5, which shifted every image.
    offset = noise(torch.full((50, 1, 20, 20), 0.5), Ball("linf", 0.1))
    assert abs(float(offset.mean())) < 0.002
    assert offset.abs().max() <= 0.1 + 1e-6
    assert abs(float((offset.abs() >= 0.1 - 1e-6).float().mean()) - 0.317) < 0.01  # beyond 1 σ
    inner = offset[offset.abs() < 0.05]  # within ½ σ: 38.3 %
    assert abs(inner.numel() / offset.numel() - 0.383) < 0.01


def test_noise_stays_in_the_box() -> None:
    images = torch.randint(0, 2, (50, 1, 8, 8)).float()
    attacked = images + noise(images, Ball("linf", 0.3))
    assert attacked.min() >= 0
    assert attacked.max() <= 1


def test_l2_noise_has_about_the_radius() -> None:
    offset = noise(torch.full((50, 1, 20, 20), 0.5), Ball("l2", 1.0))
    length = offset.flatten(1).norm(dim=1)
    assert length.max() <= 1 + 1e-5
    assert length.mean() > 0.95
