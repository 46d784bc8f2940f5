import itertools

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn

from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.saliency import (
    gradient,
    gradient_x_input,
    integrated_gradients,
    occlusion,
    smooth_grad,
)
from medrobust.models import load_model
from medrobust.randomness import image_keys, key, normal
from medrobust.rundir import RunDir

SHAPES = [(1, 5, 4), (3, 5, 4), (1, 2, 5, 4), (2, 3, 5, 4)]


class Linear(nn.Module):
    """Logits of a linear function of the pixels, of any number of channels and dimensions."""

    def __init__(self, *shape: int, findings: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(findings, *shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.flatten(1).T


class Powers(nn.Module):
    """Two logits: the sum of the pixels' `power`, and minus their sum."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power
        self.sizes: list[int] = []
        """Of the batches seen."""

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        pixels = images.flatten(1)
        return torch.stack([pixels.pow(self.power).sum(1), -pixels.sum(1)], 1)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def drawn(draws: int, shape: tuple[int, ...]) -> Tensor:
    return normal(image_keys(key("smooth-grad"), torch.arange(draws)), shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("finding", [0, 2])
def test_of_a_linear_network_it_is_the_weight(shape: tuple[int, ...], finding: int) -> None:
    network = Linear(*shape)
    expected = network.weight[finding].detach().sum(0).expand(6, *shape[1:])
    torch.testing.assert_close(gradient(network, pictures(6, *shape), finding), expected)
    smooth = smooth_grad(network, pictures(6, *shape), finding, draws=3)
    torch.testing.assert_close(smooth, expected)


def test_squares_by_hand() -> None:
    images = pictures(2, 1, 3, 3)
    torch.testing.assert_close(gradient(Powers(2), images, 0), 2 * images[:, 0])
    torch.testing.assert_close(gradient(Powers(2), images, 1), -torch.ones(2, 3, 3))


@pytest.mark.parametrize("branch", ["clean", "adv"])
def test_equals_captum(dual_run: RunDir, tiny_store: Store, branch: str) -> None:
    network = load_model(dual_run, tiny_store)[0].branch(branch)
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu")
    theirs = Saliency(network).attribute(images.clone().requires_grad_(), target=3, abs=False)
    torch.testing.assert_close(gradient(network, images, 3), theirs.sum(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_x_input_of_a_linear_network_is_weight_times_pixel(shape: tuple[int, ...]) -> None:
    network, images = Linear(*shape), pictures(6, *shape)
    expected = (network.weight[1].detach() * images).sum(1)
    torch.testing.assert_close(gradient_x_input(network, images, 1), expected)


def test_smooth_grad_is_the_mean_gradient_of_noisy_images() -> None:
    images = pictures(4, 2, 3, 3)
    expected = (2 * (images + 0.3 * drawn(7, (2, 3, 3)).mean(0))).sum(1)
    for at_once in (1, 4, 10, 1000):
        found = smooth_grad(Powers(2), images, 0, draws=7, noise=0.3, at_once=at_once)
        torch.testing.assert_close(found, expected)


def test_without_noise_smooth_grad_is_the_gradient() -> None:
    images = pictures(2, 1, 3, 3)
    found = smooth_grad(Powers(3), images, 0, noise=0.0)
    torch.testing.assert_close(found, gradient(Powers(3), images, 0))


def test_smooth_grad_tends_to_the_gradient_of_the_smoothed_network() -> None:
    class Above(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images - 0.5).relu().flatten(1).sum(1, keepdim=True)

    images = torch.linspace(0, 1, 11).reshape(1, 1, 1, 11)
    found = smooth_grad(Above(), images, 0, draws=10_000, noise=0.2, at_once=10_000)
    expected = torch.special.ndtr((images - 0.5) / 0.2)[:, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.025)  # 5 standard errors


def test_smooth_grad_equals_captum_with_the_same_noise(
    dual_run: RunDir, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_model(dual_run, tiny_store)[0].branch("adv").double()
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu").double()[:5]
    noise = 0.1 * drawn(6, tuple(images.shape[1:])).double()

    def add(given: Tensor, stdev: float, draws: int) -> Tensor:
        return (given[:, None] + noise[:draws]).flatten(0, 1)

    monkeypatch.setattr(NoiseTunnel, "_add_noise_to_input", staticmethod(add))
    tunnel = NoiseTunnel(Saliency(network))
    theirs = tunnel.attribute(images, nt_samples=6, target=2, abs=False)
    found = smooth_grad(network, images, 2, draws=6, noise=0.1)
    torch.testing.assert_close(found, theirs.sum(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("baseline", [0.0, 0.4, None])
def test_integrated_gradients_of_a_linear_network(
    shape: tuple[int, ...], baseline: float | None
) -> None:
    network, images = Linear(*shape), pictures(6, *shape)
    start = images.flatten(2).mean(2).reshape(6, shape[0], *[1] * (len(shape) - 1))
    start = start if baseline is None else torch.full_like(start, baseline)
    expected = (network.weight[2].detach() * (images - start)).sum(1)
    found = integrated_gradients(network, images, 2, baseline=baseline, steps=3)
    torch.testing.assert_close(found, expected)


def test_integrated_gradients_of_cubes_are_the_cubes() -> None:
    images = pictures(3, 1, 4, 4)
    for at_once in (1, 5, 100):
        found = integrated_gradients(Powers(3), images, 0, steps=2, at_once=at_once)
        torch.testing.assert_close(found, images[:, 0] ** 3)


def test_integrated_gradients_are_complete(dual_run: RunDir, tiny_store: Store) -> None:
    network = load_model(dual_run, tiny_store)[0].branch("clean").eval()
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu")[:6]
    with torch.no_grad():
        expected = (network(images) - network(torch.zeros_like(images)))[:, 1]
    largest = expected.abs().max()
    errors = []
    for steps in (5, 25, 200):
        found = integrated_gradients(network, images, 1, steps=steps).sum((1, 2))
        errors.append((found - expected).abs().max() / largest)
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 0.05
    assert errors[2] < 0.01


@pytest.mark.parametrize(
    ("shape", "patch", "sides"),
    [
        ((1, 8, 12), 0.25, (2, 3)),
        ((2, 7, 9), 1 / 3, (2, 3)),  # the last patches stick out
        ((3, 4, 4), 1, (4, 4)),
        ((1, 4, 4, 6), 0.5, (2, 2, 3)),
        ((2, 9, 5), 0.01, (1, 1)),
    ],
)
@pytest.mark.parametrize("fill", [0.3, None])
def test_occlusion_of_a_linear_network(
    shape: tuple[int, ...], patch: float, sides: tuple[int, ...], fill: float | None
) -> None:
    network, images = Linear(*shape), pictures(3, *shape)
    grey = images.flatten(2).mean(2).reshape(3, shape[0], *[1] * len(sides))
    grey = grey if fill is None else torch.full_like(grey, fill)
    share = (network.weight[0].detach() * (images - grey)).sum(1)
    total, covers = torch.zeros_like(share), torch.zeros_like(share)
    for corner in itertools.product(
        *(corners(*pair) for pair in zip(shape[1:], sides, strict=True))
    ):
        here = tuple(slice(a, a + side) for a, side in zip(corner, sides, strict=True))
        total[:, *here] += share[:, *here].flatten(1).sum(1).reshape(3, *[1] * len(sides))
        covers[:, *here] += 1
    for at_once in (1, 64):
        found = occlusion(network, images, 0, patch=patch, fill=fill, at_once=at_once)
        torch.testing.assert_close(found, total / covers, rtol=1e-4, atol=1e-5)


def corners(length: int, side: int) -> list[int]:
    """Where patches begin: every half side until one reaches the end."""
    found = [0]
    while found[-1] + side < length:
        found.append(found[-1] + max(1, side // 2))
    return found


def test_versions_of_images_pass_in_full_batches() -> None:
    images = pictures(3, 1, 8, 8)
    network = Powers(2)
    smooth_grad(network, images, 0, draws=10, at_once=12)
    assert network.sizes == [12, 12, 6]
    network.sizes.clear()
    integrated_gradients(network, images, 0, steps=10, at_once=12)
    assert network.sizes == [12, 12, 6]
    network.sizes.clear()
    occlusion(network, images, 0, patch=1 / 4, at_once=90)  # 7 × 7 patches
    assert network.sizes == [3, 90, 57]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (smooth_grad, {"draws": 0}, "smooth-grad: expected at least 1 draw, found 0"),
        (
            integrated_gradients,
            {"steps": 0},
            "integrated-gradients: expected at least 1 step, found 0",
        ),
        (
            occlusion,
            {"patch": 8},
            "occlusion: expected a patch above 0 and up to 1 of the image's side, found 8",
        ),
    ],
)
def test_bad_options(method, options, message) -> None:
    with pytest.raises(MedrobustError) as error:
        method(Powers(1), pictures(1, 1, 4, 4), 0, **options)
    assert str(error.value) == message
