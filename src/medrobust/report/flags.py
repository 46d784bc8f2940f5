"""Which robust numbers are under suspicion, by the checks of the attacks in `trust.csv`."""

from collections.abc import Collection
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


def verdicts(checks: pd.DataFrame) -> dict[tuple[str, str], str]:
    """By branch and norm: `flag` if any check failed, `pass` if any was made at all."""
    groups = checks.groupby(["branch", "norm"])["verdict"]
    return {(str(branch), str(norm)): worst(list(found)) for (branch, norm), found in groups}


def worst(found: Collection[str]) -> str:
    """The worst of several verdicts; what was not checked only if nothing was."""
    return next((v for v in (FLAG, PASS) if v in found), NOT_CHECKED)
