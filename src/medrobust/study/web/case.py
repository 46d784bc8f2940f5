"""The page of a case: image, map and questions."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from medrobust.study.web.material import titled
from medrobust.study.web.render import page
from medrobust.study.web.room import reader_of, room_of


def case(request: Request) -> Response:
    """`GET /item/…`: also of the next one, so that it is there when it is wanted."""
    room, reader = room_of(request), reader_of(request)
    name, progress = request.path_params["item"], room.progress(reader)
    stretch = progress.stretch_of(name)
    if stretch is None:
        raise HTTPException(404)
    if progress.place not in ("begin", "reading") or not progress.may_fetch(name):
        return RedirectResponse("/read", 303)
    finding = room.study.items[name].finding
    asked = room.study.settings.questions
    return page(
        request,
        "case.html.j2",
        name=name,
        stretch=stretch,
        number=stretch.items.index(name) + 1,
        blocks=sum(not one.is_practice for one in progress.stretches),
        finding=finding,
        questions=[(q, titled(q.text, finding), titled(q.hint, finding)) for q in asked],
        answers=progress.state.answers.get(name, {}),
        view=progress.state.views.get(name, {}),
        before=progress.before(name),
        after=progress.after(name),
    )
