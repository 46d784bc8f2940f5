import math

import pytest
import torch
from scipy import ndimage

from medrobust.data.augment import Augmentation
from medrobust.randomness import image_keys, key, uniform

KEYS = image_keys(key(0, "augment"), torch.arange(200))


def blob(*shape: int) -> torch.Tensor:
    axes = [torch.linspace(-1, 1, size) for size in shape]
    squares = [((axis - 0.2 * place) / 0.3) ** 2 for place, axis in enumerate(axes)]
    grid = torch.meshgrid(*squares, indexing="ij")
    return torch.exp(-sum(grid)).reshape(1, 1, *shape)


def test_nothing_asked_nothing_changed() -> None:
    images = torch.rand(5, 1, 9, 7)
    assert torch.equal(Augmentation()(images, KEYS[:5]), images)


@pytest.mark.parametrize("shape", [(12, 10), (4, 12, 10)])
def test_an_image_is_changed_alike_in_any_batch(shape: tuple[int, ...]) -> None:
    images = torch.rand(6, 1, *shape)
    change = Augmentation(15, 0.1, 0.2, 0.1, 0.2, flip=True)
    whole = change(images, KEYS[:6])
    torch.testing.assert_close(change(images[2:4], KEYS[2:4]), whole[2:4])
    assert not torch.equal(whole, images)
    assert whole.min() >= 0
    assert whole.max() <= 1


@pytest.mark.parametrize("shape", [(40, 40), (40, 60)])
def test_rotation_is_one_in_pixels_whatever_the_aspect(shape: tuple[int, int]) -> None:
    image = blob(*shape)
    draws = 2 * uniform(KEYS, (8,)) - 1
    place = int(draws[:, 0].abs().argmax())  # the largest angle
    turned = Augmentation(rotation=30)(image, KEYS[place : place + 1])
    angle = float(draws[place, 0]) * 30
    expected = ndimage.rotate(image[0, 0].numpy(), angle, reshape=False, order=1, mode="nearest")
    assert abs(turned[0, 0].numpy() - expected).max() < 0.02


def test_shift_moves_by_at_most_its_fraction() -> None:
    image = blob(50, 50).expand(200, -1, -1, -1)
    moved = Augmentation(shift=0.1)(image, KEYS)
    places = torch.arange(50.0)
    centre = (moved.sum((1, 3)) * places).sum(1) / moved.sum((1, 2, 3))
    before = (image.sum((1, 3)) * places).sum(1) / image.sum((1, 2, 3))
    offset = centre - before
    assert offset.abs().max() <= 5.05
    assert offset.abs().max() > 4.5
    assert offset.mean().abs() < 0.6


def test_scale_changes_the_area() -> None:
    image = blob(60, 60).expand(200, -1, -1, -1)
    area = Augmentation(scale=0.2)(image, KEYS).sum((1, 2, 3)) / image.sum((1, 2, 3))
    assert area.min() > 0.8**2 - 0.02
    assert area.max() < 1.2**2 + 0.02
    assert area.max() - area.min() > 0.6


def test_brightness_and_contrast() -> None:
    image = torch.full((200, 1, 4, 4), 0.5)
    image[:, :, :2] = 0.4
    image[:, :, 2:] = 0.6
    brighter = Augmentation(brightness=0.1)(image, KEYS)
    offset = (brighter - image).flatten(1)
    torch.testing.assert_close(offset.amin(1), offset.amax(1), atol=1e-6, rtol=0)
    assert 0.09 < offset.abs().max() <= 0.1 + 1e-6
    steeper = Augmentation(contrast=0.2)(image, KEYS)
    torch.testing.assert_close(steeper.mean((1, 2, 3)), image.mean((1, 2, 3)))
    gain = (steeper[:, 0, 3, 0] - steeper[:, 0, 0, 0]) / 0.2
    assert 1.15 < gain.max() <= 1.2 + 1e-5


def test_no_flip_unless_asked() -> None:
    image = torch.zeros(200, 1, 8, 8)
    image[..., :4] = 1
    still = Augmentation(rotation=10, shift=0.05, scale=0.1)(image, KEYS)
    assert (still[..., :4].mean((1, 2, 3)) > still[..., 4:].mean((1, 2, 3))).all()
    flipped = Augmentation(flip=True)(image, KEYS)
    share = float((flipped[..., 0].mean((1, 2)) < 0.5).float().mean())
    assert abs(share - 0.5) < 0.1


def test_volumes_turn_within_their_slices() -> None:
    volume = blob(40, 40)[:, :, None].expand(1, 1, 5, 40, 40)
    turned = Augmentation(rotation=30)(volume, KEYS[:1])
    flat = Augmentation(rotation=30)(volume[:, :, 0], KEYS[:1])
    for depth in range(5):
        torch.testing.assert_close(turned[:, :, depth], flat, atol=1e-5, rtol=0)
    assert math.isfinite(float(turned.sum()))
