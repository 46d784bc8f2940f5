from io import StringIO

import pytest
from rich.console import Console

from medrobust.progress import progress_bars


def console(terminal: bool) -> tuple[Console, StringIO]:
    file = StringIO()
    return Console(file=file, force_terminal=terminal, width=80, _environ={}), file


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_only_on_a_terminal(terminal: bool) -> None:
    where, file = console(terminal)
    with progress_bars(where) as bars:
        assert list(bars.over(iter("abc"), 3, "epoch [1/2]")) == ["a", "b", "c"]
        done = bars.start(10, "maps")
        done(4)
        done(6)
        bars.counter("preparing")(2, 7)
    assert ("preparing" in file.getvalue()) is terminal
    assert bool(file.getvalue()) is terminal


def test_counts() -> None:
    where, _ = console(terminal=True)
    with progress_bars(where) as bars:
        list(bars.over(iter(range(3)), 5, "epoch"))
        done = bars.start(10, "maps")
        (task,) = bars._progress.tasks  # one bar at a time
        done(4)
        done(3)
        assert (task.description, task.completed, task.total) == ("maps", 7, 10)
        bars.counter("preparing")(2, 7)
        (task,) = bars._progress.tasks
        assert (task.completed, task.total) == (2, 7)
