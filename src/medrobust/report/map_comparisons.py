"""Does one model's saliency point at the findings better than another's?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from medrobust.explain.summary import ALPHA, between_models
from medrobust.report import text
from medrobust.report.comparisons import ORDER, same_seed
from medrobust.report.read import Run
from medrobust.report.score_names import ScoreName
from medrobust.report.scored import ALL, SPOKEN, Scored, is_baseline
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import Arm, records


@dataclass(frozen=True)
class MapComparison:
    """Scores of `first` minus those of `second`, of each finding and of all together."""

    first: Arm
    second: Arm
    seeds: tuple[int, int]
    rows: Sequence[Any]
    """Of `between_models`, those with images."""

    @property
    def head(self) -> str:
        """`dual · adversarial branch − standard`."""
        return f"{self.first.label} − {self.second.label}"

    @property
    def note(self) -> str:
        """The seeds."""
        a, b = self.seeds
        return f"seed {a}" if a == b else f"seeds {a} and {b}"


def compare_models(scored: Scored) -> list[MapComparison]:
    """Every model with the first, and the adversarial branch with the adversarial network.

    Scores are compared with their like only; pairs without any are left out.
    """
    runs: dict[Arm, list[Run]] = {}
    for arm, run in scored.models():
        runs.setdefault(arm, []).append(run)
    found = []
    for first, second in _pairs(list(runs)):
        one, other = same_seed(runs[first], runs[second])
        tables = scored.of(one, first), scored.of(other, second)
        if _in_common(*tables):
            rows = [row for row in records(scored.judged(between_models, *tables)) if row.n]
            found.append(MapComparison(first, second, (one.seed, other.seed), rows))
    return found


def between_table(found: Sequence[MapComparison], findings: Sequence[str]) -> Table | None:
    """A group for each score, method and finding, a row for each pair; None without any."""
    groups: dict[tuple[ScoreName, str, str], list[Row]] = {}
    for one, row in _of(found, findings):
        key = (ScoreName(row.score), row.method, row.finding)
        groups.setdefault(key, []).append(_row(one, row))
    if not groups:
        return None
    over = "" if ALL in findings else " and findings"
    return Table(
        "Scores of two models' maps of the same images, first minus second, with 95 % bootstrap "
        "intervals; p is of a permutation test, and p (Holm) corrected for the scores"
        f"{over} of a pair and method.",
        ["First − second", "Images", "First", "Second", "Difference", "p", "p (Holm)"],
        [
            Group(_group_head(*key), rows)
            for key, rows in sorted(groups.items(), key=lambda item: item[0][0].place)
        ],
    )


def between_sentences(found: Sequence[MapComparison]) -> list[str]:
    """One sentence per pair over all findings, for the first method that both have."""
    sentences = []
    for one in found:
        method = one.rows[0].method
        spoken = [
            row
            for row in one.rows
            if row.finding == ALL and row.method == method
            if ScoreName(row.score).measure in SPOKEN
        ]
        if spoken:
            claims = "; ".join(map(_claim, spoken))
            sentences.append(
                f"The {method} maps of {one.first.phrase} and of {one.second.phrase}: {claims}."
            )
    return sentences


def _pairs(arms: Sequence[Arm]) -> Iterator[tuple[Arm, Arm]]:
    """(first, second); all are compared with the standard model, or with the first."""
    ranked = sorted(arms, key=lambda a: ORDER.index(a.regime) if a.regime in ORDER else len(ORDER))
    yield from ((arm, ranked[0]) for arm in ranked[1:])
    attacked = [arm for arm in ranked[1:] if arm.regime == "adversarial"]
    dual = [arm for arm in ranked[1:] if (arm.regime, arm.branch) == ("dual", "adv")]
    yield from product(dual, attacked)


def _in_common(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether any image has been scored alike."""
    keys = ["method", "finding", "image_id", "score"]
    one, other = (
        table.loc[~table["method"].map(is_baseline).astype(bool) & table["value"].notna(), keys]
        for table in (first, second)
    )
    return len(one.merge(other, on=keys)) > 0


def _of(
    found: Sequence[MapComparison], findings: Sequence[str]
) -> Iterator[tuple[MapComparison, Any]]:
    return ((one, row) for one in found for row in one.rows if row.finding in findings)


def _group_head(score: ScoreName, method: str, finding: str) -> str:
    head = f"{score.short}, {method}"
    head = head[0].upper() + head[1:]
    return head if finding == ALL else f"{head}, {finding}"


def _row(one: MapComparison, row: Any) -> Row:
    digits = ScoreName(row.score).digits
    limits = text.signed_interval(row.low, row.high, digits)
    cells = [
        Cell(text.count(row.n)),
        Cell(text.number(row.value_a, digits)),
        Cell(text.number(row.value_b, digits)),
        Cell(text.signed(row.difference, digits), limits),
        *(Cell(text.p_value(p)) for p in (row.p, row.p_holm)),
    ]
    return Row(one.head, cells, one.note)


def _claim(row: Any) -> str:
    """`hit rate 0.75 is higher than 0.50 (+0.10 to +0.40, p (Holm) = 0.004)`."""
    score = ScoreName(row.score)
    verdict = "cannot be told from"
    if row.p_holm <= ALPHA:
        verdict = "is higher than" if row.difference > 0 else "is lower than"
    first, second = (text.number(value, score.digits) for value in (row.value_a, row.value_b))
    p = text.p_value(row.p_holm)
    return (
        f"{score.short} {first} {verdict} {second} (difference "
        f"{text.signed(row.difference, score.digits)}, "
        f"{text.signed_interval(row.low, row.high, score.digits)}, "
        f"p (Holm) {p if '<' in p else '= ' + p})"
    )
