from pathlib import Path

import pytest
import torch
from joint import together

from medrobust.errors import MedrobustError
from medrobust.parallel.group import ALONE, Group, join
from medrobust.parallel.place import ElsewhereError, here

NEXT = "give the same command again"


def talk(out: str) -> None:
    """In each of three processes."""
    group = join(here(), torch.device("cpu"))
    rank = group.rank
    assert (group.count, group.is_first) == (3, rank == 0)
    assert group.gathered(rank**2) == [0, 1, 4]
    assert group.on_first(lambda: f"from {rank}") == "from 0"
    assert torch.equal(group.mean(torch.tensor([1.0, rank])), torch.tensor([1.0, 1.0]))
    tensors = [torch.full((2, 2), float(rank)), torch.tensor(3.0 * rank)]
    group.average(tensors)
    assert [float(tensor.sum()) for tensor in tensors] == [4.0, 3.0]
    numbers = torch.tensor([rank + 5])
    group.take_from_first([numbers])
    assert int(numbers) == 5
    group.check_alike({"train.lr": 1, "seed": 0})
    with pytest.raises(MedrobustError) as error:
        group.check_alike({"train.lr": 1 + rank // 2, "seed": 0})
    told = [error.value]
    with pytest.raises(MedrobustError) as error:
        group.on_first(fail)
    told.append(error.value)
    assert [isinstance(error, ElsewhereError) for error in told] == [rank > 0] * 2
    Path(f"{out}-{rank}").write_text("\n".join(map(str, told)))


def fail() -> None:
    raise MedrobustError("disk: full")


def test_what_three_processes_say_to_each_other(tmp_path: Path) -> None:
    together(3, talk, str(tmp_path / "told"))
    for rank in range(3):
        assert (tmp_path / f"told-{rank}").read_text().splitlines() == [
            "train.lr: expected the same in all 3 processes, found 1 in the first and 2 in process "
            "3",
            "disk: full",
        ]


def test_a_single_process_has_nobody_to_talk_to() -> None:
    tensor = torch.tensor([1.0, 2.0])
    assert ALONE.is_first
    assert ALONE.gathered(3) == [3]
    assert ALONE.on_first(lambda: 4) == 4
    assert ALONE.mean(tensor) is tensor
    ALONE.check_alike({"seed": 0})


def test_random_numbers_of_the_first_process_are_those_of_a_single_one() -> None:
    assert ALONE.apart == Group(0, 2).apart == ()
    assert Group(1, 2).apart == (1,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer",
            "another of the 2 processes ended or is not heard; give the same command again",
        ),
        (
            "Expected to have finished reduction in the prior iteration before starting a new one. "
            "This error indicates that your module has parameters that were not used in producing "
            "loss.",
            "2 processes: expected a network that uses all its parameters in every step, found "
            "some that it does not use; remove them, or train with one process",
        ),
    ],
)
def test_pytorchs_errors_are_said_in_one_line(text: str, told: str) -> None:
    with pytest.raises(MedrobustError) as error, Group(0, 2).noticing_ends(lambda: NEXT):
        raise RuntimeError(text)
    assert str(error.value) == told
    with pytest.raises(RuntimeError, match=r"Expected|Connection"), ALONE.noticing_ends(str):
        raise RuntimeError(text)


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="out of memory"), Group(0, 2).noticing_ends(str):
        raise RuntimeError("CUDA out of memory")
