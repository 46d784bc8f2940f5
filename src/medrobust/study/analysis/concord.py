"""Do readers agree with each other, and with themselves: the rows of `agreement.csv`."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medrobust.statistics.inputs import Floats
from medrobust.study.analysis.effects import Rows, rated
from medrobust.study.analysis.read import Study
from medrobust.study.questions import Presence, Scale
from medrobust.study.statistics.agreement import (
    Icc,
    Kappa,
    MeanKappa,
    between_readers,
    icc_agreement,
    icc_consistency,
    within_readers,
)
from medrobust.study.statistics.layout import Names, pivoted

ALL = "all"
"""Conditions taken together: maps, not cases, are what readers agree about."""


class _Question(NamedTuple):
    """How the steps of an answer are weighed."""

    column: str
    categories: tuple[float, ...]
    is_scale: bool

    @property
    def kappa(self) -> str:
        return "weighted kappa" if self.is_scale else "kappa"


def agreement(study: Study, question: Scale | Presence) -> Rows:
    """Between readers per condition and over all; within readers where there are repeats.

    Intraclass correlations and quadratic weights for scales, plain kappa for present or absent.
    Intervals of kappa redraw cases.
    """
    is_scale = isinstance(question, Scale)
    steps = len(question.steps) if isinstance(question, Scale) else 2
    asked = _Question(question.id, tuple(map(float, range(steps))), is_scale)
    where = {"study": study.name, "question": question.id}
    rows = [*_between(study, asked), *_within(study, asked)]
    return [{**where, **row} for row in rows]


def _between(study: Study, asked: _Question) -> Iterator[dict[str, Any]]:
    known = rated(study, asked.column)
    if known["reader"].nunique() < 2:
        return
    parts = {ALL: known}
    if len(study.conditions) > 1:
        numbers = enumerate(study.conditions)
        parts |= {name: known[known["condition"] == number] for number, name in numbers}
    for condition, part in parts.items():
        if part["reader"].nunique() < 2:
            continue
        table, readers, cases = _by_reader(part)
        where = {"kind": "between", "condition": condition}
        if asked.is_scale:
            for measure, icc in (("ICC(2,1)", icc_agreement), ("ICC(3,1)", icc_consistency)):
                yield where | _row(measure, "", icc(table))
        mean = between_readers(table, asked.categories, _weighting(asked), clusters=cases)
        pairs = [" and ".join(pair) for pair in combinations(readers, 2)]
        yield from _kappas(where, asked, mean, pairs, singly=condition == ALL)


def _within(study: Study, asked: _Question) -> Iterator[dict[str, Any]]:
    pairs = _repeated(study, asked.column)
    if pairs.empty:
        return
    first, readers, cases = _by_reader(pairs.assign(value=pairs["first"]))
    again, _, _ = _by_reader(pairs.assign(value=pairs["again"]))
    where = {"kind": "within", "condition": ALL}
    mean = within_readers(first, again, asked.categories, _weighting(asked), clusters=cases)
    yield from _kappas(where, asked, mean, list(readers), singly=True)
    if asked.is_scale:
        for number, reader in enumerate(readers):
            both = np.stack([first[:, number], again[:, number]], axis=1)
            yield where | _row("ICC(2,1)", reader, icc_agreement(both))


def _repeated(study: Study, column: str) -> pd.DataFrame:
    """Maps that a reader judged twice: `reader, case, condition, first, again`."""
    keys = ["reader", "case", "condition"]
    rows = study.readings[[*keys, "repeat", column]].dropna(subset=[column])
    first = rows[~rows["repeat"]].rename(columns={column: "first"})
    again = rows[rows["repeat"]].rename(columns={column: "again"})
    return first[[*keys, "first"]].merge(again[[*keys, "again"]], on=keys)


def _by_reader(rows: pd.DataFrame) -> tuple[Floats, tuple[str, ...], Names]:
    """Answers (maps, readers), the readers, and the case of every map."""
    maps = rows["case"].astype(str) + "\x1f" + rows["condition"].astype(str)
    table, (names, readers) = pivoted(rows["value"], [maps.to_numpy(), rows["reader"].to_numpy()])
    cases = np.array([str(name).split("\x1f")[0] for name in names])
    return table, tuple(map(str, readers)), cases


def _weighting(asked: _Question) -> Any:
    return "quadratic" if asked.is_scale else "none"


def _kappas(
    where: dict[str, Any], asked: _Question, mean: MeanKappa, names: list[str], *, singly: bool
) -> Iterator[dict[str, Any]]:
    """The mean over pairs of series, then each of them."""
    used = sum(one.cases for one in mean.pairs)
    out = sum(one.left_out for one in mean.pairs)
    interval = {"value": mean.value, "low": mean.low, "high": mean.high}
    counts = {"pairs_of_answers": used, "left_out": out}
    yield {**where, "measure": f"mean {asked.kappa}", "readers": "", **interval, **counts}
    if singly:
        for name, one in zip(names, mean.pairs, strict=True):
            yield where | _row(asked.kappa, name, one)


def _row(measure: str, readers: str, found: Icc | Kappa) -> dict[str, Any]:
    return {
        **{"measure": measure, "readers": readers, "value": found.value},
        **{"low": found.low, "high": found.high},
        **{"pairs_of_answers": found.cases, "left_out": found.left_out},
    }
