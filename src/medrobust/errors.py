"""The one error that is meant for the person at the keyboard."""

import re
from typing import Any


class MedrobustError(Exception):
    """Something a user can mend: the text says what was expected, what was found, what to do.

    The command line prints the text in one line and ends with exit code 1.
    """


class LaterError(MedrobustError):
    """One that another option can settle without doing the work again: what is done is kept."""


def quoted(cell: Any) -> str:
    """A cell as an error may show it: numbers and short plain words; a longer text could name
    somebody, so that only its length is told.
    """
    text = str(cell)
    if re.fullmatch(r"[-+]?[\d.,]{1,8}[A-Za-z]?|[a-z]{1,8}|[A-Z]{1,2}", text):
        return repr(text)
    return f"a text of {len(text)} characters"
