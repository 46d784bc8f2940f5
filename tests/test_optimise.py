import pytest
import torch
from torch import nn

from medrobust.config import Train
from medrobust.dual import DualBN, is_sharing
from medrobust.networks import build_backbone
from medrobust.optimise import Average, build_optimiser, learning_rate


def rates(schedule: str, epochs: int = 10, **settings: object) -> list[float]:
    train = Train(schedule=schedule, epochs=epochs, lr=1.0, **settings)
    return [learning_rate(train, step, 7) for step in range(7 * epochs)]


def test_one_cycle_rises_and_falls_as_pytorchs() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1.0, total_steps=70, pct_start=0.3, final_div_factor=400
    )
    ours = rates("one-cycle")
    assert ours[0] == pytest.approx(1 / 25)
    assert ours[-1] == pytest.approx(1e-4)
    for rate in ours:
        # PyTorch's peak lies a fraction of a step earlier: compare within one step's change.
        assert rate == pytest.approx(theirs.get_last_lr()[0], abs=0.08)
        optimiser.step()
        if rate != ours[-1]:
            theirs.step()


def test_the_other_schedules() -> None:
    assert rates("constant") == [1.0] * 70
    cosine = rates("cosine")
    assert cosine[0] == 1
    assert cosine[-1] == pytest.approx(1e-4)
    assert cosine == sorted(cosine, reverse=True)
    steps = rates("multistep", milestones=(2, 5))
    assert steps[:14] == [1.0] * 14
    assert steps[14:35] == pytest.approx([0.1] * 21)
    assert steps[35:] == pytest.approx([0.01] * 35)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_norms_and_biases_have_no_weight_decay(name: str, kind: type) -> None:
    model = DualBN(build_backbone("small", channels=1, outputs=2, width=4))
    optimiser = build_optimiser(model, Train(optimiser=name, weight_decay=0.01))
    assert type(optimiser) is kind
    decayed, free = optimiser.param_groups
    assert decayed["weight_decay"] == 0.01
    assert free["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    count = len(decayed["params"]) + len(free["params"])
    assert count == len(list(model.parameters()))


def test_the_average_follows_weights_and_statistics_and_keeps_sharing() -> None:
    model = DualBN(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)))
    average = Average(model, 0.9)
    assert is_sharing(average.model)
    assert average.model.clean[0].weight is not model.clean[0].weight
    start = model.clean[0].weight.detach().clone()
    with torch.no_grad():
        model.clean[0].weight.add_(1)
        model.adv[1].running_mean.add_(2)
        model.adv[1].num_batches_tracked.add_(5)
    average.update(1000)  # decay 0.9
    torch.testing.assert_close(average.model.clean[0].weight, start + 0.1)
    torch.testing.assert_close(average.model.adv[0].weight, start + 0.1)
    torch.testing.assert_close(average.model.adv[1].running_mean, torch.full((2,), 0.2))
    assert average.model.clean[1].running_mean.eq(0).all()
    assert average.model.adv[1].num_batches_tracked == 5


def test_the_average_starts_quickly() -> None:
    model = DualBN(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)))
    average = Average(model, 0.999)
    start = model.clean[0].weight.detach().clone()
    with torch.no_grad():
        model.clean[0].weight.add_(1)
    average.update(1)  # decay 2/11
    torch.testing.assert_close(average.model.clean[0].weight, start + 9 / 11)
