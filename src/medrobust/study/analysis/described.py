"""Who answered what, and how: counts, distributions, times and words, without any test."""

from collections.abc import Callable, Iterator

import pandas as pd

from medrobust.study.analysis.effects import Rows
from medrobust.study.analysis.read import Study
from medrobust.study.questions import Location, Question, Scale, Words
from medrobust.study.statistics.times import reading_times


def readers(study: Study) -> Rows:
    """Of each reader: maps to judge and judged, the same of repeats, edits, sittings, seconds."""
    rows: Rows = []
    for reader in study.readers:
        own = study.readings[study.readings["reader"] == reader]
        once, again = own[~own["repeat"]], own[own["repeat"]]
        rows.append(
            {
                **{"study": study.name, "reader": reader, "maps": len(once)},
                **{"judged": int(once["answered"].sum()), "repeats": len(again)},
                **{"repeats_judged": int(again["answered"].sum())},
                **{"edits": int(own["edits"].sum()), "sessions": study.sessions[reader]},
                **{"median_seconds": float(own["seconds"].median())},
                **{"seconds_unknown": int((own["timing"] != "").sum())},
                "finished": reader in study.finished,
            }
        )
    return rows


def column_of(question: Question) -> str:
    """The column that is known where the question was answered."""
    return f"{question.id}.marked" if isinstance(question, Location) else question.id


def missing(study: Study) -> Rows:
    """Of each question and condition: first readings asked for, answered and missing."""
    return [
        {
            **{"study": study.name, "question": question.id, "condition": condition},
            **{"required": question.required, "asked": len(rows), "answered": known},
            "missing": len(rows) - known,
        }
        for question in study.questions
        for condition, rows in _by_condition(study)
        for known in [_known(question, rows)]
    ]


def _known(question: Question, rows: pd.DataFrame) -> int:
    values = rows[column_of(question)]
    return int((values != "").sum() if isinstance(question, Words) else values.notna().sum())


def distribution(study: Study, question: Scale) -> Rows:
    """How often each step was chosen under each condition, by truth and together."""
    groups: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "all": lambda rows: rows,
        "present": lambda rows: rows[rows["truth"] == 1],
        "absent": lambda rows: rows[rows["truth"] == 0],
    }
    found: Rows = []
    for condition, rows in _by_condition(study):
        for finding, chosen in groups.items():
            counts = chosen(rows)[question.id].value_counts()
            total = int(counts.sum())
            for step, meaning in enumerate(question.steps):
                count = int(counts.get(float(step), 0))
                where = {"study": study.name, "question": question.id, "condition": condition}
                row = {"finding": finding, "step": step, "meaning": meaning, "count": count}
                found.append({**where, **row, "share": count / total if total else float("nan")})
    return found


def reader_means(study: Study, question: Scale) -> Rows:
    """The mean of each reader's first answers under each condition."""
    rows = study.first.dropna(subset=[question.id])
    grouped = {
        key: part.to_numpy(float)
        for key, part in rows.groupby(["reader", "condition"])[question.id]
    }
    return [
        {
            **{"study": study.name, "question": question.id, "reader": reader},
            **{"condition": condition, "mean": float(grouped[reader, condition].mean())},
            "answers": grouped[reader, condition].size,
        }
        for reader in study.readers
        for condition in study.conditions
        if (reader, condition) in grouped
    ]


def times(study: Study) -> Rows:
    """Median and quartiles of the seconds of first readings, by condition and by reader."""
    rows = study.first[study.first["answered"]]
    found: Rows = []
    for kind, names in (("condition", study.conditions), ("reader", study.readers)):
        groups = reading_times(rows["seconds"], rows[kind].to_numpy(str))
        for one in sorted(groups, key=lambda group: names.index(group.group)):
            where = {"study": study.name, "by": kind, "name": one.group}
            quartiles = {"median": one.median, "lower_quartile": one.lower_quartile}
            quartiles["upper_quartile"] = one.upper_quartile
            found.append({**where, **quartiles, "readings": one.readings, "left_out": one.left_out})
    return found


def comments(study: Study) -> Rows:
    """Every text that was written, repeats included."""
    asked = [question for question in study.questions if isinstance(question, Words)]
    places = ["study", "reader", "case", "condition", "repeat", "finding", "truth"]
    return [
        {**{name: row[name] for name in places}, "question": question.id, "text": row[question.id]}
        for _, row in study.readings.iterrows()
        for question in asked
        if row[question.id]
    ]


def _by_condition(study: Study) -> Iterator[tuple[str, pd.DataFrame]]:
    for condition in study.conditions:
        yield condition, study.first[study.first["condition"] == condition]
