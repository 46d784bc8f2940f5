"""A study's server as a process of its own, for readers on this computer."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from medrobust.errors import MedrobustError
from medrobust.parallel.launch import free_port

SLOWEST_START = 60.0
"""Seconds."""


class Host:
    """`medrobust study serve`, at a free port that it keeps.

    Raises:
        MedrobustError: the server ended at once, with its own message, or doesn't answer.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        words = ("study", "serve", str(folder), "--port", str(self.port))
        self._command = [sys.executable, "-m", "medrobust", *words]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed at the end of the block)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where readers find it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start it; it answers when this returns."""
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it as Ctrl-C does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._said.close()

    def kill(self) -> None:
        """End it as a power failure would (`kill -9`), and start it again at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            self._command, stdout=subprocess.DEVNULL, stderr=self._said
        )
        end = time.monotonic() + SLOWEST_START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise MedrobustError(f"the study's server did not start: {self._last_words()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with urlopen(self.url, timeout=SLOWEST_START):  # noqa: S310  (our own)
                return True
        except (URLError, OSError):
            return False

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")
