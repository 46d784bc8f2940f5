"""Every table of an analysis, by the name of its file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from medrobust.study.analysis import accuracy, described
from medrobust.study.analysis.concord import agreement
from medrobust.study.analysis.effects import Rows, effects, time_ratios
from medrobust.study.analysis.ranked import ranks
from medrobust.study.analysis.read import Study
from medrobust.study.questions import Location, Presence, Question, Scale

FILES: Mapping[str, str] = {
    "readings": "every map that a reader was to judge, with what the key and the answers say",
    "readers": "what each reader did",
    "missing": "answers that are missing",
    "distribution": "how often each step was chosen",
    "reader_means": "each reader's mean under each condition",
    "means": "mean ratings of conditions, with intervals, by linear mixed models",
    "differences": "differences between them",
    "tests": "tests of all conditions by the mixed models",
    "deviations": "standard deviations of their random intercepts",
    "ordinal": "odds ratios between conditions, by the ordinal mixed model",
    "friedman": "Friedman's test of all conditions",
    "wilcoxon": "Wilcoxon's signed-rank test of each pair",
    "agreement": "intraclass correlations and kappa, between and within readers",
    "auroc": "AUROC of conditions by several readers and cases",
    "auroc_differences": "differences between them",
    "auroc_readers": "each reader's AUROC",
    "shares": "sensitivity, specificity, hit rate and overlap",
    "share_differences": "differences between conditions",
    "times": "reading times",
    "time_ratios": "reading times of conditions as ratios",
    "comments": "what readers wrote",
}
"""The name of every table's file, without `.csv`, and what is in it."""


Frames = Mapping[str, pd.DataFrame]
"""Tables by the name of their file."""


def of_question(frames: Frames, question: str) -> dict[str, pd.DataFrame]:
    """The rows about a question, of the tables that have any."""
    found = {
        name: frame[frame["question"] == question]
        for name, frame in frames.items()
        if "question" in frame
    }
    return {name: rows for name, rows in found.items() if len(rows)}


@dataclass
class Tables:
    """Tables by `FILES`; what has no rows is not in there."""

    rows: dict[str, Rows] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What could not be computed, and why."""

    def add(self, name: str, rows: Rows) -> None:
        """More rows of a table."""
        self.rows.setdefault(name, []).extend(rows)

    def frames(self) -> dict[str, pd.DataFrame]:
        """In the order of `FILES`."""
        return {name: pd.DataFrame(self.rows[name]) for name in FILES if self.rows.get(name)}


def tables(study: Study, count: Callable[[int], None] = lambda done: None) -> Tables:
    """All tables but the readings; `count` hears of each question and of the times."""
    found = Tables()
    found.add("readers", described.readers(study))
    found.add("missing", described.missing(study))
    found.add("comments", described.comments(study))
    for question in study.questions:
        _question(found, study, question)
        count(1)
    found.add("times", described.times(study))
    ratios, notes = time_ratios(study)
    found.add("time_ratios", ratios)
    found.notes += notes
    count(1)
    return found


def _question(found: Tables, study: Study, question: Question) -> None:
    match question:
        case Scale():
            _scale(found, study, question)
        case Presence():
            _presence(found, study, question)
        case Location():
            _shares(found, accuracy.places(study, question))


def _scale(found: Tables, study: Study, question: Scale) -> None:
    if study.first[question.id].isna().all():
        found.notes.append(f"{question.id}: nobody answered it")
        return
    found.add("distribution", described.distribution(study, question))
    found.add("reader_means", described.reader_means(study, question))
    models = effects(study, question.id, question.id)
    for name in ("means", "differences", "tests", "deviations", "ordinal"):
        found.add(name, getattr(models, name))
    found.notes += models.notes
    tests, pairs, notes = ranks(study, question.id, question.id)
    found.notes += notes
    found.add("friedman", tests)
    found.add("wilcoxon", pairs)
    _agreement(found, study, question)


def _presence(found: Tables, study: Study, question: Presence) -> None:
    if study.first[question.id].isna().all():
        found.notes.append(f"{question.id}: nobody answered it")
        return
    _shares(found, accuracy.decisions(study, question))
    _agreement(found, study, question)
    models = accuracy.aurocs(study, question)
    found.add("auroc", models.conditions)
    found.add("auroc_differences", models.differences)
    found.add("auroc_readers", models.readers)
    found.notes += models.notes


def _agreement(found: Tables, study: Study, question: Scale | Presence) -> None:
    """Only rows about maps that were judged by the same readers, or twice."""
    rows = agreement(study, question)
    known = [row for row in rows if row["pairs_of_answers"]]
    found.add("agreement", known)
    if len(known) < len(rows):
        found.notes.append(
            f"{question.id}: {len(rows) - len(known)} of {len(rows)} measures of agreement are "
            "missing, as no map was judged by both readers, or, for intraclass correlations, by all"
        )


def _shares(found: Tables, rows: tuple[Rows, Rows]) -> None:
    found.add("shares", rows[0])
    found.add("share_differences", rows[1])
