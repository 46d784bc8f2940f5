"""Which of how many processes this is; known before anything heavy is imported."""

import os
import sys
from dataclasses import dataclass

from medrobust.errors import MedrobustError

LAUNCHER = "MEDROBUST_LAUNCHER"
"""The environment's name for the process id of `launch`, where that started this process."""


class ElsewhereError(MedrobustError):
    """One that ends this process, too, but is told by another one."""


@dataclass(frozen=True)
class Place:
    """A process among those that work together."""

    rank: int = 0
    """From 0, over all machines."""
    count: int = 1
    """Processes on all machines."""
    local_rank: int = 0
    """From 0, on this machine."""
    local_count: int = 1
    """Processes on this machine."""

    def device(self, name: str) -> str:
        """`cuda` as this process's own, where there are several."""
        return f"cuda:{self.local_rank}" if name == "cuda" and self.count > 1 else name

    def check_shares(self, images: int, least: int) -> None:
        """Refuse a batch of so many images that can't be dealt out evenly, `least` to each.

        Raises:
            MedrobustError: so it is.
        """
        if images < self.count * least:
            raise MedrobustError(
                f"{self.count} processes: expected a batch of at least {self.count * least} "
                f"images, {least} for each, found {images}; start fewer processes, or raise "
                "train.batch_size (the training split must have as many)"
            )
        if images % self.count:
            fitting = images // self.count * self.count
            raise MedrobustError(
                f"{self.count} processes: expected a batch that they can share evenly, found "
                f"{images} images; set train.batch_size={fitting}, or start another number of "
                "processes"
            )


def here() -> Place:
    """What `torchrun` or `launch` told this process; alone if nothing."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    told = [os.environ.get(name, "") for name in names]
    return Place(*map(int, told)) if all(text.isdecimal() for text in told) else Place()


def is_launched() -> bool:
    """Whether `launch` started this process, and so tells what becomes of the others."""
    return LAUNCHER in os.environ


def is_told_elsewhere(error: BaseException) -> bool:
    """Whether another process tells this error.

    Before the processes have met an error is the same in all of them, and the first of each
    machine tells it; afterwards each tells its own.
    """
    return isinstance(error, ElsewhereError) or (here().local_rank > 0 and not have_met())


def have_met() -> bool:
    """Whether this process is connected with the others."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and bool(
        distributed.is_available() and distributed.is_initialized()
    )


def check_started_together() -> None:
    """Refuse processes that would all do the same work into the same folder.

    Raises:
        MedrobustError: `srun` started several that do not know of each other.
    """
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if here().count == 1 and tasks.isdecimal() and int(tasks) > 1:
        raise MedrobustError(
            f"srun: expected one task, or torchrun in each, found {tasks} tasks that don't know of "
            "each other; see docs/how-to/several-machines.md"
        )
