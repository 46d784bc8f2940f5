import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medrobust.errors import MedrobustError
from medrobust.explain.saliency import gradient
from medrobust.explain.sanity.randomisation import cascade, layers
from medrobust.explain.sanity.reference import edge
from medrobust.explain.sanity.similarity import rank_similarity
from medrobust.explain.sanity.verdicts import Judge
from medrobust.networks import build_backbone
from medrobust.randomness import seeded

FINDING = 0


@pytest.fixture(scope="module")
def images() -> Tensor:
    """A bright disc at a place of its own in every second image, on noise."""
    generator = torch.Generator().manual_seed(0)
    grey = 0.4 + 0.1 * torch.randn(48, 1, 16, 16, generator=generator)
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    places = torch.randint(3, 13, (48, 2), generator=generator)
    for image, (row, column) in list(zip(grey, places, strict=True))[::2]:
        image += 0.4 * ((y - row) ** 2 + (x - column) ** 2 < 7)
    return grey.clamp(0, 1)


@pytest.fixture(scope="module")
def trained(images: Tensor) -> nn.Module:
    """It tells images with a disc from those without."""
    with seeded(3):
        network = build_backbone("small", channels=1, outputs=1, width=4)
    labels = (torch.arange(len(images)) % 2 == 0).float()[:, None]
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(30):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(images), labels).backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        assert ((network(images) > 0) == (labels > 0)).float().mean() > 0.9
    return network


def test_layers_are_in_reverse_order_of_use(trained: nn.Module, images: Tensor) -> None:
    groups = layers(trained, images[:1])
    assert groups[0] == ["fc"]
    assert groups[-1] == ["conv1", "bn1"]
    assert groups[1][0].startswith("layer3")
    named = {n for n, m in trained.named_modules() if list(m.parameters(recurse=False))}
    assert sorted(name for group in groups for name in group) == sorted(named)
    assert all(isinstance(trained.get_submodule(g[0]), nn.Conv2d | nn.Linear) for g in groups)


class Crossed(nn.Module):
    """Written down in another order than it is used, with a layer used twice and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.unused = nn.Linear(4, 1), nn.Linear(1, 1)
        self.first, self.twice = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.twice(self.norm(self.first(self.twice(images.flatten(1)))))
        attended: Tensor = self.attention(hidden[:, None], hidden[:, None], hidden[:, None])[0]
        return self.last(attended[:, 0])  # type: ignore[no-any-return]


def test_use_counts_not_the_order_of_definition() -> None:
    groups = layers(Crossed(), torch.rand(1, 1, 2, 2))
    assert groups == [["last"], ["attention", "attention.out_proj"], ["twice"], ["first", "norm"]]


def test_every_weight_used_is_fresh_in_the_end() -> None:
    network = Crossed().eval()
    nn.init.constant_(network.norm.weight, 7.0)
    nn.init.normal_(network.attention.out_proj.weight)
    seen: list[dict[str, Tensor]] = []

    def spy(fresh: nn.Module, images: Tensor, finding: int) -> Tensor:
        seen.append({name: p.clone() for name, p in fresh.named_parameters()})
        return images[:, 0]

    list(cascade(network, spy, torch.rand(2, 1, 2, 2), 0))
    before = dict(network.named_parameters())
    changed = {name for name, p in seen[-1].items() if not torch.equal(p, before[name])}
    constant = {"attention.in_proj_bias", "norm.bias"}
    assert changed == {n for n in before if not n.startswith("unused")} - constant
    assert (seen[-1]["norm.weight"] == 1).all()
    early = {name for name, p in seen[0].items() if not torch.equal(p, before[name])}
    assert early == {"last.weight", "last.bias"}


def test_running_statistics_are_fresh_too_and_the_network_stays(
    trained: nn.Module, images: Tensor
) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    last: list[nn.Module] = []

    def spy(fresh: nn.Module, shown: Tensor, finding: int) -> Tensor:
        last[:] = [fresh]
        return gradient(fresh, shown, finding)

    one = [stage.maps for stage in cascade(trained, spy, images[:3], FINDING)]
    again = [stage.maps for stage in cascade(trained, gradient, images[:3], FINDING)]
    other = [stage.maps for stage in cascade(trained, gradient, images[:3], FINDING, seed=1)]
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert (last[0].get_buffer("bn1.running_mean") == 0).all()
    assert (last[0].get_buffer("bn1.running_var") == 1).all()
    assert before.keys() == trained.state_dict().keys()
    assert all(torch.equal(v, before[n]) for n, v in trained.state_dict().items())


def test_an_edge_detector_fails_and_the_gradient_passes(trained: nn.Module, images: Tensor) -> None:
    shown = images[::2]
    judge = Judge([f"patient {number}" for number in range(len(shown))])
    verdicts = {}
    for method in (gradient, edge):
        stages = list(cascade(trained, method, shown, FINDING))
        values = rank_similarity(method(trained, shown, FINDING), stages[-1].maps)
        verdicts[method.__name__] = judge.unlike("randomisation", "all layers", values)
    assert verdicts["edge"][2:7] == (
        pytest.approx(1),
        pytest.approx(1),
        pytest.approx(1),
        24,
        "fail",
    )
    assert verdicts["gradient"].verdict == "pass"
    assert verdicts["gradient"].high < 0.5


def test_maps_upside_down_are_no_other_maps() -> None:
    judge = Judge(["a", "b", "c"])
    assert (
        judge.unlike("randomisation", "all layers", np.array([-0.9, -0.9, -0.9])).verdict == "fail"
    )


def test_a_network_without_weights() -> None:
    text = (
        "^parameter randomisation: expected a network with weights to draw anew, found Flatten "
        "without any$"
    )
    with pytest.raises(MedrobustError, match=text):
        list(cascade(nn.Flatten(), gradient, torch.rand(1, 1, 2, 2), 0))
