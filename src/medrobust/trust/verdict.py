"""A check with its verdict and its note."""

from medrobust.trust_table import Check


def judged(
    name: str, value: float, reference: float, flagged: bool, measured: str, *, fine: str, bad: str
) -> Check:
    """A check that was made; the note tells what was measured and what it means."""
    meaning = bad if flagged else fine
    return Check(name, value, reference, "flag" if flagged else "pass", f"{measured}: {meaning}.")


def unchecked(name: str, why: str) -> Check:
    """A check that was not made."""
    return Check(name, float("nan"), float("nan"), "not checked", f"Not checked: {why}.")
