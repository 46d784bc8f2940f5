"""Do the saliency maps point at the findings, and better than maps that know nothing?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medrobust.report import text
from medrobust.report.figures import Style
from medrobust.report.numbers import Arm, Estimate, Numbers
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table, estimate
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
}
SHORT = {"hit_rate": "hit rate", "mass_accuracy": "mass accuracy"}
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


def explanation_tables(
    numbers: Numbers, looks: dict[Arm, Style], patients: Mapping[str, str]
) -> list[Table]:
    """One table per score and saliency method; empty where no run has been explained."""
    return [
        _table(numbers, looks, patients, score, method)
        for score in SCORES
        for method in methods(numbers)
        if any(_scores(run, numbers, score).size for run in numbers.runs)
    ]


def verdicts(numbers: Numbers, patients: Mapping[str, str]) -> list[str]:
    """One sentence per model and score over all findings."""
    return [
        sentence
        for arm in numbers.arms
        for run in numbers.runs_of(arm)[:1]
        for score in SCORES
        for method in methods(numbers)[:1]
        if (sentence := _verdict(arm, score, _compare(numbers, run, arm, score, method, patients)))
    ]


def methods(numbers: Numbers) -> list[str]:
    """The saliency methods that were scored, without the baselines."""
    names = dict.fromkeys(name for run in numbers.runs for name in run.scores["method"])
    return [name for name in names if name not in BASELINES]


def mean_with_interval(values: NDArray[np.float64], clusters: ArrayLike) -> Estimate:
    """Mean of (n,) with its 95 % interval; all images of a cluster (patient) are drawn together."""
    low, high, _ = bootstrap_interval(weighted_mean(values), clusters, REDRAWS)
    return Estimate(float(values.mean()), low, high, n=len(values))


def _table(
    numbers: Numbers,
    looks: dict[Arm, Style],
    patients: Mapping[str, str],
    score: str,
    method: str,
) -> Table:
    used = [name for name in BASELINES if any(run.scores["method"].eq(name).any() for run in numbers.runs)]
    groups = []
    for finding in [ALL, *_findings(numbers)]:
        rows = []
        for arm in numbers.arms:
            for run in numbers.runs_of(arm):
                found = _compare(numbers, run, arm, score, method, patients, finding)
                if found:
                    cells = _cells(found, used)
                    rows.append(Row(arm.label, cells, note=f"seed {run.seed}", style=looks[arm]))
        if rows:
            groups.append(Group(finding, rows))
    return Table(
        f"{SCORES[score]}. Method: {method}; 95 % bootstrap intervals.",
        [
            "Finding and model",
            "Images",
            f"{method[:1].upper()}{method[1:]} map",
            *(BASELINES[name].capitalize() for name in used),
            "Map − best baseline",
        ],
        groups,
    )


def _cells(found: Comparison, used: list[str]) -> list[Cell]:
    difference = found.difference
    last = Cell(text.DASH)
    if difference is not None:
        last = Cell(
            text.signed(difference.value, 2),
            text.signed_interval(difference.low, difference.high, 2),
        )
    return [
        Cell(text.count(found.map.n)),
        estimate(found.map, 2),
        *(estimate(found.baselines.get(name), 2) for name in used),
        last,
    ]


def _compare(
    numbers: Numbers,
    run: Run,
    arm: Arm,
    score: str,
    method: str,
    patients: Mapping[str, str],
    finding: str = ALL,
) -> Comparison | None:
    table = _scores(run, numbers, score)
    if finding != ALL:
        table = table[table["finding"] == finding]
    own = _values(table, method, arm.branch)
    if own.empty:
        return None
    references = {name: _values(table, name, arm.branch) for name in BASELINES}
    references = {name: v for name, v in references.items() if not v.empty}
    best = max(references, key=lambda name: references[name].mean(), default="")
    return Comparison(
        _mean(own, patients),
        {name: _mean(values, patients) for name, values in references.items()},
        best,
        _mean((own - references[best]).dropna(), patients) if best else None,
    )


def _scores(run: Run, numbers: Numbers, score: str) -> pd.DataFrame:
    table = run.scores
    home = (table["store"] == numbers.evaluation.store) & (table["split"] == numbers.evaluation.split)
    return table[home & (table["score"] == score) & table["value"].notna()]


def _values(table: pd.DataFrame, method: str, branch: str) -> "pd.Series[float]":
    """Scores by (image, finding); a baseline without a branch of its own serves every branch."""
    chosen = table[table["method"] == method]
    own = chosen[chosen["branch"] == branch]
    chosen = chosen if own.empty and method in BASELINES else own
    chosen = chosen.drop_duplicates(["image_id", "finding"])
    return chosen.set_index(["image_id", "finding"])["value"].astype(float)


def _mean(values: "pd.Series[float]", patients: Mapping[str, str]) -> Estimate:
    if values.empty:
        return Estimate(np.nan)
    images = values.index.get_level_values("image_id")
    return mean_with_interval(values.to_numpy(), [patients.get(image, image) for image in images])


def _findings(numbers: Numbers) -> list[str]:
    return list(dict.fromkeys(name for run in numbers.runs for name in run.scores["finding"]))


def _verdict(arm: Arm, score: str, found: Comparison | None) -> str:
    if found is None or found.difference is None:
        return ""
    gap = found.difference
    numbers = (
        f"{SHORT[score]} {text.number(found.map.value, 2)} against "
        f"{text.number(found.baselines[found.best].value, 2)} for the strongest baseline "
        f"({BASELINES[found.best]}); difference {text.signed(gap.value, 2)} "
        f"({text.signed_interval(gap.low, gap.high, 2)})"
    )
    if gap.low > 0:
        claim = "beat every baseline"
    elif gap.high < 0:
        claim = "are worse than a baseline that knows nothing of the finding"
    else:
        claim = "cannot be told from the strongest baseline"
    return f"The maps of {arm.phrase} {claim}: {numbers}."
