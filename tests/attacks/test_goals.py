import pytest
import torch

from medrobust.attacks.goals import Goal

NAN = float("nan")
LABELS = torch.tensor([[1.0, 0.0, NAN], [0.0, 1.0, 1.0], [NAN, 0.0, 0.0]])


def test_the_total_is_after_all_labels() -> None:
    assert Goal().labels(LABELS) is LABELS


@pytest.mark.parametrize(
    ("kind", "column", "expected"),
    [
        ("finding", 0, [1.0, 0.0, NAN]),
        ("finding", 1, [0.0, 1.0, 0.0]),
        ("vanish", 0, [1.0, NAN, NAN]),
        ("vanish", 1, [NAN, 1.0, NAN]),
        ("appear", 0, [NAN, 0.0, NAN]),
        ("appear", 2, [NAN, NAN, 0.0]),
    ],
)
def test_others_become_unknown(kind: str, column: int, expected: list[float]) -> None:
    wanted = torch.full_like(LABELS, NAN)
    wanted[:, column] = torch.tensor(expected)
    before = LABELS.clone()
    found = Goal(kind, column).labels(LABELS)  # type: ignore[arg-type]
    torch.testing.assert_close(found, wanted, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(LABELS, before, equal_nan=True, rtol=0, atol=0)


def test_once_is_as_good_as_twice() -> None:
    for goal in (Goal("finding", 2), Goal("vanish", 1), Goal("appear", 0)):
        once = goal.labels(LABELS)
        torch.testing.assert_close(goal.labels(once), once, equal_nan=True, rtol=0, atol=0)
