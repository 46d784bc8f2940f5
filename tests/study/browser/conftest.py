"""A study served for real, and the system's Chromium in front of it."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rooms import Served, close_served, open_served, write_study
from visits import Site, Window

from medrobust.study.answers import utc_now

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Serves a small study, with settings of `write_study`."""
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    running: list[tuple[Any, threading.Thread, Served]] = []

    def begin(**settings: Any) -> Site:
        folder = write_study(tmp_path / f"study-{len(running)}", **{"size": 64, **settings})
        served = open_served(folder, utc_now)
        server = uvicorn.Server(
            uvicorn.Config(served.app, port=0, log_level="error", access_log=False)
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        running.append((server, thread, served))
        port = server.servers[0].sockets[0].getsockname()[1]
        return Site(served, f"http://127.0.0.1:{port}")

    yield begin
    for server, thread, served in running:
        server.should_exit = True
        thread.join()
        close_served(served)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, without a window."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install 'medrobust[dev]'"
    )
    if CHROMIUM is None:
        pytest.skip("no chromium on this computer: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def window(browser: Any) -> Iterator[Callable[..., Window]]:
    """Opens windows that share nothing; at the end none may have had any trouble."""
    opened: list[Window] = []

    def begin(**options: Any) -> Window:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(20_000)
        made = Window(context.new_page(), [], [], [])
        made.page.on("console", lambda said: made.troubles.append(said.text))
        made.page.on("pageerror", lambda error: made.troubles.append(str(error)))
        made.page.on("request", lambda request: made.urls.append(request.url))
        opened.append(made)
        return made

    yield begin
    for made in opened:
        made.page.context.close()
        unexpected = [t for t in made.troubles if not any(text in t for text in made.forgiven)]
        assert unexpected == []
