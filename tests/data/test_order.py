import numpy as np
import pytest
import torch

from medrobust.data.order import balanced, classes_of, shuffled
from medrobust.errors import MedrobustError

ROWS = np.arange(100, 200)
CLASSES = np.repeat([0, 1, 2, -1], [60, 25, 5, 10])


def test_shuffled_has_each_place_once() -> None:
    order = shuffled(0, 0, ROWS)
    assert sorted(order.places.tolist()) == list(range(100))
    assert order.places.tolist() != list(range(100))
    assert not order.repeats.any()
    assert shuffled(0, 1, ROWS).places.tolist() != order.places.tolist()


def test_balanced_has_as_many_of_each_class_in_whole_rounds() -> None:
    order = balanced(0, 3, ROWS, CLASSES)
    drawn = CLASSES[order.places.numpy()]
    assert np.bincount(drawn).tolist() == [30, 30, 30]
    counts = np.bincount(order.places.numpy(), minlength=100)
    assert counts[:60].max() == 1
    assert set(counts[60:85]) == {1, 2}
    assert set(counts[85:90]) == {6}
    assert not counts[90:].any()


def test_a_draw_and_its_number_come_once_in_an_epoch() -> None:
    order = balanced(0, 3, ROWS, CLASSES)
    draws = set(zip(order.places.tolist(), order.repeats.tolist(), strict=True))
    assert len(draws) == 90
    for place in range(85, 90):
        assert sorted(order.repeats[order.places == place].tolist()) == list(range(6))


def test_classes_are_mixed_and_epochs_differ() -> None:
    one, two = (balanced(0, epoch, ROWS, CLASSES) for epoch in (0, 1))
    assert len(set(CLASSES[one.places[:12].numpy()])) == 3
    assert one.places.tolist() != two.places.tolist()
    waiting = set(range(60)) - set(one.places.tolist())
    assert waiting & set(two.places.tolist())
    again = balanced(0, 0, ROWS, CLASSES)
    assert torch.equal(again.places, one.places)
    assert torch.equal(again.repeats, one.repeats)


def test_classes() -> None:
    nan = np.nan
    single = np.array([[1], [0], [nan]], np.float32)
    assert classes_of(single, "multilabel").tolist() == [1, 0, -1]
    exclusive = np.array([[0, 1, 0], [1, 0, 0], [nan] * 3], np.float32)
    assert classes_of(exclusive, "exclusive").tolist() == [1, 0, -1]
    with pytest.raises(MedrobustError, match=r"^train\.balanced: expected exclusive classes or a"):
        classes_of(exclusive, "multilabel")


@pytest.mark.parametrize(("value", "found"), [(1, "one class"), (np.nan, "unknown labels only")])
def test_one_class_cannot_be_balanced(value: float, found: str) -> None:
    with pytest.raises(MedrobustError, match=rf"two classes or more, found {found}$"):
        classes_of(np.full((3, 1), value, np.float32), "multilabel")
