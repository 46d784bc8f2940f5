"""How long a reader took for an item, from when it was shown and answered, without idle time."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from medrobust.study.chain import Link

Trouble = Literal["", "clock set back", "not on screen", "more idle than time"]
Key = tuple[str, str]
"""Reader, item."""


class ReadingTime(NamedTuple):
    """Of one reader and item."""

    seconds: float | None
    """From showing the item to its last answer, summed over all times it was on the screen; None
    if it was never answered or if there was trouble."""
    trouble: Trouble
    """Why the time can't be known: the server's clock was set back meanwhile; an answer came when
    another item was on the screen; or the browser told of more idle time than there was."""


class _Moment(NamedTuple):
    link: Link
    at: datetime
    setbacks: int
    """How often the clock was set back so far."""


@dataclass
class _Visit:
    """An item on a reader's screen, until another."""

    began: _Moment
    idle: float = 0.0
    seconds: float | None = None
    trouble: Trouble = ""

    def answer(self, moment: _Moment) -> None:
        """Count the time up to here."""
        self.seconds = (moment.at - self.began.at).total_seconds() - self.idle
        if moment.link.item != self.began.link.item:
            self.trouble = "not on screen"
        elif moment.setbacks != self.began.setbacks:
            self.trouble = "clock set back"
        elif self.seconds < 0:
            self.trouble = "more idle than time"


def reading_times(links: Iterable[Link]) -> dict[Key, ReadingTime]:
    """The time of every item that was shown, from all events of a study in order."""
    visits: dict[Key, list[_Visit]] = {}
    screens: dict[str, _Visit] = {}
    for moment in _moments(links):
        link = moment.link
        if link.kind == "shown":
            screens[link.reader] = _Visit(moment)
            visits.setdefault((link.reader, link.item), []).append(screens[link.reader])
        elif link.kind in ("answered", "edited"):
            visit = screens[link.reader]
            visit.answer(moment)
            if visit.trouble == "not on screen":
                visits[link.reader, link.item].append(visit)
        elif link.kind == "idle" and link.item == screens[link.reader].began.link.item:
            screens[link.reader].idle += json.loads(link.body)["seconds"]
    return {key: _total(of_item) for key, of_item in visits.items()}


def _moments(links: Iterable[Link]) -> Iterator[_Moment]:
    before, setbacks = None, 0
    for link in links:
        at = datetime.fromisoformat(link.at)
        setbacks += before is not None and at < before
        before = at
        yield _Moment(link, at, setbacks)


def _total(visits: Sequence[_Visit]) -> ReadingTime:
    trouble: Trouble = next((visit.trouble for visit in visits if visit.trouble), "")
    seconds = [visit.seconds for visit in visits if visit.seconds is not None]
    return ReadingTime(None if trouble or not seconds else sum(seconds), trouble)
