import math

import pytest
import torch
from torch import Tensor, nn

from medrobust.attacks.frank_wolfe import corner, frank_wolfe
from medrobust.errors import MedrobustError
from medrobust.explain.counterfactual import (
    LEVEL,
    counterfactual,
    crossed,
    frame_steps,
    objective,
    radius_for,
    sizes,
    wanted_labels,
)
from medrobust.networks import build_backbone
from medrobust.randomness import image_keys, key

KEYS = image_keys(key(0, "test"), torch.arange(8))
UP_AND_DOWN = torch.tensor([True, True, False, False])


class Weighted(nn.Module):
    """Two logits, linear in the pixels."""

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.randn(36, 2, generator=torch.Generator().manual_seed(3)).double()
        self.weight = nn.Parameter(drawn**3)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1)).double()


def test_the_default_radius_is_the_middle_of_the_published_ones() -> None:
    assert radius_for((3, 224, 224)) == pytest.approx(100, abs=0.5)
    assert radius_for((3, 224, 224), 1.5, LEVEL / 2) == pytest.approx(50, abs=0.25)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, math.inf])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 8), (1, 4, 8, 8)])
def test_a_level_is_what_all_pixels_may_change_at_any_size(
    shape: tuple[int, ...], p: float
) -> None:
    change = torch.full(shape, 0.03).double().flatten()
    assert radius_for(shape, p, 0.03) == pytest.approx(torch.linalg.vector_norm(change, p).item())


@pytest.mark.parametrize("level", [0.0, -1.0, 1.5, math.nan])
def test_levels_that_cannot_be(level: float) -> None:
    with pytest.raises(MedrobustError) as refused:
        radius_for((1, 8, 8), level=level)
    assert str(refused.value) == (
        f"level: expected a mean change per pixel above 0 up to 1, such as 9/255, found {level}"
    )


def test_only_the_named_finding_is_wanted() -> None:
    wanted = wanted_labels(3, 1, torch.tensor([True, False]))
    torch.testing.assert_close(
        wanted,
        torch.tensor([[torch.nan, 1, torch.nan], [torch.nan, 0, torch.nan]]),
        equal_nan=True,
    )


def test_of_independent_findings_the_logit_goes_up_or_down() -> None:
    logits = torch.tensor([[5.0, -7.0], [5.0, -7.0]])
    wanted = wanted_labels(2, 1, torch.tensor([True, False]))
    assert objective("multilabel")(logits, wanted).tolist() == [-7.0, 7.0]


def test_of_exclusive_classes_it_is_the_search_for_the_largest_log_probability() -> None:
    torch.manual_seed(0)
    network = build_backbone("small", channels=1, outputs=4, width=4).double().eval()
    shown = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(1)).double()

    def log_probability(logits: Tensor, labels: Tensor) -> Tensor:
        probability = logits.softmax(1)[:, 2]
        return torch.where(labels[:, 2] == 1, probability, 1 - probability).log()

    wanted = wanted_labels(4, 2, UP_AND_DOWN)
    settings = {"radius": 2.0, "steps": 25}
    found, expected = (
        frank_wolfe(network, shown, wanted, KEYS[:4], **settings, loss=loss)
        for loss in (objective("exclusive"), log_probability)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_a_linear_model_is_taken_to_the_corner_of_its_finding() -> None:
    model, shown = Weighted(), images()
    found = counterfactual(
        *(model, shown, wanted_labels(2, 1, UP_AND_DOWN), KEYS[:4]),
        **{"task": "multilabel", "radius": 0.5, "steps": 60},
    )
    sign = 2 * UP_AND_DOWN.double() - 1
    slope = (sign[:, None] * model.weight[:, 1].detach()).reshape(shown.shape)
    torch.testing.assert_close(found.end, corner(slope, shown, 0.5, 1.5), rtol=0, atol=1e-6)
    assert torch.equal(found.start, shown)
    assert torch.equal(found.difference, found.end - shown)


def test_the_path_leads_from_the_image_to_the_end_and_scores_rise() -> None:
    model, shown = Weighted(), images()
    found = counterfactual(
        *(model, shown, wanted_labels(2, 0, UP_AND_DOWN), KEYS[:4]),
        **{"task": "multilabel", "radius": 0.5, "steps": 20},
    )
    assert found.steps == (0, 2, 3, 6, 11, 20)
    assert found.path.shape == (4, 6, 1, 6, 6)
    torch.testing.assert_close(found.scores[:, -1], model(found.end).detach())
    torch.testing.assert_close(found.scores[:, 0], model(shown).detach())
    sign = 2 * UP_AND_DOWN.double() - 1
    rises = (sign[:, None] * found.scores[:, :, 0]).diff(dim=1)
    assert (rises > 0).all()


def test_of_exclusive_classes_the_scores_are_log_odds() -> None:
    found = counterfactual(
        *(Weighted(), images(), wanted_labels(2, 0, UP_AND_DOWN), KEYS[:4]),
        **{"task": "exclusive", "radius": 0.5, "steps": 2},
    )
    probability = Weighted()(found.end).softmax(1).detach()
    torch.testing.assert_close(found.scores[:, -1].sigmoid(), probability)


def test_the_way_is_shown_to_whoever_watches() -> None:
    seen: list[int] = []
    counterfactual(
        *(Weighted(), images(), wanted_labels(2, 0, UP_AND_DOWN), KEYS[:4]),
        **{"task": "multilabel", "radius": 0.5, "steps": 5},
        watch=lambda step, best: seen.append(step),
    )
    assert seen == [1, 2, 3, 4, 5]


def test_radius_zero_is_refused() -> None:
    with pytest.raises(MedrobustError) as refused:
        counterfactual(
            *(Weighted(), images(), wanted_labels(2, 0, UP_AND_DOWN), KEYS[:4]),
            **{"task": "multilabel", "radius": 0.0},
        )
    assert str(refused.value) == (
        "radius: expected a number above 0, found 0: nothing could change"
    )


@pytest.mark.parametrize(("steps", "looks"), [(75, (2, 6, 13, 32, 75)), (3, (1, 2, 3)), (1, (1,))])
def test_looks_are_close_together_at_first(steps: int, looks: tuple[int, ...]) -> None:
    assert frame_steps(steps) == looks


def test_sizes_have_closed_forms() -> None:
    spread = torch.full((1, 1, 10, 10), 0.01)
    one_pixel = torch.zeros(1, 1, 10, 10)
    one_pixel[0, 0, 3, 4] = -0.5
    found = sizes(torch.cat([spread, one_pixel]), 1.5)
    expected = {
        "l1": [1.0, 0.5],
        "l2": [0.1, 0.5],
        "linf": [0.01, 0.5],
        "lp": [0.01 * 100 ** (2 / 3), 0.5],
        "changed": [1.0, 0.01],
        "top": [0.05, 1.0],
    }
    assert {name: values.tolist() for name, values in found.items()} == {
        name: pytest.approx(values, rel=1e-6) for name, values in expected.items()
    }


def test_a_pixel_of_colour_counts_once() -> None:
    colour = torch.zeros(1, 3, 4, 5)
    colour[0, :, 0, 0] = torch.tensor([0.1, -0.2, 0.3])
    colour[0, 0, 1, 1] = 0.9 / 255  # less than a grey level
    found = sizes(colour, 2.0)
    assert found["changed"].item() == pytest.approx(1 / 20)
    assert found["top"].item() == pytest.approx(0.6 / (0.6 + 0.9 / 255))
    assert found["linf"].item() == pytest.approx(0.3)


def test_without_a_change_there_is_no_share_of_it() -> None:
    found = sizes(torch.zeros(1, 1, 4, 4), 1.5)
    assert found["top"].isnan().all()
    assert found["changed"].tolist() == [0.0]


def test_decisions_cross_only_from_the_other_side() -> None:
    before = torch.tensor([0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.5])
    after = torch.tensor([0.9, 0.2, 0.1, 0.6, 0.95, 0.05, 0.4])
    towards = torch.tensor([True, True, False, False, True, False, False])
    found = crossed(before, after, 0.5, towards)
    expected = torch.tensor([1, 0, 1, 0, torch.nan, torch.nan, 1]).double()
    torch.testing.assert_close(found, expected, equal_nan=True)
