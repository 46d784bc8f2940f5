"""Readers without a browser: over HTTP they do what the page's script does, in the same order.

Like the script they try again for as long as the server is away, and send an event again under the
same id, so that it is saved once however often its receipt is lost.
"""

import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from medrobust.errors import MedrobustError

try:
    import httpx
except ModuleNotFoundError as error:
    raise MedrobustError(
        "simulated readers need httpx, which is not installed: pip install 'medrobust[study]'"
    ) from error

FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds between attempts, doubled each time: those of the script."""
_TIMEOUT = 60.0


class Page(NamedTuple):
    """The page of a case, with its pictures loaded."""

    item: str
    form: str
    """What every post of the session carries."""
    after: str
    """The item after it; empty at the end of a block."""


class Saved(NamedTuple):
    """An event that the server acknowledged."""

    id: str
    receipt: str
    kind: str
    item: str
    began: float
    """By `time.monotonic`, as `ended`: the first attempt and its receipt."""
    ended: float
    attempts: int
    """1 unless the server was away."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Visitor:
    """One reader's browser.

    Args:
        link: the personal link, `http://127.0.0.1:8765/#…`.
        saved: hears of every event that was acknowledged.
        patience: seconds for which the server may be away.

    Its methods raise `MedrobustError` when the server refuses something or is away for longer.
    """

    def __init__(
        self,
        link: str,
        saved: Callable[[Saved], None] = lambda event: None,
        patience: float = 60.0,
    ) -> None:
        address, _, self._token = link.partition("#")
        self._address = address.rstrip("/")
        self._client = httpx.Client(base_url=self._address, timeout=_TIMEOUT)
        self._saved, self._patience = saved, patience

    def __enter__(self) -> Self:
        """Come in."""
        try:
            form = _hidden(self._get("/"), "form")
            self._ask("POST", "/enter", data={"form": form, "token": self._token})
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(
        self,
        answers: Callable[[str], Mapping[str, Any]],
        think: Callable[[str], None] = lambda item: None,
    ) -> str:
        """Read all that is left from where the reader was, and finish; the receipt.

        `answers` gives an item's values by question; `think` returns when the reader has decided.
        """
        while item := self.going_on():
            self._stretch(self.open(item), answers, think)
        return self.finish()

    def going_on(self) -> str:
        """The item that comes next; empty when there is nothing to be read now."""
        found = re.search(r'href="/item/([0-9a-f]{32})"', self._get("/read"))
        return found[1] if found else ""

    def open(self, item: str) -> Page:
        """Load a case."""
        page = self._get(f"/item/{item}")
        for kind in ("deep" if 'data-deep="1"' in page else "image", "map"):
            self._ask("GET", f"/item/{item}/{kind}")
        after = re.search(r'data-after="/item/([0-9a-f]{32})"', page)
        return Page(item, _found(r'data-form="(\w+)"', page), after[1] if after else "")

    def send(self, page: Page, kind: str, body: Mapping[str, Any] | None = None) -> None:
        """Post an event until it is acknowledged."""
        name, began = str(uuid.uuid4()), time.monotonic()
        response, attempts = self._ask(
            "POST",
            f"/item/{page.item}/events",
            json={"id": name, "kind": kind, "body": body or {}},
            headers={"X-Form-Token": page.form},
        )
        receipt, ended = str(response.json()["saved"]), time.monotonic()
        self._saved(Saved(name, receipt, kind, page.item, began, ended, attempts))

    def finish(self) -> str:
        """Say that all is read, unless that was said; the receipt.

        Raises:
            MedrobustError: there is something left, or a block that is not open yet.
        """
        page = self._get("/read")
        if 'action="/finish"' in page:
            data = {name: _hidden(page, name) for name in ("form", "event")}
            self._ask("POST", "/finish", data=data)
            page = self._get("/read")
        return _found(r"<code>(\d+-\w+)</code>", page)

    def _stretch(
        self,
        page: Page,
        answers: Callable[[str], Mapping[str, Any]],
        think: Callable[[str], None],
    ) -> None:
        """Read to the end of a block; while the reader thinks, the next case is loaded."""
        coming: Page | None = page
        while coming:
            page = coming
            self.send(page, "shown")
            coming = self.open(page.after) if page.after else None
            think(page.item)
            for question, value in answers(page.item).items():
                self.send(page, "answered", {"values": {question: value}})
            self.send(page, "finished")

    def _get(self, url: str) -> str:
        return self._ask("GET", url)[0].text

    def _ask(self, method: str, url: str, **content: Any) -> tuple[httpx.Response, int]:
        """What the server says, at which attempt."""
        wait, attempts, end = FIRST_WAIT, 0, time.monotonic() + self._patience
        while True:
            attempts += 1
            try:
                response = self._client.request(method, url, **content)
                if response.status_code < 500:
                    return _accepted(response), attempts
                trouble = f"status {response.status_code}"
            except httpx.TransportError as error:
                trouble = type(error).__name__
            if time.monotonic() + wait > end:
                raise MedrobustError(
                    f"expected the study's server at {self._address}, found none for "
                    f"{self._patience:g} seconds ({trouble}): start it again, nothing is lost"
                )
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)


def _accepted(response: httpx.Response) -> httpx.Response:
    """The response, unless it is a refusal."""
    if response.is_error:
        where = f"{response.request.method} {re.sub('[0-9a-f]{32}', '…', response.url.path)}"
        try:
            told = f": {response.json()['error']}"
        except (ValueError, KeyError):
            told = ""
        raise MedrobustError(
            f"expected the study's server to accept {where}, found status "
            f"{response.status_code}{told}"
        )
    return response


def _hidden(page: str, name: str) -> str:
    return _found(rf'name="{name}" value="([^"]+)"', page)


def _found(pattern: str, page: str) -> str:
    found = re.search(pattern, page)
    if not found:
        told = re.findall(r"<p[^>]*>([^<]+)", page)
        raise MedrobustError(
            "expected a page of the study that leads on, found another"
            + (f" ({told[0].strip()})" if told else "")
        )
    return found[1]
