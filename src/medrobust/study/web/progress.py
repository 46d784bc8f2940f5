"""Where a reader stands, and which items may be on the screen now."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from medrobust.study.resume import State
from medrobust.study.web.material import Stretch, Study

Place = Literal["closed", "finished", "read", "locked", "begin", "reading"]
"""`read`: all items, but the reader hasn't said so yet; `locked`: until a washout is over;
`begin`: a stretch lies ahead; `reading`: within one."""


@dataclass(frozen=True)
class Progress:
    """A reader's way through the study at a moment.

    Args:
        study: what is served.
        state: what the reader did.
        now: the server's clock in UTC.
    """

    study: Study
    state: State
    now: datetime

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """All of the reader's."""
        return self.study.stretches(self.state.reader)

    @cached_property
    def stretch(self) -> Stretch | None:
        """The first that isn't over; a stretch is over when the reader went on from all of it."""
        return next((one for one in self.stretches if self.done_of(one) < len(one.items)), None)

    @property
    def place(self) -> Place:
        """What the reader should see."""
        if self.state.closed:
            return "closed"
        if self.state.finished:
            return "finished"
        if self.stretch is None:
            return "read"
        if self._has_begun(self.stretch):
            return "reading"
        return "begin" if self.opens is None else "locked"

    @cached_property
    def opens(self) -> datetime | None:
        """When the next stretch may begin, if not yet.

        A block that has begun stays open, whatever the clock says later.
        """
        if self.stretch is None or self._has_begun(self.stretch) or not self._before:
            return None
        done = [datetime.fromisoformat(self.state.done[item]) for item in self._before.items]
        end = max(done) + timedelta(days=self.study.settings.washout_days)
        return end if self.now < end else None

    @property
    def current(self) -> str | None:
        """The first item that the reader hasn't gone on from; None when all are read."""
        if self.stretch is None:
            return None
        return next(item for item in self.stretch.items if item not in self.state.done)

    @property
    def resumed(self) -> str | None:
        """The item that was on the screen, if it may be there again; else the current one."""
        return self.state.item if self.may_visit(self.state.item) else self.current

    def may_visit(self, item: str) -> bool:
        """Whether an item may be shown and answered now."""
        if self.opens or self.current is None:
            return False
        return item == self.current or (self.study.settings.back and item in self._earlier())

    def may_fetch(self, item: str) -> bool:
        """Whether its page and pictures are served: of the one after, to be ready for it."""
        return self.may_visit(item) or (not self.opens and item == self._upcoming())

    def after(self, item: str) -> str | None:
        """The next item of the stretch."""
        return self._neighbour(item, 1)

    def before(self, item: str) -> str | None:
        """The item of the stretch to which a reader may go back."""
        return self._neighbour(item, -1) if self.study.settings.back else None

    def done_of(self, stretch: Stretch) -> int:
        """How many of its items are read."""
        return sum(item in self.state.done for item in stretch.items)

    def stretch_of(self, item: str) -> Stretch | None:
        """Where an item belongs; None if it is not this reader's."""
        return next((one for one in self.stretches if item in one.items), None)

    @property
    def _before(self) -> Stretch | None:
        """The block before the current one, which it has to wait for."""
        blocks = [one for one in self.stretches if not one.is_practice]
        place = blocks.index(self.stretch) if self.stretch in blocks else 0
        return blocks[place - 1] if place else None

    def _has_begun(self, stretch: Stretch) -> bool:
        return any(item in self.state.shown for item in stretch.items)

    def _earlier(self) -> tuple[str, ...]:
        """Items of the stretch before the current one."""
        if self.stretch is None or self.current is None:
            return ()
        return self.stretch.items[: self.stretch.items.index(self.current)]

    def _upcoming(self) -> str | None:
        return None if self.current is None else self._neighbour(self.current, 1)

    def _neighbour(self, item: str, step: int) -> str | None:
        stretch = self.stretch_of(item)
        place = stretch.items.index(item) + step if stretch else -1
        return stretch.items[place] if stretch and 0 <= place < len(stretch.items) else None
