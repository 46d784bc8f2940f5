"""What every command shares: where messages go, and how to read `NAME=VALUE`."""

from collections.abc import Iterable, Sequence

from rich.console import Console

from medrobust.errors import MedrobustError

console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def warn(texts: Iterable[str]) -> None:
    """Print warnings, a line each."""
    for text in texts:
        console.print(f"warning: {text}", style="yellow")


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """`["nodule=Nodule"]` as `{"nodule": "Nodule"}`.

    Raises:
        MedrobustError: no `=`, or a name twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise MedrobustError(f"{option}: expected NAME=COLUMN, found {text!r}")
        if name in found:
            raise MedrobustError(f"{option}: {name} is given twice")
        found[name] = value
    return found


def numbers(text: str, option: str) -> tuple[float, ...]:
    """`"0.005,4/255"` as numbers.

    Raises:
        MedrobustError: something else.
    """
    from fractions import Fraction

    try:
        return tuple(float(Fraction(part.strip())) for part in text.split(","))
    except (ValueError, ZeroDivisionError) as error:
        raise MedrobustError(
            f"{option}: expected numbers such as 0.005,4/255, found {text!r}"
        ) from error
