"""What can happen in a study, and how much of it: every event is checked before it is saved."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, ValidationError

from medrobust.errors import MedrobustError
from medrobust.study.chain import canonical

Kind = Literal["opened", "shown", "answered", "viewed", "idle", "finished", "closed"]
"""What can be sent. An answer to what had one is stored as `edited`."""

ADMIN = "admin"
"""Who closes the study; no reader has this name."""
MOST_BODY = 65_536
"""Characters of a body's canonical JSON."""
MOST_TEXT = 10_000
"""Characters of each text in it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class EventError(MedrobustError):
    """An event that no state of the study would accept: its form is wrong."""


class RefusedError(MedrobustError):
    """An event whose form is right, and that the study can't accept now."""


@dataclass(frozen=True)
class Event:
    """Something a reader or the server did.

    Args:
        reader: an opaque name, or `ADMIN`.
        kind: `opened` (a session began), `shown` (an item was put on the screen), `answered`,
            `viewed` (window, zoom or overlay was used), `idle` (nothing was done for some time),
            `finished` (with an item: the reader went on from it; without: has finished the study)
            or `closed` (by `ADMIN`: nothing more is accepted).
        id: a UUID in lower case, made by who sends the event: the same one again is no new event.
        item: an opaque name, or nothing.
        body: `shown`: block (from 0, null in practice), position (from 0, practice included) and
            practice; what people read, exports and the key, counts both from 1; `answered`:
            values, by question; `viewed`: what was set to what; `idle`: seconds; the others are
            empty.

    Raises:
        EventError: names, form or size are not as they should be. The text repeats nothing of it.
    """

    reader: str
    kind: Kind
    id: str
    item: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names(self)
        text = self.text
        if len(text) > MOST_BODY:
            raise EventError(
                f"body: expected at most {MOST_BODY} characters of JSON, found {len(text)}"
            )
        _check_form(self)
        _check_texts(self.body)

    @property
    def text(self) -> str:
        """The body as it is stored."""
        try:
            return canonical(self.body)
        except MedrobustError as error:
            raise EventError(f"body: {error}") from error


_Named = Annotated[
    dict[Annotated[str, Field(pattern=rf"^{_NAME.pattern}$")], JsonValue], Field(min_length=1)
]
"""Values of questions or tools."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Empty(_Form):
    pass


class _Shown(_Form):
    block: Annotated[int, Field(ge=0, le=10_000)] | None
    position: Annotated[int, Field(ge=0, le=1_000_000)]
    practice: bool


class _Answered(_Form):
    values: _Named


class _Idle(_Form):
    seconds: Annotated[float, Field(ge=0, le=1e7)]


class _Viewed(RootModel[_Named]):
    model_config = ConfigDict(strict=True)


_FORMS: Mapping[str, type[BaseModel]] = {
    **{"opened": _Empty, "shown": _Shown, "answered": _Answered, "viewed": _Viewed},
    **{"idle": _Idle, "finished": _Empty, "closed": _Empty},
}
_ABOUT_AN_ITEM = ("shown", "answered", "viewed", "idle")


def check_name(name: str, what: str) -> None:
    """Raise `EventError` unless this can name a reader or an item."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise EventError(f"{what}: expected 1 to 64 letters, digits, - or _, found something else")


def _check_names(event: Event) -> None:
    if event.kind not in get_args(Kind):
        raise EventError(f"kind: expected one of {', '.join(get_args(Kind))}, found something else")
    check_name(event.reader, "reader")
    if not isinstance(event.id, str) or not _UUID.fullmatch(event.id):
        raise EventError("id: expected a UUID in lower case, found something else")
    if event.kind in _ABOUT_AN_ITEM or (event.item and event.kind == "finished"):
        check_name(event.item, "item")
    elif event.item:
        raise EventError(f"item: expected none with {event.kind}, found one")
    if (event.reader == ADMIN) != (event.kind == "closed"):
        raise EventError(f"reader: expected {ADMIN} to close, and nothing else")


def _check_form(event: Event) -> None:
    try:
        _FORMS[event.kind].model_validate(event.body)
    except ValidationError as error:
        raise EventError(
            f"body: expected that of {event.kind}, found {error.error_count()} things that differ"
        ) from error


def _check_texts(body: Mapping[str, Any]) -> None:
    for text in _texts(body):
        if len(text) > MOST_TEXT:
            raise EventError(f"text: expected at most {MOST_TEXT} characters, found {len(text)}")
        if _CONTROL.search(text):
            raise EventError("text: expected letters, tabs and ends of lines, found others")


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    """All keys and texts, without recursion."""
    waiting: list[Any] = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
