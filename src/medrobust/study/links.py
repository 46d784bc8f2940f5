"""Personal links, as they are sent to readers."""

from pathlib import Path

from medrobust.errors import MedrobustError
from medrobust.study.events import ADMIN
from medrobust.study.tokens import Tokens
from medrobust.study.web.material import Study

URL = "http://127.0.0.1:8765"
"""Where a study is served if nothing else is said."""


def make_links(folder: Path, url: str = URL, reader: str | None = None) -> dict[str, str]:
    """New links by holder, told once: everybody's, or one that replaces a reader's older one.

    The secret stands after the `#`, which browsers keep to themselves.

    Raises:
        MedrobustError: there is no study; there is no such reader; or everybody's were made
            already, so that this would end the links that were sent.
    """
    names = (*Study.open(folder).settings.readers, ADMIN)
    if reader is not None and reader not in names:
        raise MedrobustError(f"--reader: expected one of {', '.join(names)}, found another")
    with Tokens(folder) as tokens:
        if reader is None and tokens.holders():
            raise MedrobustError(
                "links: they were made already, and are kept nowhere; make a new one of one "
                "reader with --reader NAME, which ends the old one"
            )
        wanted = names if reader is None else (reader,)
        return {name: f"{url.rstrip('/')}/#{tokens.issue(name)}" for name in wanted}


def has_links(folder: Path) -> bool:
    """Whether any link works."""
    with Tokens(folder) as tokens:
        return bool(tokens.holders())
