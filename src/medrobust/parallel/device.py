"""The device of a process, and Fabric on it."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from medrobust.config import Train
from medrobust.errors import MedrobustError
from medrobust.parallel.group import Group, join
from medrobust.parallel.place import Place


@dataclass(frozen=True)
class Team:
    """Processes that have met, and Fabric on the device of this one."""

    fabric: Fabric
    group: Group

    @property
    def devices(self) -> str:
        """What people call the device, with how many of them there are."""
        device = self.fabric.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return name if self.group.count == 1 else f"{self.group.count} × {name}"


def fabric_on(settings: Train, place: Place) -> Fabric:
    """Fabric on this process's device. `auto` is a CUDA GPU where there is one, else the CPU.

    Raises:
        MedrobustError: there is no such device, or there are fewer than processes.
    """
    wanted, found = settings.accelerator, torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise MedrobustError(
            "train.accelerator=cuda: no CUDA device was found; use train.accelerator=auto or cpu"
        )
    if wanted == "auto":
        wanted = "cuda" if found else "cpu"
    _check_enough(wanted, settings, place)
    try:
        return Fabric(accelerator=wanted, precision=settings.precision, **_spread(place))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MedrobustError(
            f"train.accelerator={wanted} can't be used here ({reason}); try train.accelerator=cpu"
        ) from error


def meet(fabric: Fabric, place: Place) -> Team:
    """Meet the other processes.

    Raises:
        MedrobustError: they could not be reached.
    """
    group = join(place, fabric.device)
    if place.count > 1:
        fabric.launch()
    return Team(fabric, group)


def _spread(place: Place) -> dict[str, Any]:
    """Fabric's arguments for so many processes."""
    if place.count == 1:
        return {"devices": 1}
    options: dict[str, Any] = {_buffers_option(): False, "gradient_as_bucket_view": True}
    return {
        "devices": place.local_count,
        "num_nodes": place.count // place.local_count,
        "plugins": [TorchElasticEnvironment()],
        "strategy": DDPStrategy(**options),
    }


def _buffers_option() -> str:
    """DDP's option to send the first process's buffers to all before each pass.

    It is off, since `norms` sees to it that they are equal; PyTorch 2.13 gave it another name.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    new = "forward_sync_buffers"
    return new if new in known else "broadcast_buffers"


def _check_enough(accelerator: str, settings: Train, place: Place) -> None:
    """Refuse more processes than there are devices; a CPU takes any number."""
    if settings.processes > 1 and place.count == 1:
        raise MedrobustError(
            f"train.processes={settings.processes}: expected as many processes, found this one "
            "alone; start `medrobust train` or torchrun, or set train.processes=1"
        )
    count = place.local_count
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(accelerator, count)
    if count > there:
        raise MedrobustError(
            f"train.processes: expected at most {there}, the {accelerator} devices of this "
            f"machine, found {count}; start fewer or set train.accelerator=cpu"
        )
