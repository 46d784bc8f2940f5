"""What a model with several branches can be deployed as, from its branches' outputs."""

import pytest
import torch
from torch import Tensor, nn

from medrobust.dual import DualBN
from medrobust.routing import Mean, Router, deployments


class Says(nn.Module):
    """A branch that gives the same logits for whatever images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits + 0 * images.flatten(1).sum(1, keepdim=True)


IMAGES = torch.zeros(3, 1, 2, 2)
ONE = torch.tensor([[1.0, -1.0], [3.0, -4.0], [0.0, 0.0]])
OTHER = torch.tensor([[2.0, 1.0], [-2.0, 2.0], [-0.1, 0.0]])


def test_the_mean() -> None:
    found = Mean([Says(ONE), Says(OTHER)])(IMAGES)
    torch.testing.assert_close(found, (ONE + OTHER) / 2)


def test_the_router_takes_the_branch_whose_logits_are_larger_on_average() -> None:
    found = Router([Says(ONE), Says(OTHER)], "multilabel")(IMAGES)
    assert torch.equal(found, torch.stack([OTHER[0], ONE[1], OTHER[2]]))


def test_of_exclusive_classes_the_branch_whose_first_class_is_likelier() -> None:
    one = torch.tensor([[9.0, 8.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    other = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.5, 0.4], [0.0, 1.0, 0.0]])
    found = Router([Says(one), Says(other)], "exclusive")(IMAGES)
    likelier = other.softmax(1).amax(1) > one.softmax(1).amax(1)
    assert likelier.tolist() == [True, False, True]
    assert torch.equal(found, torch.where(likelier[:, None], other, one))


def test_equally_sure_the_first_branch_answers() -> None:
    found = Router([Says(ONE), Says(-ONE)], "multilabel")(IMAGES)
    assert torch.equal(found, ONE)


def test_the_gradient_is_that_of_the_branch_taken() -> None:
    one, other = Says(ONE), Says(OTHER)
    Router([one, other], "multilabel")(IMAGES).sum().backward()
    assert one.logits.grad is not None
    assert other.logits.grad is not None
    assert one.logits.grad.sum(1).tolist() == [0, 2, 0]
    assert other.logits.grad.sum(1).tolist() == [2, 0, 2]


@pytest.mark.parametrize("branches", [("clean", "adv"), ("single",)])
def test_deployments(branches: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    model = DualBN(backbone, branches).eval()
    found = deployments(model, "multilabel")
    several = ["mean", "router"] if len(branches) > 1 else []
    assert list(found) == [*branches, *several]
    images = torch.rand(5, 1, 4, 4)
    parts = torch.stack([model.branch(name)(images) for name in branches])
    for name, part in zip(branches, parts, strict=True):
        assert torch.equal(found[name](images), part)
    if several:
        torch.testing.assert_close(found["mean"](images), parts.mean(0))
        routed = found["router"](images)
        assert ((routed == parts[0]).all(1) | (routed == parts[1]).all(1)).all()
