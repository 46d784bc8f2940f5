import pytest
import torch
from torch.nn import functional as F

from medrobust.losses import sigmoid_loss, softmax_loss

NAN = float("nan")


def test_sigmoid_loss_is_the_mean_over_known_labels() -> None:
    logits = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.1, -0.3]])
    labels = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, NAN]])
    expected = (F.softplus(torch.tensor(-1.0)) + F.softplus(torch.tensor(3.0))) / 2
    torch.testing.assert_close(sigmoid_loss(logits, labels), torch.stack([expected, expected * 0]))


def test_sigmoid_loss_agrees_with_pytorch_where_all_is_known() -> None:
    logits, labels = torch.randn(5, 4), torch.randint(0, 2, (5, 4)).float()
    whole = F.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(sigmoid_loss(logits, labels).mean(), whole)


def test_unknown_labels_have_no_gradient() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    labels = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, NAN]])
    sigmoid_loss(logits, labels).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[torch.isnan(labels)] == 0).all()
    assert (logits.grad[0, [0, 2]] != 0).all()


@pytest.mark.parametrize("loss", [sigmoid_loss, softmax_loss])
def test_a_confident_error_still_has_a_gradient(loss: object) -> None:
    # Binary cross-entropy after a sigmoid gives exactly 0 here: the published code's defect.
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss(logits, torch.tensor([[0.0, 1.0]])).sum().backward()  # type: ignore[operator]
    assert logits.grad is not None
    assert (logits.grad.abs() >= 0.5).all()


def test_softmax_loss_is_cross_entropy() -> None:
    logits, classes = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    labels = F.one_hot(classes, 3).float()
    expected = F.cross_entropy(logits, classes, reduction="none")
    torch.testing.assert_close(softmax_loss(logits, labels), expected)
    assert softmax_loss(logits[:1], torch.full((1, 3), NAN)).item() == 0
