import numpy as np
import torch
from torch import Tensor

from medrobust.explain.sanity.similarity import rank_similarity
from medrobust.explain.sanity.stability import noisy, under_noise

KEYS = torch.arange(6)


def grey(images: Tensor) -> Tensor:
    return images[:, 0]


def test_noise_has_its_deviation_and_stays_in_the_box() -> None:
    images = torch.full((6, 1, 64, 64), 0.5)
    changed = noisy(images, KEYS, 0.02)
    assert abs(float((changed - images).std()) - 0.02) < 5e-4
    assert not torch.equal(changed[0], changed[1])
    torch.testing.assert_close(noisy(images, KEYS.flip(0), 0.02).flip(0), changed)
    black = noisy(torch.zeros(6, 1, 8, 8), KEYS, 0.02)
    assert black.min() == 0


def test_the_more_noise_the_less_alike() -> None:
    images = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    found = [
        under_noise(grey(images), grey, images, KEYS, deviation=deviation)
        for deviation in (0.0, 0.01, 0.3)
    ]
    np.testing.assert_allclose(found[0], 1)
    assert (found[1] > 0.99).all()
    assert (found[2] < found[1]).all()


def test_a_map_that_sees_no_image_is_stable() -> None:
    def same(images: Tensor) -> Tensor:
        return torch.arange(4.0).reshape(1, 2, 2).expand(len(images), 2, 2)

    images = torch.rand(6, 1, 2, 2)
    np.testing.assert_allclose(under_noise(same(images), same, images, KEYS, draws=2), 1)


def test_a_single_draw_by_hand() -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shown: list[Tensor] = []

    def method(changed: Tensor) -> Tensor:
        shown.append(changed)
        return changed[:, 0]

    found = under_noise(images[:, 0], method, images, KEYS, deviation=0.1, draws=1)
    np.testing.assert_allclose(found, rank_similarity(images[:, 0], shown[0][:, 0]))
    assert len(shown) == 1
    assert not torch.equal(shown[0], images)
