"""The scores of maps in tables: with the best baseline beside each, and with all of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from medrobust.explain.summary import BASELINES
from medrobust.report import text
from medrobust.report.figures import Style
from medrobust.report.judged import (
    NAMES,
    Judged,
    Key,
    base_name,
    beats,
    is_worse,
    mean_of,
    methods,
    scores_of,
    wins,
)
from medrobust.report.score_names import ScoreName
from medrobust.report.scored import ALL
from medrobust.report.tables import Cell, Group, Row, Table, estimate
from medrobust.report.terms import Arm, Estimate

BETTER = "Better than every baseline?"


def score_tables(
    judged: Sequence[Judged], looks: Mapping[Arm, Style], findings: Sequence[str]
) -> list[Table]:
    """One table per score, its groups by saliency method and finding: the best baseline alone."""
    columns = ["Method, model and branch", "Images", "Map", "Best baseline", BETTER]

    def cells(one: Judged, key: Key) -> Iterator[Cell]:
        mean, against = one.means[key], one.against.get(key, [])
        yield Cell(text.count(mean.n), _left_out(mean))
        yield replace(_own(one, key), strong=wins(against))
        yield _best(key, against)
        yield _verdict(against)

    return [
        Table(
            f"{score.title}. 95 % bootstrap intervals{_over(findings)}.",
            columns,
            _groups(judged, looks, (findings, score), cells),
            words=(2, 3),
        )
        for score in scores_of(judged)
    ]


def baseline_tables(
    judged: Sequence[Judged], looks: Mapping[Arm, Style], findings: Sequence[str]
) -> list[Table]:
    """One table per score that has baselines, with all of them."""
    return [
        _baseline_table(judged, looks, findings, score, used)
        for score in scores_of(judged)
        if (used := _used(judged, score))
    ]


def _used(judged: Sequence[Judged], score: ScoreName) -> list[str]:
    """The baselines of a score."""
    there = {
        method.partition(":")[0]
        for one in judged
        for _, name, method in one.means
        if name == score.whole
    }
    return [name for name in BASELINES if name in there]


def _baseline_table(
    judged: Sequence[Judged],
    looks: Mapping[Arm, Style],
    findings: Sequence[str],
    score: ScoreName,
    used: Sequence[str],
) -> Table:
    def cells(one: Judged, key: Key) -> Iterator[Cell]:
        yield _own(one, key)
        for name in used:
            yield estimate(one.baseline(key, name), ScoreName(key[1]).digits)

    heads = [NAMES[name].capitalize() for name in used]
    return Table(
        f"Every baseline of the {score.short}. 95 % bootstrap intervals{_over(findings)}.",
        ["Method, model and branch", "Map", *heads],
        _groups(judged, looks, (findings, score), cells),
    )


def _groups(
    judged: Sequence[Judged],
    looks: Mapping[Arm, Style],
    what: tuple[Sequence[str], ScoreName],
    cells: Callable[[Judged, Key], Iterable[Cell]],
) -> list[Group]:
    """A group for each method and finding, a row for each model."""
    findings, score = what
    groups = []
    for method, finding in product(methods(judged), findings):
        key = (finding, score.whole, method)
        rows = [
            Row(one.arm.label, list(cells(one, key)), f"seed {one.run.seed}", looks[one.arm])
            for one in judged
            if key in one.means
        ]
        groups.append(Group(method if finding == ALL else f"{method}, {finding}", rows))
    return [group for group in groups if group.rows]


def _over(findings: Sequence[str]) -> str:
    return "; all findings together" if ALL in findings else ""


def _left_out(mean: Any) -> str:
    return f"{mean.n_not_scorable:,} not scorable" if mean.n_not_scorable else ""


def _own(one: Judged, key: Key) -> Cell:
    """A method's mean above its interval."""
    mean = one.means[key]
    return estimate(Estimate(mean.value, mean.low, mean.high), ScoreName(key[1]).digits)


def _best(key: Key, against: Sequence[Any]) -> Cell:
    """`centre prior 0.17`: the baseline with the highest mean; strong if the map is worse."""
    known = [row for row in against if row.n]
    if not known:
        return Cell(text.DASH)
    row = max(known, key=lambda row: row.baseline_value)
    cell = estimate(mean_of(row), ScoreName(key[1]).digits)
    return replace(cell, main=f"{NAMES[base_name(row)]} {cell.main}", strong=is_worse(row))


def _verdict(against: Sequence[Any]) -> Cell:
    """`yes` above the largest p; `no` above what is not beaten."""
    if not against or not any(row.n for row in against):
        return Cell(text.DASH)
    if wins(against):
        largest = text.p_value(max(row.p_holm for row in against))
        return Cell("yes", f"p (Holm) {largest if '<' in largest else '= ' + largest}", strong=True)
    names = [NAMES[base_name(row)] for row in against if not beats(row)]
    if len(names) == len(against):
        return Cell("no", "beats none")
    return Cell("no", f"beats all but {text.enumeration(names)}")
