"""Coming in by a personal link, and leaving.

The secret of a link stands after its `#`, which browsers never send. The page's script posts it, so
that no address in a log, a history or a referrer has it.
"""

import re
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from medrobust.errors import MedrobustError
from medrobust.study.events import ADMIN, Event, RefusedError
from medrobust.study.sessions import form_token, is_form_token
from medrobust.study.tokens import new_secret
from medrobust.study.web.guard import body_of
from medrobust.study.web.identity import new_id
from medrobust.study.web.render import page
from medrobust.study.web.room import check_form, holder_of, room_of, session_of

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
FORM = "application/x-www-form-urlencoded"


def door(request: Request) -> Response:
    """`GET /`: a form for the link, which the script fills in from the address."""
    return _door(request, 200, "")


async def enter(request: Request) -> Response:
    """`POST /enter`: a session for somebody whose token is right; failures are rate-limited."""
    given = fields(await body_of(request, FORM))
    room, address = room_of(request), request.client.host if request.client else ""
    if not is_form_token(request.cookies.get(_visit(request), ""), given.get("form", "")):
        return await run_in_threadpool(_door, request, 403, "This page was too old. Try once more.")
    wait = room.limit.wait(address, room.ticks())
    if wait:
        told = f"Too many attempts. Wait {wait:.0f} seconds and try again."
        response = await run_in_threadpool(_door, request, 429, told)
        response.headers["Retry-After"] = f"{wait:.0f}"
        return response
    token = given.get("token", "").strip().rpartition("#")[2]
    holder = await run_in_threadpool(room.tokens.holder_of, token)
    if holder is None:
        room.limit.failed(address, room.ticks())
        told = "This link doesn't work. It may have been replaced: ask who sent it."
        return await run_in_threadpool(_door, request, 403, told)
    return await run_in_threadpool(_begin, request, holder)


async def leave(request: Request) -> Response:
    """`POST /leave`: end the session."""
    given = fields(await body_of(request, FORM))
    check_form(request, given.get("form", ""))
    await run_in_threadpool(room_of(request).sessions.end, session_of(request))
    response = RedirectResponse("/", 303)
    response.delete_cookie(room_of(request).cookie)
    return response


def fields(body: bytes) -> dict[str, str]:
    """A small form's fields; of several with one name the last.

    Raises:
        HTTPException: it is none (400).
    """
    try:
        parsed = parse_qs(body.decode("ascii"), max_num_fields=10, keep_blank_values=True)
    except ValueError as error:
        raise HTTPException(400) from error
    return {name: values[-1] for name, values in parsed.items()}


def _door(request: Request, status: int, told: str) -> Response:
    room = room_of(request)
    visit = request.cookies.get(_visit(request), "")
    visit = visit if _SECRET.fullmatch(visit) else new_secret()
    holder = holder_of(request)
    home = "/progress" if holder == ADMIN else "/read"
    response = page(
        request, "door.html.j2", status, told=told, holder=holder, home=home, door=form_token(visit)
    )
    room.keep(response, _visit(request), visit)
    return response


def _begin(request: Request, holder: str) -> Response:
    room = room_of(request)
    try:
        session = room.sessions.open(holder, room.now().timestamp())
    except MedrobustError as error:  # revoked in this moment
        raise HTTPException(403) from error
    if holder in room.study.settings.readers:
        _note_opened(request, holder)
    response = RedirectResponse("/progress" if holder == ADMIN else "/read", 303)
    room.keep(response, room.cookie, session)
    return response


def _note_opened(request: Request, reader: str) -> None:
    try:
        room_of(request).answers.append(Event(reader, "opened", new_id()))
    except RefusedError:
        return  # the study is closed, which the next page says


def _visit(request: Request) -> str:
    """The cookie that a login's form is bound to, so that no other site can log somebody in."""
    return f"{room_of(request).cookie}-visit"
