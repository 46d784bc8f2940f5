"""Readers who do not exist: they answer a study with biases that are known beforehand.

A step of a scale is the middle of the scale + condition + reader + case + map (case and
condition) + reader and condition + reading, normal but for the condition, rounded and clipped.
Every number is a function of the seed, of names and of places in the sequence, so that an answer
does not depend on when, or by which way, it is given. To know what they look at they open the
sealed key.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml
from scipy.special import ndtr, ndtri

from medrobust.errors import MedrobustError
from medrobust.study.answers import Answers
from medrobust.study.chance import rank
from medrobust.study.events import Event
from medrobust.study.integrity import KEY
from medrobust.study.questions import Asked, Location, Presence, Question, Scale

Effects = Mapping[str, float]
"""By condition; 0 where there is none."""
START = datetime(2026, 1, 1, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Biases:
    """What simulated readers are like; standard deviations are in steps of a scale."""

    scale: Effects = field(default_factory=dict)
    """What a condition adds to a rating."""
    sight: Effects = field(default_factory=dict)
    """What a condition adds to `separation`."""
    pace: Effects = field(default_factory=dict)
    """By what a condition multiplies the time; 1 where there is none."""
    readers: float = 0.5
    cases: float = 0.6
    maps: float = 0.3
    """Shared by all who see the same map."""
    preferences: float = 0.15
    """Of readers for conditions."""
    noise: float = 0.6
    """Of each reading, so that a repeat is not judged alike."""
    separation: float = 1.5
    """How far apart images with and without the finding look, in SD of what readers see."""
    aim: float = 0.7
    """Chance that a place is marked where the finding is."""
    seconds: float = 12.0
    """Median time for a map."""
    edits: float = 0.05
    """Share of answers that are changed once."""
    stops: Effects = field(default_factory=dict)
    """By reader, the share of the maps after which one gives up."""


@dataclass(frozen=True)
class SimulatedReaders:
    """The readers of one study."""

    key: Mapping[str, Any]
    """Of the sealed key: items and what they are."""
    questions: tuple[Question, ...]
    picture: tuple[float, float]
    """Width and height."""
    biases: Biases = Biases()
    seed: int = 0

    @classmethod
    def of(cls, folder: Path, biases: Biases | None = None, seed: int = 0) -> Self:
        """Those of the study in a folder, whose key they open."""
        told = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
        key = json.loads((folder / KEY).read_bytes())["items"]
        questions = Asked.model_validate({"questions": told["questions"]}).questions
        picture = (float(told["picture"]["width"]), float(told["picture"]["height"]))
        return cls(key, questions, picture, biases or Biases(), seed)

    def values(self, item: str) -> dict[str, Any]:
        """What the item's reader answers: the values of an `answered` event."""
        return {question.id: self._value(item, question) for question in self.questions}

    def seconds(self, item: str) -> float:
        """How long the item's reader takes."""
        pace = self.biases.pace.get(self.key[item]["condition"], 1.0)
        return float(
            self.biases.seconds * pace * np.exp(0.35 * self._normal("time", *self._reading(item)))
        )

    def hesitates(self, item: str) -> bool:
        """Whether the answer is changed once."""
        return self._uniform("edit", *self._reading(item)) < self.biases.edits

    def _value(self, item: str, question: Question) -> Any:
        match question:
            case Scale():
                return self._step(item, question)
            case Presence():
                return self._presence(item, question)
            case Location():
                return self._place(item, question)
        return "Nothing to add." if question.required else ""

    def _step(self, item: str, question: Scale) -> int:
        entry, is_ = self.key[item], self.biases
        reader, case, condition = entry["reader"], entry["case"], entry["condition"]
        highest = len(question.steps) - 1
        value = (
            highest / 2
            + is_.scale.get(condition, 0.0)
            + is_.readers * self._normal(question.id, "reader", reader)
            + is_.cases * self._normal(question.id, "case", case)
            + is_.maps * self._normal(question.id, "map", case, condition)
            + is_.preferences * self._normal(question.id, "preference", reader, condition)
            + is_.noise * self._normal(question.id, "reading", *self._reading(item))
        )
        return int(np.clip(np.rint(value), 0, highest))

    def _presence(self, item: str, question: Presence) -> dict[str, Any]:
        """Sure as far as what is seen lies from the border."""
        entry = self.key[item]
        apart = self.biases.separation + self.biases.sight.get(entry["condition"], 0.0)
        seen = apart * (entry["truth"] - 0.5) + 0.7 * self._normal(
            question.id, "case", entry["case"]
        )
        seen += 0.7 * self._normal(question.id, "reading", *self._reading(item))
        answer: dict[str, Any] = {"present": bool(seen > 0)}
        if question.confidence:
            answer["confidence"] = round(100 * float(2 * ndtr(abs(seen)) - 1))
        return answer

    def _place(self, item: str, question: Location) -> dict[str, float] | None:
        """The middle of a true box, or anywhere; nowhere where nothing is."""
        entry = self.key[item]
        if not entry["truth"]:
            return None
        width, height = self.picture
        w, h = width / 5, height / 5
        reading = (question.id, *self._reading(item))
        x = self._uniform("x", *reading) * (width - w)
        y = self._uniform("y", *reading) * (height - h)
        if entry["boxes"] and self._uniform("aim", *reading) < self.biases.aim:
            x, y, w, h = entry["boxes"][0]
        if question.shape == "box":
            return {"x": x, "y": y, "w": w, "h": h}
        return {"x": x + w / 2, "y": y + h / 2}

    def _reading(self, item: str) -> tuple[str, str]:
        """By reader and position: names of items differ between studies of the same settings."""
        return self.key[item]["reader"], str(self.key[item]["position"])

    def _uniform(self, *parts: str) -> float:
        return (rank(self.seed, "simulated", *parts) + 0.5) / 2.0**64

    def _normal(self, *parts: str) -> float:
        return float(ndtri(self._uniform(*parts)))


def answer_study(folder: Path, readers: SimulatedReaders) -> None:
    """Answer a whole study, one reader after the other, by the clock of the simulation.

    Raises:
        MedrobustError: somebody has answered already; what there is stays as it is.
    """
    clock = [START]
    with Answers(folder, lambda: clock[0]) as answers:
        if given := sum(link.kind == "answered" for link in answers.events()):
            raise MedrobustError(
                f"simulated readers: expected a study without answers, found {given} in {folder}: "
                "make another with `medrobust study create`"
            )
        for seconds, event in happenings(folder, readers):
            clock[0] += timedelta(seconds=seconds)
            answers.append(event)


def happenings(folder: Path, readers: SimulatedReaders) -> Iterator[tuple[float, Event]]:
    """All events of a study, with the seconds since the one before."""
    orders = json.loads((folder / "order.json").read_bytes())["readers"]
    for reader, order in orders.items():
        blocks = [(None, order["practice"]), *enumerate(order["blocks"])]
        places = [(block, item) for block, items in blocks for item in items]
        most = round(readers.biases.stops.get(reader, 1.0) * len(places))
        yield 60.0, _event(reader, "opened")
        for position, (block, item) in enumerate(places[:most]):
            body = {"block": block, "position": position, "practice": block is None}
            yield 1.0, _event(reader, "shown", item, body)
            yield from _answers(reader, item, readers)
            yield 0.5, _event(reader, "finished", item)
        if most == len(places):
            yield 5.0, _event(reader, "finished")


def _answers(reader: str, item: str, readers: SimulatedReaders) -> Iterator[tuple[float, Event]]:
    """The answer, where the reader hesitates after another one."""
    values, seconds = readers.values(item), readers.seconds(item)
    if readers.hesitates(item):
        steps = [question for question in readers.questions if isinstance(question, Scale)]
        other = {question.id: max(0, values[question.id] - 1) for question in steps}
        yield seconds / 2, _event(reader, "answered", item, {"values": values | other})
        seconds /= 2
    yield seconds, _event(reader, "answered", item, {"values": values})


def _event(reader: str, kind: Any, item: str = "", body: Mapping[str, Any] | None = None) -> Event:
    return Event(reader, kind, str(uuid.uuid4()), item, body or {})
