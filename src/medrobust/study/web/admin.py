"""How far everybody is: counts only, never an answer."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from medrobust.study.events import ADMIN
from medrobust.study.web.progress import Progress
from medrobust.study.web.render import page
from medrobust.study.web.room import holder_of, room_of


@dataclass(frozen=True)
class Row:
    """One reader's."""

    reader: str
    has_link: bool
    sessions: int
    practice: int
    read: int
    total: int
    """Maps of all blocks, practice apart."""
    where: str


def progress(request: Request) -> Response:
    """`GET /progress`: for the admin's link only."""
    holder = holder_of(request)
    if holder != ADMIN:
        raise HTTPException(401 if holder is None else 404)
    room = room_of(request)
    links = room.tokens.holders()
    found = [room.progress(reader) for reader in room.study.settings.readers]
    head = room.answers.head()
    return page(
        request,
        "progress.html.j2",
        rows=[_row(one, one.state.reader in links) for one in found],
        closed=any(one.state.closed for one in found),
        head=head.code if head else "",
        now=room.now(),
    )


def _row(progress: Progress, has_link: bool) -> Row:
    blocks = [one for one in progress.stretches if not one.is_practice]
    practice = [one for one in progress.stretches if one.is_practice]
    return Row(
        progress.state.reader,
        has_link,
        progress.state.sessions,
        sum(map(progress.done_of, practice)),
        sum(map(progress.done_of, blocks)),
        sum(len(one.items) for one in blocks),
        _where(progress),
    )


def _where(progress: Progress) -> str:
    if progress.state.finished:
        return "finished"
    if progress.stretch is None:
        return "all read"
    if progress.opens is not None:
        return f"next block from {progress.opens:%Y-%m-%d %H:%M} UTC"
    if not progress.state.shown:
        return "not begun"
    block = progress.stretch.block
    return "practice" if block is None else f"block {block + 1}"
