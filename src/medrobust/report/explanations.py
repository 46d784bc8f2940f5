"""Do the saliency maps point at the findings, and better than maps that know nothing?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medrobust.explain.summary import ALPHA, BASELINES, against_baselines, summarise
from medrobust.report import text
from medrobust.report.figures import Style
from medrobust.report.map_comparisons import between_sentences, between_table, compare_models
from medrobust.report.read import Run
from medrobust.report.score_names import ScoreName
from medrobust.report.scored import ALL, SPOKEN, Scored, is_baseline, score_names
from medrobust.report.tables import Cell, Group, Row, Table, estimate
from medrobust.report.terms import Arm, Estimate, records

NAMES = {
    "area": "area alone",
    "centre": "centre prior",
    "edge": "edge detector",
    "random": "random map",
    "untrained": "untrained network",
}
Key = tuple[str, str, str]
"""Finding, score, method."""


@dataclass(frozen=True)
class Explanations:
    """What the section shows."""

    sentences: Sequence[str]
    """How each model's maps do against the baselines."""
    tables: Sequence[Table]
    model_sentences: Sequence[str]
    """How the models' maps do against each other."""
    model_table: Table | None
    finding_tables: Sequence[Table]


@dataclass(frozen=True)
class Judged:
    """One model's maps: means of every method and baseline, and what each method is held against.

    Of each finding, and of all findings together.
    """

    arm: Arm
    run: Run
    means: Mapping[Key, Any]
    """Rows of `summarise`."""
    against: Mapping[Key, Sequence[Any]]
    """Rows of `against_baselines`, one for each baseline and in their order."""

    def baseline(self, key: Key, name: str) -> Any | None:
        """The mean of a baseline that a method is held against; None without it."""
        finding, score, method = key
        own = self.means.get((finding, score, f"{name}:{method}"))
        return own or self.means.get((finding, score, name))


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
        between_sentences(between),
        between_table(between, [ALL]),
        [*score_tables(judged, looks, findings), *([by_finding] if by_finding else [])],
    )


def judge(scored: Scored) -> list[Judged]:
    """Every model with each of its seeds."""
    found = []
    for arm, run in scored.models():
        table = scored.of(run, arm)
        means = {_key(row): row for row in records(scored.judged(summarise, table))}
        against: dict[Key, list[Any]] = {}
        for row in records(scored.judged(against_baselines, table)):
            against.setdefault(_key(row), []).append(row)
        for rows in against.values():
            rows.sort(key=lambda row: BASELINES.index(_name(row)))
        found.append(Judged(arm, run, means, against))
    return found


def score_tables(
    judged: Sequence[Judged], looks: Mapping[Arm, Style], findings: Sequence[str]
) -> list[Table]:
    """One table per score, its groups by saliency method and finding."""
    return [_table(judged, looks, score, findings) for score in _scores(judged)]


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


def methods(judged: Sequence[Judged]) -> list[str]:
    """The saliency methods that were scored, without the baselines."""
    names = dict.fromkeys(method for one in judged for _, _, method in one.means)
    return [name for name in names if not is_baseline(name)]


def _key(row: Any) -> Key:
    return row.finding, row.score, row.method


def _scores(judged: Sequence[Judged]) -> list[ScoreName]:
    return score_names(score for one in judged for _, score, _ in one.means)


def _table(
    judged: Sequence[Judged], looks: Mapping[Arm, Style], score: ScoreName, findings: Sequence[str]
) -> Table:
    there = {
        method.partition(":")[0]
        for one in judged
        for _, name, method in one.means
        if name == score.whole
    }
    used = [name for name in BASELINES if name in there]
    groups = [
        Group(method if finding == ALL else f"{method}, {finding}", rows)
        for method in methods(judged)
        for finding in findings
        if (rows := list(_rows(judged, looks, (finding, score.whole, method), used)))
    ]
    heads = [NAMES[name].capitalize() for name in used]
    over = "; all findings together" if ALL in findings else ""
    return Table(
        f"{score.title}. 95 % bootstrap intervals{over}.",
        ["Method, model and branch", "Images", "Map", *heads, "Better than every baseline"],
        groups,
        words=(2 + len(used),),
    )


def _rows(
    judged: Sequence[Judged], looks: Mapping[Arm, Style], key: Key, used: Sequence[str]
) -> Iterator[Row]:
    digits = ScoreName(key[1]).digits
    for one in judged:
        mean = one.means.get(key)
        if mean is None:
            continue
        baselines = [one.baseline(key, name) for name in used]
        cells = [
            Cell(text.count(mean.n), _left_out(mean)),
            *(estimate(_estimate(row), digits) for row in (mean, *baselines)),
            _verdict(one.against.get(key, [])),
        ]
        yield Row(one.arm.label, cells, f"seed {one.run.seed}", looks[one.arm])


def _left_out(mean: Any) -> str:
    return f"{mean.n_not_scorable:,} not scorable" if mean.n_not_scorable else ""


def _estimate(row: Any | None) -> Estimate | None:
    return None if row is None else Estimate(row.value, row.low, row.high, n=row.n)


def _verdict(against: Sequence[Any]) -> Cell:
    """`beats all` above the largest p, `beats all but centre prior`, `beats none`."""
    if not against:
        return Cell(text.DASH)
    if all(row.wins for row in against):
        largest = text.p_value(max(row.p_holm for row in against))
        return Cell("beats all", f"p {largest if '<' in largest else '= ' + largest}")
    names = [NAMES[_name(row)] for row in against if not _beats(row)]
    if len(names) == len(against):
        return Cell("beats none")
    return Cell(f"beats all but {text.enumeration(names)}")


def _claims(one: Judged, method: str) -> Iterator[str]:
    """`hit rate 0.75 beats every baseline`, for each score that sentences speak of."""
    for score in _scores([one]):
        key = (ALL, score.whole, method)
        against = one.against.get(key)
        if against and score.measure in SPOKEN and one.means[key].n:
            value = text.number(one.means[key].value, score.digits)
            yield f"{score.short} {value} {_claim(one, key, against)}"


def _claim(one: Judged, key: Key, against: Sequence[Any]) -> str:
    if all(row.wins for row in against):
        return "beats every baseline"
    worse = [row for row in against if _is_worse(row)]
    level = [row for row in against if not _beats(row) and row not in worse]
    parts = [
        f"{words} {text.enumeration([_quoted(one, key, row) for row in rows])}"
        for words, rows in (("cannot be told from", level), ("is worse than", worse))
        if rows
    ]
    return " and ".join(parts)


def _quoted(one: Judged, key: Key, row: Any) -> str:
    mean = one.means[key[0], key[1], row.baseline]
    return f"{NAMES[_name(row)]} ({text.number(mean.value, ScoreName(key[1]).digits)})"


def _name(row: Any) -> str:
    """Of a baseline, without the method whose network it is."""
    return str(row.baseline).partition(":")[0]


def _beats(row: Any) -> bool:
    return bool(row.difference > 0 and row.p_holm <= ALPHA)


def _is_worse(row: Any) -> bool:
    """A hit rate of almost 0 differs from a small area by too little to say so."""
    rare = _name(row) == "area" and ScoreName(row.score).measure == "hit_rate"
    return bool(row.difference < 0 and row.p_holm <= ALPHA and not rare)
