import pytest
import torch
from captum.attr import Saliency
from torch import Tensor, nn

from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.explain.saliency import gradient
from medrobust.models import load_model
from medrobust.rundir import RunDir


class Linear(nn.Module):
    """Logits of a linear function of the pixels, of any number of channels and dimensions."""

    def __init__(self, *shape: int, findings: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(findings, *shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.flatten(1).T


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 5, 4), (1, 2, 5, 4), (2, 3, 5, 4)])
@pytest.mark.parametrize("finding", [0, 2])
def test_of_a_linear_network_it_is_the_weight(shape: tuple[int, ...], finding: int) -> None:
    network = Linear(*shape)
    maps = gradient(network, torch.rand(6, *shape), finding)
    expected = network.weight[finding].detach().sum(0).expand(6, *shape[1:])
    torch.testing.assert_close(maps, expected)


def test_squares_by_hand() -> None:
    class Squares(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images.square().flatten(1).sum(1), -images.flatten(1).sum(1)], 1)

    images = torch.rand(2, 1, 3, 3)
    torch.testing.assert_close(gradient(Squares(), images, 0), 2 * images[:, 0])
    torch.testing.assert_close(gradient(Squares(), images, 1), -torch.ones(2, 3, 3))


@pytest.mark.parametrize("branch", ["clean", "adv"])
def test_equals_captum(dual_run: RunDir, tiny_store: Store, branch: str) -> None:
    network = load_model(dual_run, tiny_store)[0].branch(branch)
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu")
    theirs = Saliency(network).attribute(images.clone().requires_grad_(), target=3, abs=False)
    torch.testing.assert_close(gradient(network, images, 3), theirs.sum(1))


def test_each_image_has_its_own_map(dual_run: RunDir, tiny_store: Store) -> None:
    network = load_model(dual_run, tiny_store)[0].branch("adv")
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu")
    alone = torch.cat([gradient(network, image[None], 1) for image in images])
    torch.testing.assert_close(gradient(network, images, 1), alone, atol=1e-6, rtol=1e-4)


def test_leaves_the_network_as_it_was(dual_run: RunDir, tiny_store: Store) -> None:
    model, _ = load_model(dual_run, tiny_store)
    network = model.branch("clean").train()
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    images = load_images(tiny_store, tiny_store.rows("val"), "cpu")
    with torch.no_grad():
        maps = gradient(network, images, 0)
    assert maps.abs().amax() > 0
    assert not maps.requires_grad
    assert not images.requires_grad
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in network.named_buffers())
