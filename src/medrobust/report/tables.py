"""Tables as values; the template draws them all alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from medrobust.report import text
from medrobust.report.figures import Style
from medrobust.report.numbers import Estimate


@dataclass(frozen=True)
class Cell:
    """A figure or word, with a second line in small type."""

    main: str
    note: str = ""


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
    return Cell(text.number(found.value, digits), text.interval(found.low, found.high, digits))
