"""What a reader answered, as columns of numbers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medrobust.errors import MedrobustError
from medrobust.study.boxes import Box
from medrobust.study.questions import Location, Presence, Question, Scale

UNKNOWN = float("nan")
Columns = dict[str, float | str]


def columns(question: Question, cell: str | None, boxes: Sequence[Box]) -> Columns:
    """The columns of one answer, NaN (of texts: empty) where there is none.

    Args:
        question: what was asked.
        cell: the value as in `answers.csv`; None where the question was never answered.
        boxes: where the finding is; none where it is not, or nobody knows.

    A scale has `<id>`, its step. Presence has `<id>` (1 or 0), `<id>.confidence` and `<id>.score`:
    the confidence, negative for absent, or the answer itself where none was asked. A location has
    `<id>.x`, `.y` and so on, `<id>.marked` (0: "nowhere"), `<id>.hit` and, of a box,
    `<id>.overlap`; the last two are known only where there are boxes, and 0 without a mark.

    Raises:
        MedrobustError: the cell is no answer to the question.
    """
    match question:
        case Scale():
            return {question.id: UNKNOWN if not cell else float(_number(question, cell))}
        case Presence():
            return _presence(question, _mapping(question, cell))
        case Location():
            return _location(question, cell, boxes)
    return {question.id: cell or ""}


def _presence(question: Presence, value: Mapping[str, Any]) -> Columns:
    present = float(value["present"]) if value else UNKNOWN
    found: Columns = {question.id: present}
    if not question.confidence:
        return {**found, f"{question.id}.score": present}
    sure = float(value["confidence"]) if value else UNKNOWN
    score = sure if present == 1 else -sure
    return {**found, f"{question.id}.confidence": sure, f"{question.id}.score": score}


def _location(question: Location, cell: str | None, boxes: Sequence[Box]) -> Columns:
    place = _mapping(question, cell)
    names = ("x", "y", "w", "h") if question.shape == "box" else ("x", "y")
    found: Columns = {f"{question.id}.{name}": float(place.get(name, UNKNOWN)) for name in names}
    known = cell is not None
    found[f"{question.id}.marked"] = float(bool(place)) if known else UNKNOWN
    judged = known and bool(boxes)
    found[f"{question.id}.hit"] = float(_hits(place, boxes)) if judged else UNKNOWN
    if question.shape == "box":
        found[f"{question.id}.overlap"] = _overlap(place, boxes) if judged else UNKNOWN
    return found


def _hits(place: Mapping[str, Any], boxes: Sequence[Box]) -> bool:
    """Whether the point, or the middle of the box, lies in a true box."""
    if not place:
        return False
    x, y = place["x"] + place.get("w", 0) / 2, place["y"] + place.get("h", 0) / 2
    return any(
        left <= x <= left + width and top <= y <= top + height for left, top, width, height in boxes
    )


def _overlap(place: Mapping[str, Any], boxes: Sequence[Box]) -> float:
    """The largest intersection over union with a true box."""
    if not place:
        return 0.0
    x, y, w, h = (float(place[name]) for name in ("x", "y", "w", "h"))
    shares = []
    for left, top, width, height in boxes:
        across = max(0.0, min(x + w, left + width) - max(x, left))
        down = max(0.0, min(y + h, top + height) - max(y, top))
        shares.append(across * down / (w * h + width * height - across * down))
    return max(shares)


def _number(question: Scale, cell: str) -> int:
    if not cell.isdecimal() or int(cell) >= len(question.steps):
        raise _other(question)
    return int(cell)


def _mapping(question: Presence | Location, cell: str | None) -> dict[str, Any]:
    """Empty where nothing was answered, or nowhere."""
    if not cell:
        return {}
    needed = {"present"} if isinstance(question, Presence) else {"x", "y"}
    if isinstance(question, Presence) and question.confidence:
        needed |= {"confidence"}
    if isinstance(question, Location) and question.shape == "box":
        needed |= {"w", "h"}
    try:
        value = json.loads(cell)
    except ValueError as error:
        raise _other(question) from error
    if not isinstance(value, dict) or value.keys() != needed:
        raise _other(question)
    return value


def _other(question: Question) -> MedrobustError:
    return MedrobustError(
        f"expected answers to question {question.id} ({question.kind}), found something else: the "
        "server would not have accepted it, see `medrobust study verify`"
    )
