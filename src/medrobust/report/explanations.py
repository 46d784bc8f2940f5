"""Do the saliency maps point at the findings, and better than maps that know nothing?"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medrobust.report import text
from medrobust.report.figures import Style
from medrobust.report.numbers import Numbers
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table, estimate
from medrobust.report.terms import Arm, Estimate, Evaluation
from medrobust.statistics import bootstrap_interval, weighted_mean

BASELINES = {
    "centre": "centre prior",
    "untrained": "untrained network",
    "area": "area alone",
    "edge": "edge detector",
    "random": "random map",
}
SCORES = {
    "hit_rate": "Hit rate: how often the map's strongest pixel lies inside the finding",
    "mass_accuracy": "Mass accuracy: the share of the map's strength that lies inside the finding",
    "rank_accuracy": "Rank accuracy: of as many strongest pixels as the finding has, the share "
    "inside",
    "auprc": "Average precision of the map's strength for pixels of the finding",
    "iou": "Overlap (IoU) of the finding and the strongest pixels, as many as was best on "
    "validation images",
}
SHORT = {"hit_rate": "hit rate", "mass_accuracy": "mass accuracy"}
"""Those of which the verdict speaks."""
DIGITS = {"hit_rate": 2}
ALL = "all findings"
REDRAWS = 2000


@dataclass(frozen=True)
class Comparison:
    """A method's score on the images of one finding, next to the strongest baseline's."""

    map: Estimate
    baselines: Mapping[str, Estimate]
    best: str
    """The baseline with the highest mean; empty without any."""
    difference: Estimate | None
    """Map minus that baseline, image by image."""


@dataclass(frozen=True)
class Scored:
    """The scores of an evaluation's maps; `patients` (image -> patient) are redrawn together."""

    numbers: Numbers
    patients: Mapping[str, str]

    @cached_property
    def tables(self) -> dict[tuple[Run, str], pd.DataFrame]:
        """Per run and score: a row per (finding, image), a column per (method, branch)."""
        return {
            (run, score): _wide(run.scores, self.numbers.evaluation, score)
            for run in self.numbers.runs
            for score in _scores(self.numbers)
        }


def _scores(numbers: Numbers) -> dict[str, str]:
    """What was scored and its title, known scores first."""
    names = dict.fromkeys(name for run in numbers.runs for name in run.scores["score"])
    others = {name: _title(name) for name in names if name not in SCORES}
    return {name: title for name, title in SCORES.items() if name in names} | others


def _title(score: str) -> str:
    name, _, where = score.partition(":")
    return f"Share of the map's strength inside {where.replace('+', ', ')}" if where else name


def explanation_tables(scored: Scored, looks: dict[Arm, Style], per_finding: bool) -> list[Table]:
    """One table per score, its rows by saliency method; empty where no run has been explained."""
    findings = _findings(scored.numbers) if per_finding else [ALL]
    return [
        _table(scored, looks, score, findings)
        for score in _scores(scored.numbers)
        if any(len(scored.tables[run, score]) for run in scored.numbers.runs)
    ]


def verdicts(scored: Scored) -> list[str]:
    """One sentence per model over all findings, for the first method and seed."""
    sentences = []
    for method in methods(scored.numbers)[:1]:
        for arm in scored.numbers.arms:
            run = scored.numbers.runs_of(arm)[0]
            there = [score for score in SHORT if (run, score) in scored.tables]
            found = {score: _compare(scored, run, arm, score, method) for score in there}
            claims = [_claim(score, one) for score, one in found.items() if one and one.difference]
            if claims:
                sentences.append(f"The maps of {arm.phrase}: {'; '.join(claims)}.")
    return sentences


def methods(numbers: Numbers) -> list[str]:
    """The saliency methods that were scored, without the baselines."""
    names = dict.fromkeys(name for run in numbers.runs for name in run.scores["method"])
    return [name for name in names if name.partition(":")[0] not in BASELINES]


def mean_with_interval(values: NDArray[np.float64], clusters: ArrayLike) -> Estimate:
    """Mean of (n,) with its 95 % interval; all images of a cluster (patient) are drawn together."""
    low, high, _ = bootstrap_interval(weighted_mean(values), clusters, REDRAWS)
    return Estimate(float(values.mean()), low, high, n=len(values))


def _table(scored: Scored, looks: dict[Arm, Style], score: str, findings: list[str]) -> Table:
    runs = scored.numbers.runs
    there = {name.partition(":")[0] for run in runs for name in run.scores["method"]}
    used = [name for name in BASELINES if name in there]
    groups = [
        Group(method if finding == ALL else f"{method}, {finding}", rows)
        for method in methods(scored.numbers)
        for finding in findings
        if (rows := _rows(scored, looks, score, method, finding, used))
    ]
    columns = [
        "Method, model and branch",
        "Images",
        "Map",
        *(BASELINES[name].capitalize() for name in used),
        "Map − best baseline",
    ]
    over = "; all findings together" if findings == [ALL] else ""
    title = _scores(scored.numbers)[score]
    return Table(f"{title}. 95 % bootstrap intervals{over}.", columns, groups)


def _rows(
    scored: Scored,
    looks: dict[Arm, Style],
    score: str,
    method: str,
    finding: str,
    used: list[str],
) -> list[Row]:
    return [
        Row(arm.label, _cells(found, used, DIGITS.get(score, 3)), f"seed {run.seed}", looks[arm])
        for arm in scored.numbers.arms
        for run in scored.numbers.runs_of(arm)
        if (found := _compare(scored, run, arm, score, method, finding))
    ]


def _cells(found: Comparison, used: list[str], digits: int) -> list[Cell]:
    gap = found.difference
    last = Cell(text.DASH)
    if gap is not None:
        limits = text.signed_interval(gap.low, gap.high, digits)
        last = Cell(text.signed(gap.value, digits), limits)
    return [
        Cell(text.count(found.map.n)),
        estimate(found.map, digits),
        *(estimate(found.baselines.get(name), digits) for name in used),
        last,
    ]


def _compare(
    scored: Scored, run: Run, arm: Arm, score: str, method: str, finding: str = ALL
) -> Comparison | None:
    table = scored.tables[run, score]
    if finding != ALL:
        table = table[table.index.get_level_values("finding") == finding]
    own = _values(table, method, arm.branch)
    if own.empty:
        return None
    references = {name: _baseline(table, name, method, arm.branch) for name in BASELINES}
    references = {name: values for name, values in references.items() if not values.empty}
    best = max(references, key=lambda name: references[name].mean(), default="")
    return Comparison(
        _mean(own, scored.patients),
        {name: _mean(values, scored.patients) for name, values in references.items()},
        best,
        _mean((own - references[best]).dropna(), scored.patients) if best else None,
    )


def _wide(scores: pd.DataFrame, evaluation: Evaluation, score: str) -> pd.DataFrame:
    here = (scores["store"] == evaluation.store) & (scores["split"] == evaluation.split)
    return scores[here & (scores["score"] == score)].pivot_table(
        index=["finding", "image_id"],
        columns=["method", "branch"],
        values="value",
        aggfunc="first",
        sort=False,
    )


def _values(table: pd.DataFrame, method: str, branch: str) -> "pd.Series[float]":
    """One method's scores; a baseline without a branch of its own serves every branch."""
    for name in ((method, branch), (method, "")):
        if name in table:
            return table[name].dropna()
    return pd.Series(dtype=float)


def _baseline(table: pd.DataFrame, name: str, method: str, branch: str) -> "pd.Series[float]":
    """A baseline's scores; that of fresh weights is of the same method."""
    own = _values(table, f"{name}:{method}", branch)
    return _values(table, name, branch) if own.empty else own


def _mean(values: "pd.Series[float]", patients: Mapping[str, str]) -> Estimate:
    if values.empty:
        return Estimate(np.nan)
    images = values.index.get_level_values("image_id")
    scores = np.asarray(values, dtype=np.float64)
    return mean_with_interval(scores, [patients.get(image, image) for image in images])


def _findings(numbers: Numbers) -> list[str]:
    return list(dict.fromkeys(name for run in numbers.runs for name in run.scores["finding"]))


def _claim(score: str, found: Comparison) -> str:
    gap, digits = found.difference or Estimate(np.nan), DIGITS.get(score, 3)
    if gap.low > 0:
        claim = "beats every baseline"
    elif gap.high < 0:
        claim = "is worse than a baseline that knows nothing of the finding"
    else:
        claim = "cannot be told from the strongest baseline"
    return (
        f"{SHORT[score]} {text.number(found.map.value, digits)} {claim} "
        f"({BASELINES[found.best]} {text.number(found.baselines[found.best].value, digits)}, "
        f"difference {text.signed(gap.value, digits)}, "
        f"{text.signed_interval(gap.low, gap.high, digits)})"
    )
