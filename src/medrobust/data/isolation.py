"""Work on files that may be hostile: in other processes, with limits of time and memory.

A parser that crashes, a file that inflates without end, a loop that never ends cost one item, not
the whole run.
"""

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from medrobust.errors import MedrobustError

T = TypeVar("T")
R = TypeVar("R")

QUEUED = 2
"""Items a worker has been sent: one in work, the others so that it need not wait."""
AHEAD = 8
"""Items per worker that may be done before the oldest one is."""


@dataclass(frozen=True)
class Limits:
    """What one item may cost."""

    seconds: float = 60
    memory: int = 4 * 2**30
    """Bytes of address space beyond what the worker has at its start; on Linux only."""


@dataclass(frozen=True)
class Failure:
    """An item that broke a limit or the worker."""

    reason: str


def isolated_map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    limits: Limits | None = None,
) -> Iterator[R | Failure]:
    """`function(item)` for each item, in order, computed in `workers` processes.

    `function` and items are sent to processes started anew (spawn), so they must be picklable.
    With 0 workers it is a plain loop in this process, without limits. An exception of `function`
    is raised here; too much time, too much memory or the end of the process is a `Failure`.

    Raises `MedrobustError` when no process can be started.
    """
    if workers == 0:
        yield from map(function, items)
        return
    pool = _Pool(function, workers, limits or Limits())
    try:
        yield from pool.results(iter(items))
    finally:
        pool.end()


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    queue: deque[tuple[int, Any]] = field(default_factory=deque)
    """Numbers and items sent and not yet answered; the first one is in work."""
    since: float = 0.0
    """When the work on the first one began."""

    def send(self, number: int, item: Any) -> None:
        if not self.queue:
            self.since = time.monotonic()
        self.queue.append((number, item))
        with suppress(OSError):  # a worker that has died is noticed by its silence
            self.connection.send(item)


class _Pool:
    def __init__(self, function: Callable[[Any], Any], workers: int, limits: Limits) -> None:
        self._function, self._limits = function, limits
        self._workers = [self._launch() for _ in range(workers)]
        for worker in self._workers:
            self._greet(worker)

    def results(self, items: Iterator[Any]) -> Iterator[Any]:
        done: dict[int, Any] = {}
        given = taken = 0
        left = True
        while left or given > taken:
            while left and (worker := self._free()) and given - taken < AHEAD * len(self._workers):
                try:
                    worker.send(given, next(items))
                    given += 1
                except StopIteration:
                    left = False
            if taken not in done and given > taken:
                self._collect(done)
            while taken in done:
                yield done.pop(taken)
                taken += 1

    def end(self) -> None:
        for worker in self._workers:
            _stop(worker)

    def _free(self) -> _Worker | None:
        worker = min(self._workers, key=lambda worker: len(worker.queue))
        return worker if len(worker.queue) < QUEUED else None

    def _collect(self, done: dict[int, Any]) -> None:
        """Wait for an answer, a death or the end of somebody's time."""
        busy = [worker for worker in self._workers if worker.queue]
        last = min(worker.since for worker in busy) + self._limits.seconds
        wait([worker.connection for worker in busy], max(0.0, last - time.monotonic()))
        for worker in busy:
            if worker.connection.poll():
                self._receive(worker, done)
            elif time.monotonic() - worker.since > self._limits.seconds:
                self._fail(worker, f"it took longer than {self._limits.seconds:g} s to read", done)

    def _receive(self, worker: _Worker, done: dict[int, Any]) -> None:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            self._fail(worker, "the reader crashed", done)
            return
        if kind == "error":
            raise value
        number, _ = worker.queue.popleft()
        done[number] = value
        worker.since = time.monotonic()

    def _fail(self, worker: _Worker, reason: str, done: dict[int, Any]) -> None:
        """Give up the item in work and let a new process go on with the others."""
        _stop(worker)
        number, _ = worker.queue.popleft()
        done[number] = Failure(reason)
        fresh = self._launch()
        self._workers[self._workers.index(worker)] = fresh
        self._greet(fresh)
        for rest in worker.queue:
            fresh.send(*rest)

    def _launch(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        arguments = (self._function, there, self._limits.memory)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        there.close()
        return _Worker(process, here)

    def _greet(self, worker: _Worker) -> None:
        try:
            worker.connection.recv()
        except (EOFError, OSError) as error:
            raise MedrobustError(
                "a worker process could not start: call this under `if __name__ == '__main__':`, "
                "or use 0 workers"
            ) from error


def _stop(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.kill()
    worker.process.join()


def _work(function: Callable[[Any], Any], connection: Connection, memory: int) -> None:
    """Answer items until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    _limit_memory(memory)
    with suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            connection.send(_answer(function, connection.recv(), memory))


def _answer(function: Callable[[Any], Any], item: Any, memory: int) -> tuple[str, Any]:
    try:
        return "value", function(item)
    except MemoryError:
        return "value", Failure(f"it needs more than {memory / 2**30:g} GiB of memory to read")
    except Exception as error:
        return "error", error


def _limit_memory(memory: int) -> None:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):  # no such limits on this system
        return
    limit = pages * resource.getpagesize() + memory
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or limit <= hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
