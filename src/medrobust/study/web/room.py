"""What serves all readers of a study, and who is asking."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from medrobust.study.answers import Answers, utc_now
from medrobust.study.events import ADMIN
from medrobust.study.rate_limit import RateLimit
from medrobust.study.sessions import Sessions, form_token, is_form_token
from medrobust.study.tokens import Tokens
from medrobust.study.web.material import Study
from medrobust.study.web.progress import Progress


@dataclass(frozen=True)
class Room:
    """A study that is open.

    Args:
        secure: whether browsers reach it by HTTPS, so that cookies must not travel otherwise.
        now: the clock, in UTC.
        ticks: seconds of a clock that never goes backwards.
    """

    study: Study
    answers: Answers
    tokens: Tokens
    sessions: Sessions
    cookie: str
    """Its name: two studies on one computer differ, since cookies know no ports."""
    secure: bool = False
    now: Callable[[], datetime] = utc_now
    ticks: Callable[[], float] = time.monotonic
    limit: RateLimit = field(default_factory=RateLimit)

    def keep(self, response: Response, name: str, secret: str) -> None:
        """Give the browser a cookie that no script and no other site can use."""
        response.set_cookie(
            name,
            secret,
            max_age=int(self.sessions.lifetime.total),
            httponly=True,
            samesite="strict",
            secure=self.secure,
        )

    def progress(self, reader: str) -> Progress:
        """Where a reader is now."""
        return Progress(self.study, self.answers.latest(reader), self.now())


def room_of(request: Request) -> Room:
    """The study that a request is about."""
    return cast(Room, request.app.state.room)


def session_of(request: Request) -> str:
    """The secret in the cookie; empty if there is none."""
    return request.cookies.get(room_of(request).cookie, "")


def holder_of(request: Request) -> str | None:
    """Who is in: a reader of this study, its admin, or nobody."""
    room, session = room_of(request), session_of(request)
    if not session or len(session) > 128:
        return None
    holder = room.sessions.holder_of(session, room.now().timestamp())
    known = holder == ADMIN or holder in room.study.settings.readers
    return holder if known else None


def reader_of(request: Request) -> str:
    """The reader who asks.

    Raises:
        HTTPException: nobody is in (401), or the admin (403), who has nothing to read.
    """
    holder = holder_of(request)
    if holder is None:
        raise HTTPException(401)
    if holder == ADMIN:
        raise HTTPException(403)
    return holder


def check_form(request: Request, given: str) -> None:
    """Raise `HTTPException` (403) unless a post carries its session's token."""
    if not is_form_token(session_of(request), given):
        raise HTTPException(403)


def form_of(request: Request) -> str:
    """The token that the forms of this session carry."""
    return form_token(session_of(request))
