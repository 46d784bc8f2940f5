"""Whether what a browser sends answers the question."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medrobust.study.events import EventError
from medrobust.study.questions import Location, Presence, Question, Scale, Words
from medrobust.study.web.material import Canvas

_Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e7, le=1e7)]


class View(BaseModel):
    """How the viewer was set: what a `viewed` event may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    window: tuple[_Finite, _Finite] | None = None
    """Centre and width, in stored values."""
    zoom: Annotated[_Finite, Field(gt=0)] | None = None
    pan: tuple[_Finite, _Finite] | None = None
    """Of the middle of the picture, in its pixels."""
    opacity: Annotated[_Finite, Field(ge=0, le=100)] | None = None
    """Of the map, in percent."""
    layout: Literal["side", "over"] | None = None
    hidden: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """How often the map was hidden since the item was shown."""


def check_view(view: Mapping[str, Any]) -> None:
    """Raise `EventError` unless this is a `View`."""
    try:
        View.model_validate(_listed(view))
    except ValidationError as error:
        raise EventError("viewed: expected settings of the viewer, found something else") from error


def check_values(values: Mapping[str, Any], questions: Sequence[Question], picture: Canvas) -> None:
    """Raise `EventError` unless every value answers its question; null withdraws an answer."""
    asked = {question.id: question for question in questions}
    for name, value in values.items():
        if name not in asked:
            raise EventError("values: expected answers to this study's questions, found others")
        question = asked[name]
        if value is not None and not _fits(question, value, picture):
            raise EventError(f"{name}: expected {_expected(question, picture)}, found another")


def unanswered(answers: Mapping[str, Any], questions: Sequence[Question]) -> list[str]:
    """The questions that must be answered before a reader can go on."""
    return [
        question.id
        for question in questions
        if question.required and not _is_answered(question, answers)
    ]


def _is_answered(question: Question, answers: Mapping[str, Any]) -> bool:
    if isinstance(question, Location):  # null says: nowhere
        return question.id in answers
    return answers.get(question.id) not in (None, "")


def _fits(question: Question, value: Any, picture: Canvas) -> bool:
    match question:
        case Scale():
            return type(value) is int and 0 <= value < len(question.steps)
        case Presence():
            return _is_presence(value, question.confidence)
        case Location():
            return _is_place(value, question.shape == "box", picture)
        case Words():
            return isinstance(value, str) and len(value) <= question.longest


def _is_presence(value: Any, confidence: bool) -> bool:
    names = {"present", "confidence"} if confidence else {"present"}
    if not isinstance(value, dict) or value.keys() != names or type(value["present"]) is not bool:
        return False
    sure = value.get("confidence", 0)
    return type(sure) is int and 0 <= sure <= 100


def _is_place(value: Any, is_box: bool, picture: Canvas) -> bool:
    names = ("x", "y", "w", "h") if is_box else ("x", "y")
    if not isinstance(value, dict) or value.keys() != set(names):
        return False
    longest = max(picture.width, picture.height)  # first, for integers too long to be added
    if not all(type(n) in (int, float) and 0 <= n <= longest for n in value.values()):
        return False
    x, y = value["x"], value["y"]
    w, h = value.get("w", 0), value.get("h", 0)
    has_area = w > 0 and h > 0
    return x + w <= picture.width and y + h <= picture.height and (has_area or not is_box)


def _expected(question: Question, picture: Canvas) -> str:
    match question:
        case Scale():
            return f"a step from 0 to {len(question.steps) - 1}"
        case Presence(confidence=True):
            return "present or absent with a confidence from 0 to 100"
        case Presence():
            return "present or absent"
        case Location():
            return f"a {question.shape} within {picture.width} x {picture.height} pixels"
        case Words():
            return f"a text of at most {question.longest} characters"


def _listed(view: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as tuples, which JSON doesn't have."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in view.items()
    }
