"""What processes that work together say to each other."""

import atexit
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from medrobust.errors import MedrobustError
from medrobust.parallel.launch import end_with_launcher
from medrobust.parallel.place import ElsewhereError, Place, have_met, here, is_launched

T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)
"""How long the others are waited for, such as for a store's checksum; a process that died is
noticed at once."""
_CUT = re.compile(r"gloo|nccl|connection|socket|timed? ?out|tcpstore", re.IGNORECASE)
"""What the error says that is raised where another process no longer answers."""
_UNUSED = "parameters that were not used"
"""What DDP's error says where the gradient of a parameter never comes."""


@dataclass(frozen=True)
class Group:
    """All processes, as seen from one; a single one has nobody to talk to."""

    rank: int = 0
    """From 0."""
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is this process that writes files and messages."""
        return self.rank == 0

    @property
    def apart(self) -> tuple[int, ...]:
        """What sets this process's keys of random numbers apart: nothing in the first."""
        return (self.rank,) if self.rank else ()

    def on_first(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, in all of them.

        Raises:
            MedrobustError: that of the first process; the others' is an `ElsewhereError`.
        """
        if self.count == 1:
            return work()
        outcome: list[Any] = [None, None]
        caught: Exception | None = None
        if self.is_first:
            try:
                outcome[0] = work()
            except (MedrobustError, OSError) as error:
                caught, outcome[1] = error, str(error)
        dist.broadcast_object_list(outcome, src=0)
        if caught is not None:
            raise caught
        if outcome[1] is not None:
            raise ElsewhereError(outcome[1])
        return outcome[0]  # type: ignore[no-any-return]

    def error(self, text: str) -> MedrobustError:
        """One that every process raises alike: the first tells it."""
        return MedrobustError(text) if self.is_first else ElsewhereError(text)

    def gathered(self, value: T) -> list[T]:
        """Every process's value, by rank, in all of them."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, equal to the bit in all of them."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over the processes in the tensors' place, all in one message."""
        if self.count > 1 and tensors:
            flat = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
            parts = torch.split(flat, [tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    @torch.no_grad()
    def take_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Put the first process's tensors in the place of one's own."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def check_alike(self, values: dict[str, Any]) -> None:
        """Refuse processes that would not do the same work.

        Raises:
            MedrobustError: a value, told by its name, is not the same in all processes.
        """
        found = self.gathered(values)
        for name, own in found[0].items():
            for number, other in enumerate(found[1:], start=2):
                if other.get(name) != own:
                    raise self.error(
                        f"{name}: expected the same in all {self.count} processes, found {own} in "
                        f"the first and {other.get(name)} in process {number}"
                    )

    @contextmanager
    def noticing_ends(self, what_next: Callable[[], str]) -> Iterator[None]:
        """Say in one line when another process has ended while the block runs.

        Raises:
            MedrobustError: it has, or does not answer, with what to do next; or DDP waits in vain
                for the gradient of a parameter that the network does not use.
        """
        try:
            yield
        except RuntimeError as error:
            if self.count > 1 and _UNUSED in str(error):
                raise self.error(
                    f"{self.count} processes: expected a network that uses all its parameters in "
                    "every step, found some that it does not use; remove them, or train with one "
                    "process"
                ) from error
            if self.count == 1 or not _CUT.search(str(error)):
                raise
            told = f"another of the {self.count} processes ended or is not heard; {what_next()}"
            quiet = is_launched() or here().local_rank > 0
            raise (ElsewhereError(told) if quiet else MedrobustError(told)) from error


ALONE = Group()
"""A single process."""


def join(place: Place, device: torch.device) -> Group:
    """Meet the other processes; over NCCL where each has a CUDA device, else over Gloo.

    Raises:
        MedrobustError: they could not be reached.
    """
    if place.count == 1:
        return ALONE
    if not have_met():
        if is_launched():
            end_with_launcher()
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.set_device(device)
        try:
            dist.init_process_group(
                "nccl" if cuda else "gloo",
                timeout=_PATIENCE,
                device_id=device if cuda else None,
            )
            atexit.register(_leave)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise MedrobustError(
                f"the {place.count} processes could not reach each other ({reason}); check the "
                "address and port that torchrun was given"
            ) from error
    return Group(dist.get_rank(), dist.get_world_size())


def _leave() -> None:
    """Close the connections in order; the others may have more to do."""
    if dist.is_initialized():
        dist.destroy_process_group()
