from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rooms import Served, close_served, open_served, write_study

Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Opens a small study, with settings of `write_study`."""
    opened: list[Served] = []

    def begin(**settings: Any) -> Served:
        folder = write_study(tmp_path / f"study-{len(opened)}", **settings)
        opened.append(open_served(folder))
        return opened[-1]

    yield begin
    for served in opened:
        close_served(served)


@pytest.fixture
def served(serve: Serve) -> Served:
    """Two readers, a case for practice, blocks of three and two."""
    return serve()
