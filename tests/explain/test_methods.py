"""What all methods have in common, and choosing one by name."""

import pytest
import torch
from torch import Tensor, nn

from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.methods import METHODS, Method, method_named
from medrobust.explain.saliency import gradient, smooth_grad
from medrobust.models import load_model
from medrobust.networks import Classifier, build_backbone
from medrobust.rundir import RunDir

QUICK = {
    "smooth-grad": {"draws": 3},
    "integrated-gradients": {"steps": 4},
    "occlusion": {"patch": 0.5},
}
"""Options with which a map takes no time."""


def quick(name: str) -> Method:
    return method_named(name, **QUICK.get(name, {}))


def built(channels: int, dimensions: int, width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    backbone = build_backbone(
        "small", channels=channels, outputs=3, dimensions=dimensions, width=width
    )
    return Classifier(backbone, [0.5] * channels, [0.3] * channels, dimensions)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def test_the_methods() -> None:
    assert list(METHODS) == [
        *("gradient", "gradient-x-input", "smooth-grad", "integrated-gradients"),
        *("grad-cam", "occlusion"),
    ]
    assert all(method.name == name for name, method in METHODS.items())


@pytest.mark.parametrize("shape", [(1, 9, 12), (3, 8, 8), (1, 6, 9, 8), (2, 8, 8, 8)])
@pytest.mark.parametrize("name", METHODS)
def test_a_map_is_as_large_as_the_image(name: str, shape: tuple[int, ...]) -> None:
    maps = quick(name)(built(shape[0], len(shape) - 1), pictures(2, *shape), 1)
    assert maps.shape == (2, *shape[1:])
    assert maps.isfinite().all()
    assert maps.dtype == torch.float32
    assert not maps.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_all_maps_but_those_of_grad_cam_are_signed(
    dual_run: RunDir, tiny_store: Store, name: str
) -> None:
    network = load_model(dual_run, tiny_store)[0].branch("adv")
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu")
    maps = torch.stack([quick(name)(network, images, finding) for finding in range(3)])
    assert maps.amax() > 0
    assert bool((maps < 0).any()) == (name != "grad-cam")


@pytest.mark.parametrize("name", METHODS)
def test_each_image_has_its_own_map(dual_run: RunDir, tiny_store: Store, name: str) -> None:
    network = load_model(dual_run, tiny_store)[0].branch("adv").double()
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu").double()[:7]
    whole = quick(name)(network, images, 1)
    alone = torch.cat([quick(name)(network, image[None], 1) for image in images.flip(0)]).flip(0)
    torch.testing.assert_close(whole, alone, rtol=1e-7, atol=1e-7 * whole.abs().max().item())


@pytest.mark.parametrize("name", METHODS)
def test_leaves_everything_as_it_was(dual_run: RunDir, tiny_store: Store, name: str) -> None:
    network = load_model(dual_run, tiny_store)[0].branch("clean").train()
    next(network.parameters()).requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    buffers = {key: buffer.clone() for key, buffer in network.named_buffers()}
    images = load_images(tiny_store, tiny_store.rows("val"), "cpu")
    before, state = images.clone(), torch.get_rng_state()
    with torch.no_grad():
        maps = quick(name)(network, images, 0)
    assert maps.abs().amax() > 0
    assert torch.equal(images, before)
    assert not images.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in network.modules())
    assert [parameter.requires_grad for parameter in network.parameters()] == wanted
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(buffer, buffers[key]) for key, buffer in network.named_buffers())
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(quick(name)(network.eval(), images, 0), maps)


@pytest.mark.parametrize("name", METHODS)
def test_images_made_in_inference_mode_can_be_explained(name: str) -> None:
    network, images = built(1, 2), pictures(2, 1, 8, 8)
    expected = quick(name)(network, images, 0)
    with torch.inference_mode():
        maps = quick(name)(network, images.clone(), 0)
    assert torch.equal(maps, expected)


def test_options_are_set_by_name() -> None:
    network, images = built(1, 2), pictures(2, 1, 8, 8)
    method = method_named("smooth-grad", draws=2, noise=0.4)
    assert method.name == "smooth-grad"
    expected = smooth_grad(network, images, 1, draws=2, noise=0.4)
    assert torch.equal(method(network, images, 1), expected)
    assert torch.equal(method_named("gradient")(network, images, 1), gradient(network, images, 1))
    assert METHODS["grad-cam"].options == ("layer",)
    assert METHODS["gradient"].options == ()
    assert method.options == METHODS["smooth-grad"].options == ("draws", "noise", "at_once")


ALL = "gradient, gradient-x-input, smooth-grad, integrated-gradients, grad-cam, occlusion"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "gradcam",
            {},
            f"method: expected one of {ALL}, found 'gradcam'; did you mean grad-cam?",
        ),
        ("lime", {}, f"method: expected one of {ALL}, found 'lime'"),
        (
            "grad-cam",
            {"layers": "x"},
            "grad-cam: option: expected one of layer, found 'layers'; did you mean layer?",
        ),
        ("gradient", {"draws": 2}, "gradient: option: expected one of none, found 'draws'"),
    ],
)
def test_a_method_or_option_that_does_not_exist(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(MedrobustError) as error:
        method_named(name, **options)
    assert str(error.value) == message
