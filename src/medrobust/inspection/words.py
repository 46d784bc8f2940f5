"""What the page and the terminal say in the same words."""

import json

from medrobust.data.store import StoreInfo
from medrobust.inspection.inspection import Inspection
from medrobust.report import text
from medrobust.report.trust import Trust

SPLIT_NAMES = {"train": "Training", "val": "Validation", "test": "Test"}


def facts(info: StoreInfo) -> list[tuple[str, str]]:
    """What the data are, name by name; what is not known is left out."""
    found = [
        ("Source", info.source),
        ("Licence", info.licence),
        ("Citation", info.citation),
        ("Caveats", info.caveats),
        ("Task", _task(info)),
        ("Pixels", pixels(info)),
        ("Window", _window(info)),
        ("Patients", "known" if info.patients == "known" else "unknown"),
        ("Checksum", info.checksum[:16]),
    ]
    return [(name, value) for name, value in found if value]


def pixels(info: StoreInfo) -> str:
    """`256 × 256, grey, 8 bits`."""
    size = " × ".join(str(side) for side in info.size)
    colour = "grey" if info.channels == 1 else f"{info.channels} channels"
    return f"{size}, {colour}, {info.bits} bits"


def settings(info: StoreInfo) -> list[tuple[str, str]]:
    """The options `prepare` ran with."""
    return [
        (name.replace("_", " "), value if isinstance(value, str) else json.dumps(value))
        for name, value in info.settings.items()
    ]


def copies(found: Trust) -> list[tuple[int, str]]:
    """What is to be said of groups of identical images, with counts."""
    return [
        (found.crossing, "in several splits"),
        (found.differing, "with differing labels"),
        (found.dropped, "images dropped"),
    ]


def share(value: float, digits: int = 1) -> str:
    """`35.2 %`, with a space that does not break; an en dash where nothing is known."""
    if value != value:
        return text.DASH
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def quantity(middle: float, low: float, high: float) -> str:
    """`58 (48–68)`: a median and quartiles."""
    if middle != middle:
        return text.DASH
    return f"{_short(middle)} ({_short(low)}{text.DASH}{_short(high)})"


def notable(inspection: Inspection) -> list[str]:
    """The differences between splits that are called one, the largest first."""
    table = inspection.differences
    table = table[table["notable"]].sort_values("difference", key=abs, ascending=False)
    return [
        f"{what}: {SPLIT_NAMES[one].lower()} against {SPLIT_NAMES[other].lower()} "
        f"{standardised(difference)}"
        for what, one, other, difference, _ in table.itertuples(index=False, name=None)
    ]


def standardised(difference: float) -> str:
    """`+0.31`; `+∞` where a value is all of one split and none of the other."""
    if abs(difference) == float("inf"):
        return "+∞" if difference > 0 else f"{text.MINUS}∞"
    return text.signed(difference, 2)


def _short(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _task(info: StoreInfo) -> str:
    return "one class per image" if info.task == "exclusive" else "findings, any number per image"


def _window(info: StoreInfo) -> str:
    if info.window is None:
        return "differs between images"
    return f"{info.window[0]:g} to {info.window[1]:g} (native values of x = 0 and 1)"
