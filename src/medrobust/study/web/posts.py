"""What a reader does with a case, sent by the page's script as it happens."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from medrobust.study.events import Event, EventError, RefusedError
from medrobust.study.web.guard import body_of, strict_json
from medrobust.study.web.progress import Progress
from medrobust.study.web.room import Room, check_form, reader_of, room_of
from medrobust.study.web.values import check_values, check_view, unanswered


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    kind: Literal["shown", "answered", "viewed", "idle", "finished"]
    body: dict[str, Any] = {}


async def happened(request: Request) -> Response:
    """`POST /item/…/events`: one event, acknowledged when it is on the disk."""
    text = await body_of(request, "application/json")
    return await run_in_threadpool(_save, request, text)


def _save(request: Request, text: bytes) -> Response:
    room, reader = room_of(request), reader_of(request)
    check_form(request, request.headers.get("x-form-token", ""))
    item, sent, progress = request.path_params["item"], _sent(text), room.progress(reader)
    if progress.stretch_of(item) is None:
        raise HTTPException(404)
    event = Event(reader, sent.kind, sent.id, item, _body(room, progress, item, sent))
    _refuse_unless_saved(room, progress, event)
    receipt = room.answers.append(event)
    return JSONResponse({"saved": receipt.code})


def _sent(text: bytes) -> _Sent:
    try:
        return _Sent.model_validate(strict_json(text))
    except ValidationError as error:
        raise EventError("event: expected id, kind and body, found something else") from error


def _body(room: Room, progress: Progress, item: str, sent: _Sent) -> dict[str, Any]:
    """The event's body, checked; where an item stands only the server says."""
    settings = room.study.settings
    if sent.kind == "shown":
        if sent.body:
            raise EventError("body: expected nothing with shown, found something")
        return _standing(progress, item)
    if sent.kind == "answered":
        values = sent.body.get("values")
        if isinstance(values, dict):  # else the event refuses it
            check_values(values, settings.questions, settings.picture)
    if sent.kind == "viewed":
        check_view(sent.body)
    return sent.body


def _standing(progress: Progress, item: str) -> dict[str, Any]:
    stretch = progress.stretch_of(item)
    if stretch is None:
        raise HTTPException(404)
    position = stretch.start + stretch.items.index(item)
    return {"block": stretch.block, "position": position, "practice": stretch.is_practice}


def _refuse_unless_saved(room: Room, progress: Progress, event: Event) -> None:
    """What is sent again, because its receipt was lost, is acknowledged wherever the reader is."""
    try:
        _refuse(room, progress, event)
    except RefusedError:
        if all(link.id != event.id for link in room.answers.events(event.reader)):
            raise


def _refuse(room: Room, progress: Progress, event: Event) -> None:
    if not progress.may_visit(event.item):
        raise RefusedError("item: expected one that is to be read now, found another")
    if event.kind == "finished":
        given = progress.state.answers.get(event.item, {})
        missing = unanswered(given, room.study.settings.questions)
        if missing:
            raise RefusedError(f"expected an answer to {', '.join(missing)}, found none")
