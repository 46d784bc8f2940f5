"""Do conditions differ: the mixed models of a question's answers.

All readers of a map share what that map is like, and each reader may prefer a condition. The main
analysis has random intercepts of both beside those of reader and case. Of 1000 simulated studies
of 4 readers and 12 cases, in which maps and preferences differed and conditions did not, 2.5 % had
p < 0.05 with them and 18 % without.
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from medrobust.errors import MedrobustError
from medrobust.study.analysis.read import Study
from medrobust.study.statistics.layout import Names
from medrobust.study.statistics.mixed import MixedModel, mixed_model
from medrobust.study.statistics.ordinal import (
    condition_differences,
    condition_effects,
    likelihood_ratio,
    ordinal_mixed_model,
)

PRIMARY = "mixed model"
ORDINAL = "ordinal model"
Rows = list[dict[str, Any]]
Taken = Literal["first", "mean"]


class Effects(NamedTuple):
    """Rows of tables (`tables.FILES`), and what could not be fitted."""

    means: Rows
    differences: Rows
    tests: Rows
    deviations: Rows
    ordinal: Rows
    notes: list[str]


def rated(study: Study, column: str, taken: Taken = "first") -> pd.DataFrame:
    """Known answers: `reader, patient, case, condition` (a number), `truth`, `value`.

    `taken`: the first reading of each map alone, or its mean with the hidden repeat.
    """
    rows = study.first if taken == "first" else study.readings
    keys = ["reader", "patient", "case", "condition", "truth"]
    known = rows[[*keys, column]].rename(columns={column: "value"}).dropna(subset=["value"])
    numbers = {name: number for number, name in enumerate(study.conditions)}
    known = known.assign(condition=known["condition"].map(numbers))
    return known.groupby(keys, sort=True)["value"].mean().reset_index()


def factors(rows: pd.DataFrame, pairs: bool = True) -> dict[str, Names]:
    """The random intercepts that these answers can tell apart.

    Of reader and case; of the patient, where patients have several cases; and with `pairs` of the
    map (case and condition), which all its readers share, and of reader and condition, as readers
    may differ in what they prefer. Without these two the intervals would hold for no more than
    these maps and these readers. A factor is left out where it has no variance of its
    own: a single level, no more of them than conditions, or one for every answer.
    """
    reader, case, condition = (rows[name].astype(str) for name in ("reader", "case", "condition"))
    wanted = {"reader": reader, "case": case}
    if rows["patient"].nunique() < rows["case"].nunique():
        wanted["patient"] = rows["patient"].astype(str)
    found = {name: levels.to_numpy() for name, levels in wanted.items() if levels.nunique() > 1}
    if pairs and condition.nunique() > 1:
        maps, preferences = case + "\x1f" + condition, reader + "\x1f" + condition
        for name, levels in {"map": maps, "reader by condition": preferences}.items():
            if condition.nunique() < levels.nunique() < len(rows):
                found[name] = levels.to_numpy()
    return {name: levels for name, levels in found.items() if np.unique(levels).size < len(rows)}


def effects(study: Study, question: str, column: str, *, ordinal: bool = True) -> Effects:
    """All models of one question; what can't be fitted is a note.

    `column` holds its answers. `ordinal`: whether they are steps, which the ordinal model needs.
    """
    first = rated(study, column)
    analyses: dict[str, tuple[pd.DataFrame, bool]] = {
        PRIMARY: (first, True),
        "reader and case only": (first, False),
    }
    if study.readings["repeat"].any():
        analyses["means with repeats"] = (rated(study, column, "mean"), True)
    if first["truth"].nunique() > 1:
        analyses["cases with the finding"] = (first[first["truth"] == 1], True)
    found = Effects([], [], [], [], [], [])
    for analysis, (rows, pairs) in analyses.items():
        try:
            model = fit(rows, pairs)
        except MedrobustError as error:
            found.notes.append(f"{question}, {analysis}: {error}")
            continue
        missing = _missing(study, rows, analysis)
        _append(found, study, question, analysis, model, missing)
    if ordinal:
        _add_ordinal(found, study, question, first)
    return found


def fit(rows: pd.DataFrame, pairs: bool = True) -> MixedModel:
    """The linear mixed model of `rated` answers with the intercepts of `factors`.

    Raises:
        MedrobustError: answers do not vary within conditions.
    """
    return mixed_model(
        rows["value"].to_numpy(float), rows["condition"].to_numpy(), factors(rows, pairs)
    )


def _missing(study: Study, rows: pd.DataFrame, analysis: str) -> int:
    """Maps that should have been in the analysis and have no answer."""
    asked = study.first
    if analysis == "cases with the finding":
        asked = asked[asked["truth"] == 1]
    return len(asked) - len(rows)


def _append(
    found: Effects, study: Study, question: str, analysis: str, model: MixedModel, missing: int
) -> None:
    where = {"study": study.name, "question": question, "analysis": analysis}
    name = study.conditions.__getitem__
    for mean in model.means:
        found.means.append({**where, **mean._asdict(), "condition": name(mean.condition)})
    for one in model.differences:
        pair = {"first": name(one.first), "second": name(one.second)}
        found.differences.append({**where, **one._asdict(), **pair})
    test = model.test._asdict() | {"answers": model.ratings, "missing": missing}
    found.tests.append({**where, "test": "F", **test})
    _add_deviations(found, where, {**model.deviations, "rest": model.residual})


def _add_deviations(found: Effects, where: dict[str, str], deviations: dict[str, float]) -> None:
    found.deviations.extend(
        {**where, "intercepts_of": factor, "deviation": sd} for factor, sd in deviations.items()
    )


def _add_ordinal(found: Effects, study: Study, question: str, rows: pd.DataFrame) -> None:
    where = {"study": study.name, "question": question}
    codes = rows["condition"].to_numpy()
    values, groups = rows["value"].to_numpy(float), factors(rows)
    columns = condition_effects(codes)
    if not columns:
        return
    try:
        model = ordinal_mixed_model(values, columns, groups)
        test = likelihood_ratio(model, ordinal_mixed_model(values, {}, groups))
    except (MedrobustError, np.linalg.LinAlgError) as error:
        found.notes.append(f"{question}, {ORDINAL}: {error}")
        return
    for one in condition_differences(model, str(codes.min())):
        pair = {"first": _name(study, one.first), "second": _name(study, one.second)}
        odds = {"odds_ratio": one.log_odds, "odds_low": one.low, "odds_high": one.high}
        ratios = {name: float(np.exp(value)) for name, value in odds.items()}
        found.ordinal.append({**where, **pair, **ratios, **one._asdict(), **pair})
    where["analysis"] = ORDINAL
    counts = {"answers": model.ratings, "missing": len(study.first) - model.ratings}
    found.tests.append({**where, "test": "likelihood ratio", **test._asdict(), **counts})
    _add_deviations(found, where, model.deviations)


def _name(study: Study, condition: str) -> str:
    return study.conditions[int(condition)]


def time_ratios(study: Study) -> tuple[Rows, list[str]]:
    """Rows of `time_ratios.csv`: reading times of conditions as ratios, by the model of their logs.

    First readings with an answer and a time above 0 only.
    """
    seconds = study.readings["seconds"]
    logs = study.readings.assign(log=np.log(seconds.where(seconds > 0)))
    rows = rated(replace(study, readings=logs), "log")
    try:
        model = fit(rows)
    except MedrobustError as error:
        return [], [f"reading times: {error}"]
    return [
        {
            **{"study": study.name, "first": study.conditions[one.first]},
            **{"second": study.conditions[one.second], "ratio": float(np.exp(one.difference))},
            **{"low": float(np.exp(one.low)), "high": float(np.exp(one.high))},
            **{"degrees": one.degrees, "p": one.p, "p_holm": one.p_holm},
            "readings": model.ratings,
        }
        for one in model.differences
    ], []
