"""The one error that is meant for the person at the keyboard."""


class MedrobustError(Exception):
    """Something a user can mend: the text says what was expected, what was found, what to do.

    The command line prints the text in one line and ends with exit code 1.
    """
