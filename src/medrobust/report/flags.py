"""Which robust numbers are under suspicion, by the checks of the attacks in `trust.csv`."""

from typing import Any

import pandas as pd

PASS, FLAG, NOT_CHECKED = "pass", "flag", "not checked"
MARK = "\N{BLACK FLAG} flagged"
"""What stands beside a robust number that a check speaks against."""


def rows_of(trust: pd.DataFrame, evaluation: Any) -> pd.DataFrame:
    """The checks of one evaluation (its `store`, `split` and `checkpoint`)."""
    ours = pd.Series(data=True, index=trust.index)
    for name in ("store", "split", "checkpoint"):
        ours &= trust[name] == getattr(evaluation, name)
    return trust[ours]


def verdicts(checks: pd.DataFrame) -> dict[str, str]:
    """The verdict on each branch: `flag` if any check failed, `pass` if any was made at all."""
    return {str(b): worst(found) for b, found in checks.groupby("branch")["verdict"]}


def worst(found: "pd.Series[str]") -> str:
    """The worst of several verdicts; what was not checked only if nothing was."""
    return next((v for v in (FLAG, PASS) if (found == v).any()), NOT_CHECKED)
