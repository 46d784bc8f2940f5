"""Pages out of templates: one self-contained file each."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from medrobust.errors import MedrobustError
from medrobust.files import write_atomically
from medrobust.report.text import unbroken

TEMPLATES = Path(__file__).parent / "templates"


def expect_folder(out: Path) -> None:
    """Raise `MedrobustError` if the folder of `out` does not exist."""
    if not out.parent.is_dir():
        raise MedrobustError(
            f"expected an existing folder for the report, found no {out.parent}; make it first"
        )


def write_page(template: str, context: Mapping[str, Any], out: Path) -> None:
    """Fill a template and write it to `out`."""
    page = _environment().get_template(template).render(context)
    with write_atomically(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _code(sentence: str) -> Markup:
    """Backticks as `<code>`, everything else escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))  # noqa: S704


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    environment.filters["code"] = _code
    return environment
