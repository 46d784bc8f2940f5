"""`trust.csv`: what was checked before a robustness number was believed, a row per check."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from medrobust.errors import MedrobustError, quoted
from medrobust.files import write_csv

Verdict = Literal["pass", "flag", "not checked"]

TRUST_COLUMNS = (
    *("store", "split", "checkpoint", "branch", "norm", "eps", "n"),
    *("check", "value", "reference", "verdict", "note"),
)
IDENTITY = TRUST_COLUMNS[:7]
NUMBERS = ("eps", "value", "reference")


@dataclass(frozen=True)
class Check:
    """One check of an attack on one network at one radius."""

    name: str
    value: float
    """What was measured; NaN if it was not."""
    reference: float
    """What it is held against, in the same unit; NaN if it was not measured."""
    verdict: Verdict
    note: str
    """For a reader: what was measured and what it means."""


def trust_rows(checks: Sequence[Check], identity: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of `trust.csv`, in the order of the checks.

    `identity` says what was checked: store, split, checkpoint, branch, norm, eps (the radius) and
    n (the number of images); anything else in it is left out.
    """
    shared = {name: identity[name] for name in IDENTITY}
    rows = []
    for check in checks:
        measured = asdict(check)
        rows.append(shared | {"check": measured.pop("name")} | measured)
    return pd.DataFrame(rows, columns=list(TRUST_COLUMNS))


def outcomes(rows: pd.DataFrame) -> dict[str, list[str]]:
    """What the rows say, as text that a receipt can hold."""
    names = ("check", "value", "reference", "verdict", "note")
    return {name: [str(value) for value in rows[name].tolist()] for name in names}


def write_trust(path: Path, rows: pd.DataFrame) -> None:
    """Write `trust.csv`, whole or not at all; numbers round-trip."""
    write_csv(path, rows[list(TRUST_COLUMNS)])


def read_trust(path: Path) -> pd.DataFrame:
    """Read `trust.csv`: text as str (empty, not NaN), numbers as float, n as int.

    Raises MedrobustError for what is no such table, or has a verdict that is none.
    """
    kinds: dict[str, Any] = dict.fromkeys(TRUST_COLUMNS, "str") | {"n": "int64"}
    try:
        text = pd.read_csv(path, dtype=kinds, keep_default_na=False)
        numbers = {
            name: [float(x) if x else np.nan for x in text[name]]
            for name in NUMBERS
            if name in text
        }
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MedrobustError(
            f"{path}: expected a table of trust checks, found: {reason}; make the checks again"
        ) from error
    _check(path, text)
    return text.assign(**numbers)


def _check(path: Path, text: pd.DataFrame) -> None:
    if tuple(text.columns) != TRUST_COLUMNS:
        raise MedrobustError(
            f"{path}: expected columns {', '.join(TRUST_COLUMNS)}, found "
            f"{', '.join(text.columns)}; make the checks again"
        )
    unknown = [verdict for verdict in text["verdict"] if verdict not in get_args(Verdict)]
    if unknown:
        raise MedrobustError(
            f"{path}: expected verdicts {', '.join(get_args(Verdict))}, found "
            f"{quoted(unknown[0])}; make the checks again"
        )
