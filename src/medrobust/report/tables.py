"""Tables as values; the template draws them all alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from medrobust.report import flags, text
from medrobust.report.figures import Style
from medrobust.report.terms import Estimate


@dataclass(frozen=True)
class Cell:
    """A figure or word, with a second line in small type."""

    main: str
    note: str = ""
    mark: str = ""
    """A reason not to take the figure at its word."""
    strong: bool = False
    """Whether it is the one to look at."""


@dataclass(frozen=True)
class Row:
    """A row with its heading; `style` adds the model's line sample."""

    head: str
    cells: Sequence[Cell]
    note: str = ""
    style: Style | None = None


@dataclass(frozen=True)
class Group:
    """Rows below a common heading (empty: none)."""

    head: str
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Columns are right-aligned numbers unless they stand in `words`."""

    caption: str
    columns: Sequence[str]
    """Headings, that of the row headings first."""
    groups: Sequence[Group]
    words: Sequence[int] = field(default=())
    """Positions of the left-aligned columns, counted without the row headings."""


def estimate(found: Estimate | None, digits: int = 3) -> Cell:
    """A value above its interval; an en dash where it was not computed or cannot be scored."""
    if found is None:
        return Cell(text.DASH)
    if not found.scorable:
        return Cell("not scorable")
    limits = text.interval(found.low, found.high, digits)
    return Cell(text.number(found.value, digits), limits, mark_of(found))


def signed_estimate(found: Estimate | None, digits: int = 3) -> Cell:
    """The same of a difference."""
    if found is None or not found.scorable:
        return Cell(text.DASH)
    limits = text.signed_interval(found.low, found.high, digits)
    return Cell(text.signed(found.value, digits), limits, mark_of(found))


def mark_of(found: Estimate) -> str:
    """What stands beside a number that a check of the attack speaks against."""
    return flags.MARK if found.flagged else ""
