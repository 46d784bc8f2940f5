"""What was checked, and how it turned out."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, TypeVar

from medrobust.errors import MedrobustError

T = TypeVar("T")
Verdict = Literal["ok", "wrong", "not checked"]


class Finding(NamedTuple):
    """One thing that was checked."""

    check: str
    """The kind of check."""
    what: str
    """A file, or the predictions' stem."""
    verdict: Verdict
    note: str = ""
    """What is wrong, or why it was not checked, in a sentence."""


class UncheckedError(Exception):
    """What a check needs is not at hand; the text says what."""


def judged(check: str, what: str, test: Callable[[], Iterable[str]]) -> list[Finding]:
    """Run a test, which yields what is wrong, and find it ok if it yields nothing."""
    problems: list[Finding] = []

    def listen() -> bool:
        for problem in test():
            problems.append(Finding(check, what, "wrong", problem))  # kept if the test then fails
        return True

    _, trouble = attempted(check, what, listen)
    return [*problems, *trouble] or [Finding(check, what, "ok")]


def attempted(check: str, what: str, read: Callable[[], T]) -> tuple[T | None, list[Finding]]:
    """What `read` returns; None, and why, if it can't be had."""
    try:
        return read(), []
    except UncheckedError as reason:
        return None, [Finding(check, what, "not checked", str(reason))]
    except MedrobustError as error:
        return None, [Finding(check, what, "wrong", str(error))]
    except Exception as error:  # whatever a file that was changed brings its reader to raise
        name = type(error).__name__
        return None, [Finding(check, what, "wrong", f"it can't be made sense of ({name}: {error})")]
