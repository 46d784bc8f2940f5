"""Progress bars with the time left, on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

Count = Callable[[int], None]
"""Called with the number of things done since the last call."""


class Bars:
    """One bar at a time; silent when standard error is not a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def over(self, items: Iterator[T], total: int, title: str) -> Iterator[T]:
        """The items, with a bar that counts them."""
        done = self.start(total, title)
        for item in items:
            yield item
            done(1)

    def start(self, total: int, title: str) -> Count:
        """A new bar; what is returned is called with the number done since the last call."""
        task = self._new(title, total)
        return lambda done: self._progress.update(task, advance=done)

    def counter(self, title: str) -> Callable[[int, int], None]:
        """A new bar; what is returned is called with (done, total)."""
        task = self._new(title, None)
        return lambda done, total: self._progress.update(task, completed=done, total=total)

    def bytes(self, title: str) -> Callable[[int, int], None]:
        """The same for bytes, shown in MiB."""
        count = self.counter(f"{title} (MiB)")
        return lambda done, total: count(done >> 20, total >> 20)

    def _new(self, title: str, total: int | None) -> TaskID:
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        return self._progress.add_task(title, total=total)


@contextmanager
def progress_bars(console: Console, shown: bool = True) -> Iterator[Bars]:
    """Bars on this console while the block runs; `shown` by one of several processes."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not (shown and console.is_terminal)
    ) as progress:
        yield Bars(progress)
