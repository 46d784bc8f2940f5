"""Pictures, under the name of what shows them: file names would tell which items share one."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from medrobust.study.web.material import Item
from medrobust.study.web.room import Room, reader_of, room_of


def image(request: Request) -> Response:
    """`GET /item/…/image`."""
    return _served(request, _item(request).image)


def deep(request: Request) -> Response:
    """`GET /item/…/deep`: the image in 16 bits, in two colours."""
    return _served(request, _item(request).deep)


def saliency(request: Request) -> Response:
    """`GET /item/…/map`."""
    return _served(request, _item(request).map)


def _item(request: Request) -> Item:
    room, name = room_of(request), request.path_params["item"]
    if not _is_served(room, reader_of(request), name):
        raise HTTPException(404)
    return room.study.items[name]


def _is_served(room: Room, reader: str, name: str) -> bool:
    progress = room.progress(reader)
    return progress.place in ("begin", "reading") and progress.may_fetch(name)


def _served(request: Request, name: str | None) -> Response:
    if name is None:
        raise HTTPException(404)
    content = room_of(request).study.picture(name).read_bytes()
    return Response(content, media_type="image/png")
