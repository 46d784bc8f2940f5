import math

import pytest
import torch
from torch.nn import functional as F

from medrobust.errors import MedrobustError
from medrobust.losses import (
    TARGET,
    Loss,
    class_margin_loss,
    dlr_loss,
    log_odds,
    margin_loss,
    one_against_rest,
    rank_scores,
    sigmoid_loss,
    signs,
    softmax_loss,
    targeted_dlr_loss,
    targeted_margin_loss,
    towards,
)

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


EVERY = [
    *(sigmoid_loss, softmax_loss, margin_loss, class_margin_loss),
    *(dlr_loss, targeted_dlr_loss, targeted_margin_loss),
    *(one_against_rest(margin_loss), one_against_rest(sigmoid_loss)),
]


def drawn(images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and one-hot labels."""
    source = torch.Generator().manual_seed(images + classes)
    logits = torch.randn(images, classes, generator=source).double()
    return logits, F.one_hot(torch.arange(images) % classes, classes).double()


@pytest.mark.parametrize("loss", EVERY)
def test_an_unknown_image_has_loss_0_and_no_gradient(loss: Loss) -> None:
    logits, labels = drawn(6, 5)
    labels[2] = NAN
    logits.requires_grad_()
    value = loss(logits, labels)
    value.sum().backward()
    assert value[2] == 0
    assert logits.grad is not None
    assert (logits.grad[2] == 0).all()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad.abs().sum(1) > 0).sum() == 5


@pytest.mark.parametrize("loss", EVERY)
def test_losses_are_those_of_each_image(loss: Loss) -> None:
    logits, labels = drawn(6, 5)
    each = torch.cat([loss(logits[n : n + 1], labels[n : n + 1]) for n in range(6)])
    torch.testing.assert_close(loss(logits, labels), each)


def test_margin_loss() -> None:
    logits = torch.tensor([[1.0, -2.0, 3.0], [0.5, 7.0, -0.3]])
    labels = torch.tensor([[1.0, 0.0, NAN], [NAN, NAN, 0.0]])
    torch.testing.assert_close(margin_loss(logits, labels), torch.tensor([-1.5, -0.3]))


def test_class_margin_loss_and_dlr_against_a_naive_formula() -> None:
    logits, labels = drawn(30, 5)
    for number, (z, y) in enumerate(zip(logits.tolist(), labels.argmax(1).tolist(), strict=True)):
        other = max(value for k, value in enumerate(z) if k != y)
        ordered = sorted(z, reverse=True)
        one = slice(number, number + 1)
        margin = class_margin_loss(logits[one], labels[one]).item()
        assert margin == pytest.approx(other - z[y])
        expected = -(z[y] - other) / (ordered[0] - ordered[2])
        assert dlr_loss(logits[one], labels[one]).item() == pytest.approx(expected)
        assert (margin > 0) == (ordered[0] != z[y])


def test_targeted_losses_against_a_naive_formula() -> None:
    logits, labels = drawn(30, 5)
    for rank in range(1, 5):
        aimed = towards(logits, labels, rank)
        for number in range(len(logits)):
            z, y = logits[number].tolist(), int(labels[number].argmax())
            target = sorted((k for k in range(5) if k != y), key=lambda k: -z[k])[rank - 1]
            wanted = [1.0 if k == y else TARGET if k == target else 0.0 for k in range(5)]
            assert aimed[number].tolist() == wanted
            ordered = sorted(z, reverse=True)
            one = slice(number, number + 1)
            margin = targeted_margin_loss(logits[one], aimed[one]).item()
            assert margin == pytest.approx(z[target] - z[y])
            expected = -(z[y] - z[target]) / (ordered[0] - (ordered[2] + ordered[3]) / 2)
            assert targeted_dlr_loss(logits[one], aimed[one]).item() == pytest.approx(expected)


def test_towards_leaves_an_unknown_class_unknown() -> None:
    logits, labels = drawn(4, 4)
    labels[1] = NAN
    aimed = towards(logits, labels, 2)
    assert aimed[1].isnan().all()
    assert (aimed[[0, 2, 3]] == TARGET).sum(1).tolist() == [1, 1, 1]
    assert not (labels == TARGET).any()


def test_dlr_is_blind_to_the_scale_of_the_logits() -> None:
    logits, labels = drawn(8, 5)
    torch.testing.assert_close(dlr_loss(1000 * logits, labels), dlr_loss(logits, labels))
    aimed = towards(logits, labels, 1)
    torch.testing.assert_close(
        targeted_dlr_loss(1000 * logits + 7, aimed), targeted_dlr_loss(logits, aimed)
    )


@pytest.mark.parametrize(("loss", "least"), [(dlr_loss, 3), (targeted_dlr_loss, 4)])
def test_dlr_of_too_few_classes(loss: Loss, least: int) -> None:
    logits, labels = drawn(4, least - 1)
    with pytest.raises(MedrobustError) as refused:
        loss(logits, labels)
    assert str(refused.value) == (
        f"loss dlr: expected at least {least} exclusive classes, found {least - 1}; use the "
        "margin instead"
    )


def test_log_odds_are_those_of_the_softmax() -> None:
    logits, _ = drawn(20, 5)
    p = logits.softmax(1)
    torch.testing.assert_close(log_odds(logits), torch.log(p / (1 - p)))
    torch.testing.assert_close(rank_scores(logits, "exclusive"), log_odds(logits))
    assert rank_scores(logits, "multilabel") is logits
    sure = torch.tensor([[1000.0, 0.0, 0.0]])  # where the softmax itself saturates
    torch.testing.assert_close(log_odds(sure)[0, 0], torch.tensor(1000.0) - math.log(2))


def test_one_against_rest_is_the_sigmoid_loss_of_the_class_probability() -> None:
    logits, labels = drawn(6, 4)
    labels[:, 1:] = NAN
    expected = F.binary_cross_entropy(logits.softmax(1)[:, 0], labels[:, 0], reduction="none")
    torch.testing.assert_close(one_against_rest(sigmoid_loss)(logits, labels), expected)


def test_signs() -> None:
    labels = torch.tensor([[1.0, 0.0, NAN]])
    assert signs(labels).tolist() == [[1.0, -1.0, 0.0]]
