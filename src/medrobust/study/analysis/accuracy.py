"""Where there is a truth: AUROC by several readers and cases, decisions, and marked places."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medrobust.statistics import bootstrap_difference, bootstrap_interval, weighted_mean, whole
from medrobust.statistics.inputs import Floats
from medrobust.study.analysis.effects import Rows, rated
from medrobust.study.analysis.read import Study
from medrobust.study.questions import Location, Presence
from medrobust.study.statistics.agreement import REDRAWS
from medrobust.study.statistics.layout import pivoted
from medrobust.study.statistics.mrmc import Mrmc, obuchowski_rockette

ENOUGH = 2
"""Cases with and without the finding, each, that an AUROC needs."""


class Aurocs(NamedTuple):
    """Rows of `auroc.csv`, `auroc_differences.csv` and `auroc_readers.csv`."""

    conditions: Rows
    differences: Rows
    readers: Rows
    notes: list[str]


def aurocs(study: Study, question: Presence) -> Aurocs:
    """Obuchowski and Rockette's analysis of scores, findings together: random and fixed readers.

    Only cases that every reader judged under every condition count; without two of each class
    among them, or where readers were not asked how sure they are, there is a note instead.
    """
    if not question.confidence:
        return Aurocs([], [], [], [f"{question.id}: no AUROC, as no confidence was asked"])
    rows = rated(study, f"{question.id}.score")
    keys = [rows[name].to_numpy() for name in ("condition", "reader", "case")]
    scores, (conditions, readers, cases) = pivoted(rows["value"], keys)
    of_case = rows.drop_duplicates("case").set_index("case").loc[cases]
    truth = of_case["truth"].to_numpy(float)
    complete = truth[~np.isnan(scores).any(axis=(0, 1))]
    positive = int(complete.sum())
    if min(positive, complete.size - positive) < ENOUGH or len(conditions) < len(study.conditions):
        return Aurocs([], [], [], [_too_few(question.id, positive, complete.size - positive)])
    found = Aurocs([], [], [], [])
    for kind in ("random", "fixed") if readers.size > 1 else ("fixed",):
        model = obuchowski_rockette(
            truth, scores, readers=kind, clusters=of_case["patient"].to_numpy()
        )
        _append(found, study, question.id, kind, model)
    where = {"study": study.name, "question": question.id}
    found.readers.extend(
        {
            **where,
            "condition": study.conditions[t],
            "reader": str(reader),
            "auroc": model.aurocs[t, r],
        }
        for t in range(len(study.conditions))
        for r, reader in enumerate(readers)
    )
    return found


def _append(found: Aurocs, study: Study, question: str, kind: str, model: Mrmc) -> None:
    where = {"study": study.name, "question": question, "readers": f"{kind} readers"}
    counts = {"cases": model.cases, "left_out": model.left_out}
    test = {"F": model.test.statistic, "p_all_equal": model.test.p}
    found.conditions.extend(
        {**where, "condition": name, **one._asdict(), **test, **counts}
        for name, one in zip(study.conditions, model.conditions, strict=True)
    )
    for one in model.differences:
        pair = {"first": study.conditions[one.first], "second": study.conditions[one.second]}
        found.differences.append({**where, **one._asdict(), **pair, **counts})


def _too_few(question: str, positive: int, negative: int) -> str:
    return (
        f"{question}: no AUROC, as every reader judged {positive} cases with and {negative} "
        f"without the finding under every condition, and {ENOUGH} of each are needed"
    )


def decisions(study: Study, question: Presence) -> tuple[Rows, Rows]:
    """Sensitivity and specificity of present or absent: rows of `shares.csv` and their differences.

    Intervals redraw patients and hold for these readers.
    """
    rows = study.first
    given, truth = rows[question.id].to_numpy(float), rows["truth"].to_numpy(float)
    right = np.where(np.isnan(given), np.nan, (given == truth).astype(float))
    measures = {
        "sensitivity": np.where(truth == 1, right, np.nan),
        "specificity": np.where(truth == 0, right, np.nan),
    }
    return _shares(study, question.id, rows, measures)


def places(study: Study, question: Location) -> tuple[Rows, Rows]:
    """Hit rate of the marked places, and the mean overlap of boxes; else as `decisions`.

    A mark hits if its point, or the middle of its box, lies in a true box; "nowhere" is a miss.
    Readings without a true box, such as of images without the finding, do not count.
    """
    rows = study.first
    measures = {"hit rate": rows[f"{question.id}.hit"].to_numpy(float)}
    if question.shape == "box":
        measures["mean overlap"] = rows[f"{question.id}.overlap"].to_numpy(float)
    return _shares(study, question.id, rows, measures)


def _shares(
    study: Study, question: str, rows: pd.DataFrame, measures: dict[str, Floats]
) -> tuple[Rows, Rows]:
    patients, shown = rows["patient"].to_numpy(), rows["condition"].to_numpy()
    shares: Rows = []
    differences: Rows = []
    for measure, values in measures.items():
        where = {"study": study.name, "question": question, "measure": measure}
        under = {name: np.where(shown == name, values, np.nan) for name in study.conditions}
        known = {name: v for name, v in under.items() if not np.isnan(v).all()}
        for name, one in known.items():
            shares.append({**where, "condition": name, **_share(one, patients)})
        for first, second in combinations(known, 2):
            under_first, under_second = weighted_mean(known[first]), weighted_mean(known[second])
            found = bootstrap_difference([under_first], [under_second], patients, REDRAWS)
            row = {"difference": found.value, "low": found.low, "high": found.high, "p": found.p}
            differences.append({**where, "first": first, "second": second, **row})
    return shares, differences


def _share(values: Floats, patients: Any) -> dict[str, float]:
    mean = weighted_mean(values)
    interval = bootstrap_interval(mean, patients, REDRAWS)
    readings = int((~np.isnan(values)).sum())
    value = whole(mean, values.size)
    return {"value": value, "low": interval.low, "high": interval.high, "readings": readings}
