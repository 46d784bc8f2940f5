"""Who sees which map when: conditions by Latin square, a random order, hidden repeats.

Cases are dealt into as many groups as there are conditions, evenly within each stratum. In every
block a reader sees every case once, the groups under different conditions; which, says a row of a
Williams square. Rows move on by one from reader to reader, so that over as many readers as there
are conditions every case meets every condition in every block once.

The only image that a reader meets twice in a block is that of a hidden repeat. Any two showings of
an image to a reader, also in neighbouring blocks, are at least `gap` maps apart.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from medrobust.study.cases import Case
from medrobust.study.chance import below, rank
from medrobust.study.squares import williams


@dataclass(frozen=True)
class Showing:
    """One map as one reader sees it."""

    case: Case
    condition: int
    """Its number in the settings, from 0."""
    is_repeat: bool = False
    """Whether the reader has seen the same map earlier in the block."""


@dataclass(frozen=True)
class Reading:
    """All that one reader sees, in order."""

    practice: tuple[Showing, ...]
    blocks: tuple[tuple[Showing, ...], ...]


@dataclass(frozen=True)
class Plan:
    """What decides every reader's reading."""

    cases: Sequence[Case]
    practice: Sequence[Case]
    conditions: int
    blocks: int
    """As many as conditions (crossed), or one (every case once)."""
    repeated: int
    """Maps that each reader sees twice."""
    gap: int
    """At most half of the cases that are not repeated in a block."""
    seed: int

    def reading(self, reader: int) -> Reading:
        """The reader's, by number from 0; it does not depend on how many there are."""
        given = [self.allotted(reader, block) for block in range(self.blocks)]
        repeated = self._repeated(reader, given)
        blocks: list[tuple[Showing, ...]] = []
        recent: set[str] = set()
        for block, showings in enumerate(given):
            arranged = self._arranged((reader, block), showings, repeated[block], recent)
            blocks.append(tuple(arranged))
            recent = {showing.case.image_id for showing in arranged[-self.gap :]}
        return Reading(tuple(self._practised(reader)), tuple(blocks))

    def allotted(self, reader: int, block: int) -> list[Showing]:
        """Every case under its condition of this block, not in order yet."""
        squares = williams(self.conditions)
        square = squares[reader // self.conditions % len(squares)]
        return [
            Showing(case, square[(reader + group) % self.conditions][block])
            for case, group in zip(self._dealt(), self._groups(), strict=True)
        ]

    def _dealt(self) -> list[Case]:
        """The cases by stratum, within one by a hash that says nothing of them."""
        return sorted(
            self.cases, key=lambda case: (case.stratum, rank(self.seed, "deal", case.image_id))
        )

    def _groups(self) -> list[int]:
        return [place % self.conditions for place in range(len(self.cases))]

    def _practised(self, reader: int) -> list[Showing]:
        return [
            Showing(case, (reader + place) % self.conditions)
            for place, case in enumerate(self.practice)
        ]

    def _repeated(self, reader: int, given: Sequence[Sequence[Showing]]) -> list[set[Showing]]:
        """What is shown twice in each block: equally many per block and per condition."""
        cells: dict[tuple[int, int], list[Showing]] = {}
        for block, showings in enumerate(given):
            for showing in sorted(showings, key=lambda s: self._chance("repeat", reader, block, s)):
                cells.setdefault((block, showing.condition), []).append(showing)
        chosen: list[set[Showing]] = [set() for _ in given]
        for turn in range(self.repeated):
            block, condition = self._cell(reader, turn)
            chosen[block].add(cells[block, condition].pop())
        return chosen

    def _cell(self, reader: int, turn: int) -> tuple[int, int]:
        """Block and condition of the repeats in turn: all cells along their diagonals."""
        diagonal = turn // math.lcm(self.blocks, self.conditions)
        return (turn + reader) % self.blocks, (turn + diagonal) % self.conditions

    def _arranged(
        self,
        where: tuple[int, int],
        showings: Sequence[Showing],
        repeated: Collection[Showing],
        recent: Collection[str],
    ) -> list[Showing]:
        """A random order with the repeats in it, far from recent showings of the same images."""
        order = sorted(showings, key=lambda showing: self._chance("order", *where, showing))
        early = [showing for showing in order if showing.case.image_id not in recent]
        head = early[: self.gap]
        rest = [showing for showing in order if showing not in head]
        late = [showing for showing in rest if showing not in repeated]
        tail = late[len(late) - self.gap :] if repeated else []
        order = head + [showing for showing in rest if showing not in tail] + tail
        for showing in sorted(repeated, key=lambda one: self._chance("insert", *where, one)):
            soonest = order.index(showing) + self.gap
            step = below(len(order) + 1 - soonest, self.seed, *where, showing.case.image_id)
            order.insert(soonest + step, Showing(showing.case, showing.condition, is_repeat=True))
        return order

    def _chance(self, purpose: str, reader: int, block: int, showing: Showing) -> int:
        return rank(self.seed, purpose, reader, block, showing.case.image_id)
