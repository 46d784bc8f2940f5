"""Every number of `metrics.csv`, computed again from the predictions."""

import math
from collections.abc import Iterator
from functools import partial

import pandas as pd

from medrobust.findings import Finding, UncheckedError, attempted, judged
from medrobust.metrics import COLUMNS, COUNTS, NUMBERS, read_metrics
from medrobust.scoring import (
    RECORD,
    THRESHOLDS,
    Chosen,
    Record,
    choose,
    origins,
    read_record,
    score,
)
from medrobust.sweeping import Track
from medrobust.verify.evidence import Evidence

PRECISION = 1e-12
"""Absolute and relative: the order in which numbers are added may differ between machines."""
KEY = ("group", "finding", "metric", "interval")
"""What tells the rows of one file of predictions apart."""

Key = tuple[str, str, str, str, int]
"""Their values, and 0 for the first of equal rows."""


def check_numbers(evidence: Evidence, track: Track) -> list[Finding]:
    """Every origin of rows that there is or should be."""
    metrics = evidence.run.metrics
    if not metrics.is_file():
        return [
            Finding("metrics", stem, "wrong", "it has no rows, since there is no metrics.csv")
            for stem in evidence.predictions
        ]
    rows, unread = attempted("metrics", metrics.name, lambda: read_metrics(metrics))
    record, unknown = attempted("metrics", RECORD, lambda: read_record(evidence.run))
    if rows is None or record is None:
        return [*unread, *unknown]
    return _all(evidence, rows, record, track)


def _all(evidence: Evidence, rows: pd.DataFrame, record: Record, track: Track) -> list[Finding]:
    there = {str(origin): part for origin, part in rows.groupby(origins(rows), sort=True)}
    wanted = [*(stem + THRESHOLDS for stem in record.thresholds), *record.scores]
    again = Again(evidence, record)
    findings, tell = [], track(len(wanted), f"{evidence.run.path}: computing metrics.csv again")
    for origin in wanted:
        part = there.pop(origin, rows.iloc[:0])
        findings += judged("metrics", origin, partial(_differences, again, origin, part))
        tell(1)
    findings += [
        Finding("metrics", origin, "wrong", f"{len(part)} rows that {RECORD} does not know of")
        for origin, part in there.items()
    ]
    return findings + _unscored(evidence, wanted)


class Again:
    """The rows as they should be."""

    def __init__(self, evidence: Evidence, record: Record) -> None:
        self.evidence, self._record = evidence, record
        self._chosen: dict[str, Chosen] = {}

    def rows(self, origin: str) -> pd.DataFrame:
        """Those of one origin; UncheckedError where what they come from is not at hand."""
        if origin.endswith(THRESHOLDS):
            return self._choice(origin.removesuffix(THRESHOLDS)).rows
        how, seen = self._record.scores[origin], self.evidence.seen(origin)
        path = self.evidence.run.predictions / f"{origin}.csv"
        chosen = self._choice(how.thresholds)
        return score(path, seen.store.table, seen.missing, chosen, how).rows

    def _choice(self, stem: str) -> Chosen:
        if stem not in self._chosen:
            path = self.evidence.run.predictions / f"{stem}.csv"
            self._chosen[stem] = choose(path, self.evidence.seen(stem).store.table)
        return self._chosen[stem]


def _differences(again: Again, origin: str, found: pd.DataFrame) -> Iterator[str]:
    stem = origin.removesuffix(THRESHOLDS)
    if stem not in again.evidence.predictions:
        yield f"{len(found)} rows whose predictions/{stem}.csv is missing or can't be read"
        return
    there, wanted = _by_key(found), _by_key(again.rows(origin))
    for key in sorted(wanted.keys() - there.keys()):
        yield f"the row of {_named(key)} is missing"
    for key in sorted(there.keys() - wanted.keys()):
        yield f"a row of {_named(key)} that the predictions do not give"
    for key in sorted(wanted.keys() & there.keys()):
        have, want = there[key], wanted[key]
        off = [column for column in COLUMNS if not _same(column, have[column], want[column])]
        if off:
            told = f"is {have[off[0]]}, the predictions give {want[off[0]]}"
            yield f"{' and '.join(off)} of {_named(key)} {told}"


def _by_key(rows: pd.DataFrame) -> dict[Key, dict[str, object]]:
    """The rows; of those that are there several times each has a number of its own."""
    copies = rows.groupby(list(KEY)).cumcount()
    keys = zip(*(rows[name].astype(str) for name in KEY), copies.astype(int), strict=True)
    records = rows.to_dict("records")
    return {
        key: {str(name): value for name, value in record.items()}
        for key, record in zip(keys, records, strict=True)
    }


def _same(column: str, found: object, expected: object) -> bool:
    if column in (*NUMBERS, *COUNTS):
        have, want = float(str(found)), float(str(expected))
        if math.isnan(want):
            return math.isnan(have)
        return math.isclose(have, want, rel_tol=PRECISION, abs_tol=PRECISION)
    return found == expected


def _named(key: Key) -> str:
    group, finding, metric, interval, copy = key
    within = f"group {group}" if group != "all" else ""
    details = ", ".join(filter(None, [within, interval, f"copy {copy}" if copy else ""]))
    return f"{metric} of {finding}" + (f" ({details})" if details else "")


def _unscored(evidence: Evidence, wanted: list[str]) -> list[Finding]:
    """Predictions that no row is of."""
    known = {origin.removesuffix(THRESHOLDS) for origin in wanted}
    findings = []
    for stem in sorted(evidence.predictions.keys() - known):
        findings += judged("metrics", stem, partial(_no_rows, evidence, stem))
    return findings


def _no_rows(evidence: Evidence, stem: str) -> Iterator[str]:
    sidecar = evidence.told(stem).sidecar
    if evidence.weights(sidecar["checkpoint"]) != sidecar.get("weights"):
        raise UncheckedError("it has no rows: other weights made it")
    yield "it has no rows in metrics.csv; run `evaluate` again"
