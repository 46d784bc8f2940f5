"""Where a reader is: before, between and after the cases."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from medrobust.study.events import Event
from medrobust.study.heads import Head
from medrobust.study.web.entry import FORM, fields
from medrobust.study.web.guard import body_of
from medrobust.study.web.identity import new_id
from medrobust.study.web.progress import Progress
from medrobust.study.web.render import page
from medrobust.study.web.room import Room, check_form, reader_of, room_of


def place(request: Request) -> Response:
    """`GET /read`: what comes next, and the way there."""
    room, reader = room_of(request), reader_of(request)
    progress = room.progress(reader)
    return page(
        request,
        "place.html.j2",
        reader=reader,
        progress=progress,
        place=progress.place,
        cases=sum(len(one.items) for one in progress.stretches if not one.is_practice),
        blocks=sum(not one.is_practice for one in progress.stretches),
        event=new_id(),
        receipt=_receipt(room, progress),
    )


async def finish(request: Request) -> Response:
    """`POST /finish`: the reader has read everything and says so."""
    given = fields(await body_of(request, FORM))
    return await run_in_threadpool(_finish, request, given)


def _finish(request: Request, given: dict[str, str]) -> Response:
    room, reader = room_of(request), reader_of(request)
    check_form(request, given.get("form", ""))
    if room.progress(reader).place not in ("read", "finished"):
        raise HTTPException(409)
    room.answers.append(Event(reader, "finished", given.get("event", "")))
    return RedirectResponse("/read", 303)


def _receipt(room: Room, progress: Progress) -> str:
    """What a reader can keep of the end: the code of the event that says so."""
    if not progress.state.finished:
        return ""
    ends = [
        link
        for link in room.answers.events(progress.state.reader)
        if link.kind == "finished" and not link.item
    ]
    return Head(ends[-1].sequence, ends[-1].hash).code
