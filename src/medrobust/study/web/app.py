"""The application: what answers at which address."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.convertors import register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from medrobust.errors import MedrobustError
from medrobust.study.answers import Answers, design_of, utc_now
from medrobust.study.events import EventError, RefusedError
from medrobust.study.sessions import Lifetime, Sessions
from medrobust.study.tokens import Tokens
from medrobust.study.web import admin, case, entry, pictures, posts, reading
from medrobust.study.web.guard import Guard
from medrobust.study.web.identity import ItemName
from medrobust.study.web.material import Study
from medrobust.study.web.render import HERE, page
from medrobust.study.web.room import Room

_SAID = {
    400: "This was not understood.",
    401: "Your session has ended. Open your personal link again.",
    403: "This is not allowed here.",
    404: "There is nothing at this address.",
    405: "This is not possible at this address.",
    408: "This took too long.",
    409: "This is not possible now.",
    413: "This was too much at once.",
    415: "This was not understood.",
}
_ITEM = "/item/{item:item}"
register_url_convertor("item", ItemName())


def open_room(
    folder: Path,
    *,
    secure: bool = False,
    now: Callable[[], datetime] = utc_now,
    lifetime: Lifetime | None = None,
) -> Room:
    """Open a study to serve it.

    Raises:
        MedrobustError: there is none, a file of it is missing, or its databases can't be used.
    """
    study = Study.open(folder)
    return Room(
        study,
        Answers(folder, now),
        Tokens(folder),
        Sessions(folder, lifetime),
        cookie=f"study-{design_of(folder)[:8]}",
        secure=secure,
        now=now,
    )


def make_app(room: Room) -> ASGIApp:
    """The web application of an open study."""
    app = Starlette(routes=_routes(), exception_handlers=_handlers())
    app.state.room = room
    return Guard(app, room.secure)


def _routes() -> list[Route]:
    return [
        Route("/", entry.door),
        Route("/enter", entry.enter, methods=["POST"]),
        Route("/leave", entry.leave, methods=["POST"]),
        Route("/read", reading.place),
        Route("/finish", reading.finish, methods=["POST"]),
        Route("/progress", admin.progress),
        Route(_ITEM, case.case),
        Route(f"{_ITEM}/image", pictures.image),
        Route(f"{_ITEM}/deep", pictures.deep),
        Route(f"{_ITEM}/map", pictures.saliency),
        Route(f"{_ITEM}/events", posts.happened, methods=["POST"]),
        Route("/static/study.js", _static("study.js", "text/javascript")),
        Route("/static/study.css", _static("study.css", "text/css")),
    ]


def _static(name: str, kind: str) -> Callable[[Request], Response]:
    content = (HERE / "static" / name).read_bytes()
    return lambda request: Response(content, media_type=kind)


def _handlers() -> dict[type[Exception], Callable[[Request, Exception], Response]]:
    return {
        HTTPException: _http,
        EventError: lambda request, error: _told(request, 422, str(error)),
        RefusedError: lambda request, error: _told(request, 409, str(error)),
        MedrobustError: lambda request, error: _told(request, 503, "The answer was not saved."),
    }


def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 401 and request.method == "GET" and not _wants_json(request):
        return RedirectResponse("/", 303)
    return _told(request, status, _SAID.get(status, "This did not work."))


def _told(request: Request, status: int, text: str) -> Response:
    """An error, for a script or a person."""
    if _wants_json(request):
        return JSONResponse({"error": text}, status)
    return page(request, "error.html.j2", status, text=text)


def _wants_json(request: Request) -> bool:
    return request.url.path.endswith(("/events", "/image", "/map", "/deep"))
