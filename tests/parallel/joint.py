"""Work done by several processes together, each with one thread, over this machine's loopback."""

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import torch

from medrobust.parallel.launch import free_port

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["medrobust.train", "medrobust.data.prepare"])


def together(count: int, work: Callable[..., None], *given: Any) -> None:
    """Call `work(*given)` in processes that know of each other; all must end well."""
    port = free_port()
    processes = [
        _CONTEXT.Process(target=_work, args=(rank, count, port, work, given))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * count


def _work(
    rank: int, count: int, port: int, work: Callable[..., None], given: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    told |= {"MASTER_PORT": port, "GROUP_RANK": 0}
    os.environ |= {name: str(value) for name, value in told.items()} | {"MASTER_ADDR": "127.0.0.1"}
    work(*given)
    torch.distributed.destroy_process_group()
