"""The worst case against a plain minimum over all candidates."""

import torch
from torch import Tensor

from medrobust.attacks.goals import Goal
from medrobust.attacks.worst import Worst, class_margin, wrong

NAN = float("nan")
IMAGES, CANDIDATES, FINDINGS = 6, 4, 3


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).double()


def multilabel() -> Tensor:
    labels = (numbers(IMAGES, FINDINGS) > 0).double()
    labels[0, 1] = labels[4] = NAN
    return labels


def seen(task: str, labels: Tensor, logits: Tensor, pictures: Tensor) -> Worst:
    """All candidates but the first shown one after the other, images 1, 2 and 4 kept."""
    kept = torch.tensor([False, True, True, False, True, False])
    worst = Worst(logits[0], labels, task, pictures[0], kept)
    for one, picture in zip(logits[1:], pictures[1:], strict=True):
        worst.see(one, torch.arange(IMAGES), picture)
    return worst


def test_each_finding_has_its_own_worst_candidate() -> None:
    labels, logits = multilabel(), numbers(CANDIDATES, IMAGES, FINDINGS)
    pictures = numbers(CANDIDATES, IMAGES, 1, 2, 2)
    worst = seen("multilabel", labels, logits, pictures)
    for image in range(IMAGES):
        for finding in range(FINDINGS):
            column = logits[:, image, finding]
            label = labels[image, finding]
            expected = column.min() if label == 1 else column.max() if label == 0 else column[0]
            assert worst.scores[image, finding] == expected
    assert worst.margin.isnan().all()
    assert worst.images.shape == (3, FINDINGS, 1, 2, 2)
    for place, image in enumerate((1, 2, 4)):
        for finding in range(FINDINGS):
            (chosen,) = torch.where(logits[:, image, finding] == worst.scores[image, finding])
            expected = pictures[int(chosen), image]
            assert torch.equal(worst.images[place, finding], expected)


def test_of_exclusive_classes_the_margin_has_its_own_worst_candidate() -> None:
    labels = torch.eye(FINDINGS).double().repeat(2, 1)
    labels[4] = NAN
    logits = numbers(CANDIDATES, IMAGES, FINDINGS)
    pictures = numbers(CANDIDATES, IMAGES, 1, 2, 2)
    worst = seen("exclusive", labels, logits, pictures)
    odds = torch.log(logits.softmax(2) / (1 - logits.softmax(2)))
    for image in range(IMAGES):
        if image == 4:
            continue
        own = int(labels[image].argmax())
        lowest, highest = odds[:, image].amin(0), odds[:, image].amax(0)
        expected = torch.where(labels[image] == 1, lowest, highest)
        torch.testing.assert_close(worst.scores[image], expected)
        others = [k for k in range(FINDINGS) if k != own]
        margins = logits[:, image, own] - logits[:, image, others].amax(1)
        torch.testing.assert_close(worst.margin[image], margins.min())
        if image in (1, 2):
            shown = worst.images[(1, 2, 4).index(image), FINDINGS]
            assert torch.equal(shown, pictures[int(margins.argmin()), image])
    torch.testing.assert_close(worst.scores[4], odds[0, 4])
    assert worst.margin[4].isnan()


def test_candidates_of_some_images_change_those_only() -> None:
    labels, logits = multilabel(), numbers(2, IMAGES, FINDINGS)
    pictures = numbers(2, IMAGES, 1, 2, 2)
    worst = Worst(logits[0], labels, "multilabel", pictures[0], torch.ones(IMAGES).bool())
    rows = torch.tensor([3, 1])
    worst.see(logits[1][rows], rows, pictures[1][rows])
    whole = seen("multilabel", labels, logits, pictures)
    for image in range(IMAGES):
        expected = whole.scores[image] if image in (1, 3) else logits[0, image]
        assert torch.equal(worst.scores[image], expected)
        if image not in (1, 3):
            assert torch.equal(worst.images[image], pictures[0, image].expand(FINDINGS, 1, 2, 2))


def test_wrong_at_the_cut_and_unknown() -> None:
    logits = torch.tensor([[0.5, 0.5, 0.5], [0.4, 0.4, 0.4]])
    labels = torch.tensor([[1.0, 0.0, NAN], [1.0, 0.0, NAN]])
    expected = torch.tensor([[False, True, False], [True, False, False]])
    assert torch.equal(wrong(logits, labels, torch.full((3,), 0.5)), expected)


def test_broken_asks_for_the_findings_of_the_goal() -> None:
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    logits = torch.tensor([[-1.0, -1.0], [1.0, -1.0]])  # the first finding of the first is missed
    worst = Worst(logits, labels, "multilabel", logits, torch.zeros(2).bool())
    cuts = torch.zeros(2)
    assert worst.broken(cuts, Goal()).tolist() == [True, False]
    assert worst.broken(cuts, Goal("finding", 0)).tolist() == [True, False]
    assert worst.broken(cuts, Goal("finding", 1)).tolist() == [False, False]
    assert worst.broken(cuts, Goal("appear", 0)).tolist() == [False, False]


def test_broken_of_exclusive_classes() -> None:
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [NAN, NAN, NAN]])
    logits = torch.tensor([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 9.0, 0.0]])
    worst = Worst(logits, labels, "exclusive", logits, torch.zeros(3).bool())
    low = torch.full((3,), -9.0)
    assert worst.broken(low, Goal()).tolist() == [False, True, False]  # a tie is an error
    # of one class it is the cut that decides, not the others
    assert worst.broken(low, Goal("finding", 1)).tolist() == [True, True, False]
    assert worst.broken(-low, Goal("finding", 1)).tolist() == [False, False, False]


def test_class_margin() -> None:
    logits = torch.tensor([[2.0, 0.5, 1.0], [2.0, 0.5, 1.0]])
    labels = torch.tensor([[0.0, 0.0, 1.0], [NAN, NAN, NAN]])
    torch.testing.assert_close(
        class_margin(logits, labels), torch.tensor([-1.0, NAN]), equal_nan=True
    )
