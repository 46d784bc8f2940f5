import pytest
import torch
from torch import nn

from medrobust.errors import MedrobustError
from medrobust.networks import Classifier, build_backbone

# Numbers of parameters of torchvision's networks with 3 channels and 1,000 outputs, as its
# documentation prints them.
TORCHVISION = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "densenet121": 7_978_856,
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_catalogue_networks_have_torchvisions_size(name: str) -> None:
    with torch.device("meta"):
        network = build_backbone(name, channels=3, outputs=1000)
    assert sum(p.numel() for p in network.parameters()) == TORCHVISION[name]


def test_resnets_have_torchvisions_names_and_shapes() -> None:
    with torch.device("meta"):
        state = build_backbone("resnet50", channels=3, outputs=1000).state_dict()
    expected = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.num_batches_tracked": (),
        "layer3.5.bn2.bias": (256,),
        "layer4.2.conv2.weight": (512, 512, 3, 3),
        "fc.weight": (1000, 2048),
    }
    assert len(state) == 320  # as many as torchvision's
    assert {name: tuple(state[name].shape) for name in expected} == expected


def test_a_resnet_computes_what_torchvisions_does() -> None:
    try:
        import torchvision
    except Exception as error:  # a torchvision of another torch fails in many ways
        pytest.skip(f"torchvision can't be imported ({error})")
    theirs = torchvision.models.resnet18().eval()
    ours = build_backbone("resnet18", channels=3, outputs=1000).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images))


def test_resnet18_by_hand() -> None:
    """The same sums written out with functional calls: stem, pool, strides, shortcuts, head."""
    network = build_backbone("resnet18", channels=3, outputs=4, width=8).eval()
    state = network.state_dict()
    functional = nn.functional

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return functional.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    def block(x: torch.Tensor, name: str, stride: int) -> torch.Tensor:
        inner = functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
        inner = functional.conv2d(
            norm(inner, f"{name}.bn1").relu(), state[f"{name}.conv2.weight"], padding=1
        )
        if f"{name}.downsample.0.weight" in state:
            x = functional.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
            x = norm(x, f"{name}.downsample.1")
        return (norm(inner, f"{name}.bn2") + x).relu()

    images = torch.rand(2, 3, 64, 64)
    x = functional.conv2d(images, state["conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(norm(x, "bn1").relu(), 3, 2, 1)
    for stage in range(1, 5):
        x = block(x, f"layer{stage}.0", 1 if stage == 1 else 2)
        x = block(x, f"layer{stage}.1", 1)
    expected = x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("name", ["small", "resnet18", "densenet121"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_width_and_dimensions(name: str, dimensions: int) -> None:
    network = build_backbone(name, channels=1, outputs=3, dimensions=dimensions, width=4).eval()
    assert network(torch.rand(2, 1, *[32] * dimensions)).shape == (2, 3)


def test_normalisation_is_the_first_layer() -> None:
    network = Classifier(nn.Flatten(), [0.5, 0.1], [0.2, 0.3], dimensions=2)
    found = network(torch.full((1, 2, 1, 1), 0.7))
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.0]]))
    assert {"input_mean", "input_spread"} <= set(network.state_dict())


def own(*, channels: int, outputs: int, dimensions: int, width: int = 2) -> nn.Module:
    """Somebody's own factory."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, outputs),
    )


def test_anybodys_own_factory() -> None:
    network = build_backbone(f"{__name__}:own", channels=1, outputs=2, width=3)
    assert network(torch.rand(1, 1, 8, 8)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, "expected one of small, .*found 'resnet19'; did you mean resnet18?"),
        ("zzz", {}, "or package.module:factory, found 'zzz'$"),
        ("nowhere:net", {}, "'nowhere:net' can't be imported"),
        ("torch:nothing", {}, "'torch:nothing' can't be imported"),
        ("torch:__version__", {}, "is not a function that builds a network"),
        ("small", {"depth": 3}, "network small: these options do not fit"),
    ],
)
def test_bad_names_and_options(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(MedrobustError, match=message):
        build_backbone(name, channels=1, outputs=1, **options)
