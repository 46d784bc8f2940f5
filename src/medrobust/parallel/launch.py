"""Start the processes that work together on this machine, and end all when one ends.

For several machines there is `torchrun`, which tells its processes the same things.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from medrobust.errors import MedrobustError
from medrobust.parallel.place import LAUNCHER

ELSEWHERE = 3
"""Exit code of a process that ended because another one did."""
_GRACE = 30.0
"""Seconds in which the others may notice by themselves that one ended, and tell why."""
_END = 10.0
"""Seconds between asking a process to end and ending it by force."""

Process = subprocess.Popen[bytes]


def launch(count: int, what_next: Callable[[], str]) -> int:
    """Run this very command in `count` processes; return the exit code of all.

    Args:
        count: of processes.
        what_next: says what to do when one ended before its time.

    Raises:
        MedrobustError: one was killed.
    """
    port = free_port()
    processes = [_started(rank, count, port) for rank in range(count)]
    try:
        while not _are_ending(processes):
            time.sleep(0.1)
        first = _codes(processes)
        _wait(processes, _GRACE)  # the others notice by themselves, mostly
        codes = _codes(processes)
    finally:
        _end(processes)
    for number, code in [*enumerate(first, start=1), *enumerate(codes, start=1)]:
        if code < 0:
            raise MedrobustError(
                f"process {number} of {count} was killed ({signal.Signals(-code).name}), so that "
                f"all ended; {what_next()}"
            )
    return next((code for code in codes if code not in (0, ELSEWHERE)), max(codes))


def end_with_launcher() -> None:
    """Let this process end when the one that launched it is gone, however that ended."""
    parent = int(os.environ[LAUNCHER])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(ELSEWHERE)

    threading.Thread(target=watch, daemon=True).start()


def free_port() -> int:
    """Of this machine's loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _started(rank: int, count: int, port: int) -> Process:
    threads = max(1, (os.cpu_count() or 1) // count)
    told = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        LAUNCHER: str(os.getpid()),
    }
    command = [sys.executable, "-m", "medrobust", *sys.argv[1:]]
    return subprocess.Popen(command, env=os.environ | told)  # noqa: S603


def _are_ending(processes: Sequence[Process]) -> bool:
    """Whether all ended, or one of them not well."""
    return any(_codes(processes)) or all(process.poll() == 0 for process in processes)


def _codes(processes: Sequence[Process]) -> list[int]:
    """The exit codes so far; 0 of those that run."""
    return [process.poll() or 0 for process in processes]


def _wait(processes: Sequence[Process], seconds: float) -> None:
    """Wait so long for all to end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.1)


def _end(processes: Sequence[Process]) -> None:
    """End those that are left, at last by force."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                process.send_signal(end)
        _wait(processes, _END)
