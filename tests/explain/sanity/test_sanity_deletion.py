import pytest
import torch
from torch import Tensor, nn

from medrobust.explain.sanity.deletion import area, at_random, by_importance, curve

KEYS = torch.arange(3)


class Weighted(nn.Module):
    """The weighted sum of the pixels, as a single logit."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weights).flatten(1).sum(1, keepdim=True)


def test_pixels_go_by_size_and_ties_by_their_keys() -> None:
    maps = torch.tensor([[[0.0, -3.0], [1.0, 2.0]]])
    assert by_importance(maps, KEYS[:1]).tolist() == [[3, 0, 2, 1]]
    flat = torch.zeros(3, 1, 8, 8)
    order = at_random(flat, KEYS)
    assert torch.equal(order.sort(1).values, torch.arange(64).expand(3, 64))
    assert not torch.equal(order[0], order[1])
    assert not torch.equal(order[0], torch.arange(64))
    assert torch.equal(order, at_random(flat, KEYS))
    tied = torch.zeros(1, 8, 8)
    tied[0, 3, 4] = 1
    assert by_importance(tied, KEYS[:1])[0, 28] == 0


def test_deletion_of_one_bright_pixel_by_hand() -> None:
    """A single bright pixel is the whole evidence; a wide blur leaves 1/16 of it everywhere."""
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 2] = 1.0
    weights = torch.zeros(4, 4)
    weights[1, 2] = 1.0
    maps = image[:, 0]
    settings = {"steps": 4, "width": 0.5, "probability": lambda logits: logits}
    order = by_importance(maps, KEYS[:1])
    network = Weighted(weights)
    deleted = curve(network, image, 0, order, kind="deletion", **settings)[0]
    inserted = curve(network, image, 0, order, kind="insertion", **settings)[0]
    left = float(deleted[-1])
    assert 0 < left < 0.2
    assert deleted.tolist() == pytest.approx([1, left, left, left, left])
    assert inserted.tolist() == pytest.approx([left, 1, 1, 1, 1])
    assert float(area(deleted[None])) == pytest.approx(1 / 8 + left * 7 / 8)
    assert float(area(inserted[None])) == pytest.approx(7 / 8 + left / 8)


def test_random_order_of_an_even_image_falls_in_a_line() -> None:
    """Insertion is deletion read backwards where all pixels count alike."""
    images = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    network = Weighted(torch.full((5, 4), 1 / 20))
    order = at_random(images, KEYS)
    deleted = curve(network, images, 0, order, kind="deletion", steps=20)
    inserted = curve(network, images, 0, 19 - order, kind="insertion", steps=20)
    torch.testing.assert_close(deleted, inserted.flip(1))


def test_better_maps_have_smaller_deletion_and_larger_insertion_areas() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 8, 8, generator=generator)
    weights = torch.zeros(8, 8)
    weights[2:4, 2:4] = 1
    images[:, :, 2:4, 2:4] = 1
    knowing = by_importance(weights.expand(3, 8, 8), KEYS)
    network = Weighted(weights)
    areas = {
        (kind, name): area(curve(network, images, 0, order, kind=kind)).mean()
        for kind in ("deletion", "insertion")
        for name, order in {"map": knowing, "random": at_random(images, KEYS)}.items()
    }
    assert areas["deletion", "map"] < areas["deletion", "random"]
    assert areas["insertion", "map"] > areas["insertion", "random"]
    assert all(0 <= value <= 1 for value in areas.values())


def test_volumes_and_modes() -> None:
    volumes = torch.rand(3, 1, 2, 4, 4)
    network = Weighted(torch.ones(2, 4, 4)).train()
    points = curve(network, volumes, 0, at_random(volumes, KEYS), kind="deletion", steps=3)
    assert points.shape == (3, 4)
    assert network.training
