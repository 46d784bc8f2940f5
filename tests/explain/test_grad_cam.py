from collections import OrderedDict

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.grad_cam import cam_layer, grad_cam
from medrobust.folding import folded
from medrobust.models import load_model
from medrobust.networks import Classifier, build_backbone
from medrobust.rundir import RunDir

CONV = {2: nn.Conv2d, 3: nn.Conv3d}


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def two_layers(dimensions: int = 2, inplace: bool = True, stride: int = 1) -> nn.Sequential:
    """Two convolutions, the mean over space, a linear layer; the same weights each time."""
    torch.manual_seed(0)
    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dimensions]
    return nn.Sequential(
        OrderedDict(
            conv1=CONV[dimensions](1, 3, 3, padding=1),
            act1=nn.ReLU(inplace),
            conv2=CONV[dimensions](3, 4, 3, padding=1, stride=stride),
            act2=nn.ReLU(inplace),
            pool=pool(1),
            flat=nn.Flatten(),
            fc=nn.Linear(4, 2),
        )
    )


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("inplace", [True, False])
def test_by_hand(dimensions: int, inplace: bool) -> None:
    network, images = two_layers(dimensions, inplace), pictures(5, 1, *[6] * dimensions)
    with torch.no_grad():
        features = network[:4](images)
        weight = network.fc.weight[1] / 6**dimensions  # each pixel's gradient, so their mean
        expected = torch.einsum("nk...,k->n...", features, weight).relu()
    assert expected.amax() > 0
    assert (expected == 0).any()
    torch.testing.assert_close(grad_cam(network, images, 1), expected)
    torch.testing.assert_close(grad_cam(network, images, 1, layer="act2"), expected)


def test_an_inner_layer_by_hand() -> None:
    network, images = two_layers(), pictures(5, 1, 6, 6)
    before = network.conv1(images).detach().requires_grad_()
    slopes = torch.autograd.grad(network[2:](before.relu())[:, 0].sum(), before)[0]
    weights = slopes.mean((2, 3), keepdim=True)
    expected = (weights * before.detach()).sum(1).relu()
    torch.testing.assert_close(grad_cam(network, images, 0, layer="conv1"), expected)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_small_map_is_enlarged_linearly_to_the_image(dimensions: int) -> None:
    network = two_layers(dimensions, stride=4)
    images = pictures(3, 1, *[8] * dimensions)
    small = LayerGradCam(network, network.act2).attribute(images, 1, relu_attributions=True)
    assert small.shape == (3, 1, *[2] * dimensions)
    found = grad_cam(network, images, 1)
    mode = {2: "bilinear", 3: "trilinear"}[dimensions]
    expected = LayerAttribution.interpolate(small, (8,) * dimensions, mode).detach()[:, 0]
    torch.testing.assert_close(found, expected)
    corner = (slice(None), *[0] * dimensions)
    torch.testing.assert_close(found[corner], small[:, 0].detach()[corner])


@pytest.mark.parametrize("branch", ["clean", "adv"])
def test_equals_captum_at_the_last_block(dual_run: RunDir, tiny_store: Store, branch: str) -> None:
    network = load_model(dual_run, tiny_store)[0].branch(branch)
    images = load_images(tiny_store, tiny_store.rows("test"), "cpu")
    block = network.get_submodule("backbone.layer3")
    theirs = LayerGradCam(network, block).attribute(images, target=2, relu_attributions=True)
    expected = LayerAttribution.interpolate(theirs, (32, 32), "bilinear").detach()[:, 0]
    assert expected.amax() > 0
    torch.testing.assert_close(grad_cam(network, images, 2), expected)


@pytest.mark.parametrize(
    ("name", "dimensions", "side", "layer"),
    [
        ("small", 2, 16, "backbone.layer3"),
        ("small", 3, 8, "backbone.layer3"),
        ("resnet18", 2, 64, "backbone.layer4"),
        ("resnet18", 2, 32, "backbone.layer3"),  # layer4 is 1 × 1
        ("resnet18", 3, 64, "backbone.layer4"),
        ("resnet50", 2, 64, "backbone.layer4"),
        ("densenet121", 2, 64, "backbone.class_layers.relu"),
    ],
)
def test_the_layer_is_found(name: str, dimensions: int, side: int, layer: str) -> None:
    backbone = build_backbone(name, channels=1, outputs=2, dimensions=dimensions, width=4)
    network = Classifier(backbone, [0.5], [0.3], dimensions)
    images = pictures(2, 1, *[side] * dimensions)
    assert cam_layer(network, images) == layer
    maps = grad_cam(network, images, 1)
    assert maps.shape == (2, *[side] * dimensions)
    assert network.training


class Sections(nn.Module):
    """A convolution, and what else may follow it before the logits."""

    def __init__(self, **after: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 4, 3, padding=1), **after))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).flatten(1).square().mean(1, keepdim=True)


RELU = nn.ReLU()


@pytest.mark.parametrize(
    ("after", "layer"),
    [
        ({}, "body"),
        ({"norm": nn.BatchNorm2d(4), "act": nn.ReLU()}, "body"),
        ({"act": nn.ReLU(), "pool": nn.AvgPool2d(2)}, "body.act"),
        ({"act": nn.ReLU(), "pool": nn.AdaptiveAvgPool2d(12)}, "body.act"),
        ({"act": nn.ReLU(), "pool": nn.AdaptiveAvgPool2d(1), "fc": nn.Conv2d(4, 2, 1)}, "body.act"),
        (
            {"act": RELU, "conv2": nn.Conv2d(4, 4, 1), "again": RELU, "pool": nn.MaxPool2d(2)},
            "body.act",
        ),
    ],
)
def test_the_layer_is_before_pooling_and_after_the_activation(
    after: dict[str, nn.Module], layer: str
) -> None:
    assert cam_layer(Sections(**after), pictures(1, 1, 8, 8)) == layer


def test_of_a_layer_used_twice_the_last_use_counts() -> None:
    relu = nn.ReLU(inplace=True)
    once = Sections(act=nn.ReLU(), conv2=nn.Conv2d(4, 4, 1), act2=nn.ReLU(), pool=nn.MaxPool2d(2))
    images = pictures(3, 1, 8, 8)
    expected = grad_cam(once, images, 0, layer="body.act2")
    once.body.act = once.body.act2 = relu
    torch.testing.assert_close(grad_cam(once, images, 0), expected)


def test_folding_the_norms_changes_no_map() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", channels=1, outputs=2, width=4)
    network = Classifier(backbone, [0.5], [0.3], 2).double()
    images = pictures(4, 1, 64, 64).double()
    network(images)  # running statistics that are not those of birth
    expected = grad_cam(network, images, 0)
    assert expected.amax() > 0
    torch.testing.assert_close(grad_cam(folded(network, images[:1]), images, 0), expected)


def test_all_zero_where_nothing_speaks_for_the_finding() -> None:
    network, images = two_layers(), pictures(2, 1, 6, 6)
    network.fc.weight.data[0] = -1
    assert not grad_cam(network, images, 0).any()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "act3",
            "grad-cam: expected a layer of the network, such as conv1, act1, conv2, act2, "
            "found 'act3'; did you mean act2?",
        ),
        (
            "features.7",
            "grad-cam: expected a layer of the network, such as conv1, act1, conv2, act2, "
            "found 'features.7'",
        ),
        (
            "fc",
            "grad-cam: expected a layer whose output is larger than 1 pixel, such as conv1, act1, "
            "conv2, act2, found 'fc'",
        ),
        (
            "pool",
            "grad-cam: expected a layer whose output is larger than 1 pixel, such as conv1, act1, "
            "conv2, act2, found 'pool'",
        ),
    ],
)
def test_a_layer_that_will_not_do(layer: str, message: str) -> None:
    with pytest.raises(MedrobustError) as error:
        grad_cam(two_layers(), pictures(1, 1, 6, 6), 0, layer=layer)
    assert str(error.value) == message


def test_only_the_outermost_layers_are_suggested() -> None:
    backbone = build_backbone("small", channels=1, outputs=2, width=2)
    network = Classifier(backbone, [0.5], [0.3], 2)
    with pytest.raises(MedrobustError) as error:
        grad_cam(network, pictures(1, 1, 8, 8), 0, layer="backbone.layer9")
    assert str(error.value) == (
        "grad-cam: expected a layer of the network, such as backbone.conv1, backbone.bn1, "
        "backbone.act, backbone.layer1, backbone.layer2, backbone.layer3, "
        "found 'backbone.layer9'; did you mean backbone.layer3?"
    )


def test_a_network_without_convolutions() -> None:
    network = nn.Sequential(OrderedDict(act=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(36, 2)))
    with pytest.raises(MedrobustError) as error:
        grad_cam(network, pictures(1, 1, 6, 6), 0)
    assert str(error.value) == (
        "grad-cam: expected a convolution whose output is larger than 1 pixel, found none in "
        "Sequential; name a layer (act) or use another method"
    )
    assert grad_cam(network, pictures(1, 1, 6, 6), 0, layer="act").shape == (1, 6, 6)
