"""Do the saliency maps point at the findings, and better than maps that know nothing?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medrobust.report import text
from medrobust.report.figures import Style
from medrobust.report.judged import (
    NAMES,
    Judged,
    base_name,
    beats,
    is_worse,
    judge,
    methods,
    scores_of,
    wins,
)
from medrobust.report.map_comparisons import between_sentences, between_table, compare_models
from medrobust.report.score_names import ScoreName
from medrobust.report.score_tables import baseline_tables, score_tables
from medrobust.report.scored import ALL, SPOKEN, Scored
from medrobust.report.tables import Table
from medrobust.report.terms import Arm


@dataclass(frozen=True)
class Explanations:
    """What the section shows."""

    sentences: Sequence[str]
    """How each model's maps do against the baselines."""
    tables: Sequence[Table]
    """Each score with the best of its baselines."""
    baseline_tables: Sequence[Table]
    """Each score with every baseline, over all findings and then of each."""
    model_sentences: Sequence[str]
    """How the models' maps do against each other."""
    model_table: Table | None
    finding_tables: Sequence[Table]
    hit: str
    """Where a pixel counts as a hit: `inside the true outline or within 3 pixels of it`."""


def explanation_section(scored: Scored, looks: Mapping[Arm, Style]) -> Explanations | None:
    """What the scores of maps say; None where no run has any.

    Raises `MedrobustError` for scores that are there twice.
    """
    judged = judge(scored)
    if not judged:
        return None
    between = compare_models(scored)
    findings = list(dict.fromkeys(key[0] for one in judged for key in one.means if key[0] != ALL))
    by_finding = between_table(between, findings)
    return Explanations(
        verdicts(judged),
        score_tables(judged, looks, [ALL]),
        [*baseline_tables(judged, looks, [ALL]), *baseline_tables(judged, looks, findings)],
        between_sentences(between),
        between_table(between, [ALL]),
        [*score_tables(judged, looks, findings), *([by_finding] if by_finding else [])],
        _hit(scores_of(judged)),
    )


def verdicts(judged: Sequence[Judged]) -> list[str]:
    """One sentence per model over all findings, for the first method and seed."""
    first = {one.arm: one for one in reversed(judged)}
    shown = [one for one in judged if first[one.arm] is one]
    method = methods(judged)[0]
    claims = {one.arm: list(_claims(one, method)) for one in shown}
    return [
        f"The {method} maps of {arm.phrase}: {'; '.join(told)}."
        for arm, told in claims.items()
        if told
    ]


def _claims(one: Judged, method: str) -> Iterator[str]:
    """`hit rate 0.75 beats every baseline`, for each score that sentences speak of."""
    for score in scores_of([one]):
        key = (ALL, score.whole, method)
        against = one.against.get(key)
        if against and score.measure in SPOKEN and one.means[key].n:
            value = text.number(one.means[key].value, score.digits)
            yield f"{score.short} {value} {_claim(against)}"


def _claim(against: Sequence[Any]) -> str:
    if wins(against):
        return "beats every baseline"
    worse = [row for row in against if is_worse(row)]
    level = [row for row in against if not beats(row) and row not in worse]
    parts = [
        f"{words} {text.enumeration([_quoted(row) for row in rows])}"
        for words, rows in (("cannot be told from", level), ("is worse than", worse))
        if rows
    ]
    return " and ".join(parts)


def _quoted(row: Any) -> str:
    mean = text.number(row.baseline_value, ScoreName(row.score).digits)
    return f"{NAMES[base_name(row)]} ({mean})"


def _hit(scores: Sequence[ScoreName]) -> str:
    """Where a pixel counts as a hit, for the tolerances that were used."""
    asked = [score.tolerance for score in scores if score.measure == "hit_rate"]
    near = list(dict.fromkeys(filter(None, asked)))
    if not near:
        return "inside the true outline"
    joint = "or" if all(asked) and len(near) == 1 else "or, where a table says so,"
    return f"inside the true outline {joint} within {text.enumeration(near)} of it"
