"""Pages out of templates."""

from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from medrobust.study.web.room import form_of, room_of

HERE = Path(__file__).parent

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A filled template; all know the study's settings and the session's form token."""
    known = {"study": room_of(request).study.settings, "form": form_of(request)}
    text = _ENVIRONMENT.get_template(template).render(known | context)
    return HTMLResponse(text, status)
