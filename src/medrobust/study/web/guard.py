"""What holds for every request and response, whatever it is about."""

import asyncio
import json
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 65_536
"""Of a request's body."""
SLOWEST = 20.0
"""Seconds in which a body must have come."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
}


class Guard:
    """Every response gets the `HEADERS`, those to errors too."""

    def __init__(self, app: ASGIApp, secure: bool) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        if secure:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, guarded)


async def body_of(request: Request, kind: str) -> bytes:
    """The body of a post of this content type.

    Raises:
        HTTPException: another type (415), more than `MOST_BYTES` (413), too slow (408), or sent
            by another site's page (403).
    """
    _refuse_elsewhere(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise HTTPException(415)
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or len(told) > 9 or int(told) > MOST_BYTES:
        raise HTTPException(413)
    try:
        async with asyncio.timeout(SLOWEST):
            return await _read(request)
    except TimeoutError as error:
        raise HTTPException(408) from error


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413)
    return bytes(body)


def _refuse_elsewhere(request: Request) -> None:
    """Browsers say where a post comes from; what isn't one needs the form's token anyway."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403)


def strict_json(text: bytes) -> Any:
    """JSON without NaN and infinity, in UTF-8.

    Raises:
        HTTPException: it is something else (400).
    """

    def refuse(_: str) -> None:
        raise ValueError

    try:
        return json.loads(text.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400) from error
