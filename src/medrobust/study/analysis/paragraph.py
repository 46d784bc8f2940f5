"""The results in a paragraph that could go into a paper; every number knows its table."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from medrobust.report import text
from medrobust.report.study_tables import NO_WIDTH
from medrobust.study.analysis.concord import ALL
from medrobust.study.analysis.effects import PRIMARY
from medrobust.study.analysis.read import Study
from medrobust.study.analysis.tables import Frames, of_question


class Piece(NamedTuple):
    """Some words; `table` is where their numbers stand, if there are any."""

    words: str
    table: str = ""


Sentence = list[Piece]


def paragraph(study: Study, frames: Frames) -> list[Sentence]:
    """Sentences on who judged what, then on each question, then on time."""
    found = [_design(study, frames)]
    for question in study.questions:
        found += _question(question.id, of_question(frames, question.id))
    found += _times(frames)
    return found


def plain(sentences: list[Sentence]) -> str:
    """The paragraph as text."""
    return " ".join("".join(piece.words for piece in sentence) for sentence in sentences) + "\n"


def _design(study: Study, frames: Frames) -> Sentence:
    readers = frames["readers"]
    judged, asked = int(readers["judged"].sum()), int(readers["maps"].sum())
    again = int(readers["repeats_judged"].sum())
    cases = text.plural(int(study.readings["case"].nunique()), "case")
    positive = study.readings.drop_duplicates("case")["truth"].sum()
    repeated = (
        f", and {text.plural(again, 'map')} a second time without being told" if again else ""
    )
    early = not study.closed and len(study.finished) < len(study.readers)
    return [
        *([Piece("Preliminary, as the study goes on: ")] if early else []),
        Piece(f"{text.plural(len(study.readers), 'reader')} judged "),
        Piece(f"{cases} ({int(positive)} with the finding)", "readings"),
        Piece(f" under {text.plural(len(study.conditions), 'condition')}, blinded: "),
        Piece(f"{judged:,} of {asked:,} maps{repeated}", "readers"),
        Piece("."),
    ]


def _question(name: str, own: Frames) -> Iterator[Sentence]:
    if len(means := _of(own, "means", analysis=PRIMARY)):
        yield _means(name, means)
        yield from _model(own)
        yield from _ordinal(own)
        yield from _friedman(own)
    yield from _aurocs(name, own)
    yield from _shares(name, _of(own, "shares"))
    yield from _agreement(name, own)


def _means(name: str, means: pd.DataFrame) -> Sentence:
    numbers = text.enumeration([_interval(row, "mean") for _, row in means.iterrows()])
    return [Piece(f"The mean rating of “{name}” was "), Piece(numbers, "means"), Piece(".")]


def _interval(row: "pd.Series[float]", value: str, digits: int = 2) -> str:
    limits = _limits(row, digits)
    return f"{text.number(row[value], digits)} (95 % CI {limits}) for {row['condition']}"


def _limits(row: "pd.Series[float]", digits: int = 2) -> str:
    """The interval; a word of caution where it is one point."""
    limits = text.interval(row["low"], row["high"], digits)
    alike = text.has_no_width(row["low"], row["high"])
    return f"{limits}; {NO_WIDTH}" if alike else limits


def _model(own: Frames) -> Iterator[Sentence]:
    pairs = _of(own, "differences", analysis=PRIMARY)
    if pairs.empty:
        return
    told = _of(own, "tests", analysis=PRIMARY).iloc[0]
    factors = _of(own, "deviations", analysis=PRIMARY)["intercepts_of"].tolist()
    groups = [factor for factor in factors if factor != "rest"]
    yield [
        Piece(f"In a linear mixed model with random intercepts of {text.enumeration(groups)}, "),
        Piece("the test of all conditions gave "),
        Piece(
            f"F({told['degrees']:.0f}, {told['denominator_degrees']:.1f}) = "
            f"{told['statistic']:.2f}, {p_words(told['p'])}",
            "tests",
        ),
        Piece("; differences were "),
        Piece(text.enumeration([_difference(row) for _, row in pairs.iterrows()]), "differences"),
        Piece(" (p by Holm)."),
    ]


def _difference(row: "pd.Series[float]", digits: int = 2) -> str:
    limits = text.signed_interval(row["low"], row["high"], digits)
    return (
        f"{text.signed(row['difference'], digits)} ({limits}; {p_words(row['p_holm'])}) for "
        f"{row['first']} {text.MINUS} {row['second']}"
    )


def _ordinal(own: Frames) -> Iterator[Sentence]:
    rows = _of(own, "ordinal")
    if rows.empty:
        return
    numbers = text.enumeration([_odds(row) for _, row in rows.iterrows()])
    yield [
        Piece(
            "In a cumulative logit model with these intercepts the odds ratio of a higher rating "
        ),
        Piece("was "),
        Piece(numbers, "ordinal"),
        Piece("."),
    ]


def _odds(row: "pd.Series[float]") -> str:
    limits = text.interval(row["odds_low"], row["odds_high"], 2)
    return (
        f"{text.number(row['odds_ratio'], 2)} ({limits}; {p_words(row['p_holm'])}) for "
        f"{row['first']} against {row['second']}"
    )


def _friedman(own: Frames) -> Iterator[Sentence]:
    rows = _of(own, "friedman", blocks_are="case")
    for _, row in rows.iterrows():
        if pd.notna(row["p"]):
            yield [
                Piece("For these readers alone, Friedman's test of the cases' means gave "),
                Piece(
                    f"χ²({row['degrees']:.0f}) = {row['statistic']:.2f}, {p_words(row['p'])}, "
                    f"n = {row['blocks']:.0f}",
                    "friedman",
                ),
                Piece("."),
            ]


def _aurocs(name: str, own: Frames) -> Iterator[Sentence]:
    every = _of(own, "auroc")
    if every.empty:
        return
    kind = every["readers"].iloc[0]
    rows = every[every["readers"] == kind]
    sentence = [
        Piece(f"The mean AUROC of “{name}” over readers was "),
        Piece(
            text.enumeration([_interval(row, "auroc", 3) for _, row in rows.iterrows()]), "auroc"
        ),
        Piece(f" (Obuchowski and Rockette, {kind}, random cases)"),
    ]
    pairs = _of(own, "auroc_differences", readers=kind)
    if len(pairs):
        told = text.enumeration([_difference(row, 3) for _, row in pairs.iterrows()])
        sentence += [Piece("; differences were "), Piece(told, "auroc_differences")]
    yield [*sentence, Piece(".")]


def _shares(name: str, shares: pd.DataFrame) -> Iterator[Sentence]:
    for measure, rows in shares.groupby("measure", sort=False) if len(shares) else ():
        numbers = text.enumeration([_interval(row, "value") for _, row in rows.iterrows()])
        yield [Piece(f"The {measure} of “{name}” was "), Piece(numbers, "shares"), Piece(".")]


def _agreement(name: str, own: Frames) -> Iterator[Sentence]:
    rows = _of(own, "agreement", readers="", condition=ALL)
    for kind, part in rows.groupby("kind", sort=False) if len(rows) else ():
        values = [
            f"{row['measure']} {text.number(row['value'], 2)} ({_limits(row) or 'no interval'})"
            for _, row in part.iterrows()
            if pd.notna(row["value"])
        ]
        if values:
            yield [
                Piece(f"Agreement {kind} readers on “{name}”: "),
                Piece(text.enumeration(values), "agreement"),
                Piece("."),
            ]


def _times(frames: Frames) -> Iterator[Sentence]:
    rows = _of(frames, "times", by="condition")
    values = [_time(row) for _, row in rows.iterrows() if pd.notna(row["median"])]
    if values:
        yield [
            Piece("Median reading times (quartiles) were "),
            Piece(text.enumeration(values), "times"),
            Piece("."),
        ]


def _time(row: "pd.Series[float]") -> str:
    quartiles = text.interval(row["lower_quartile"], row["upper_quartile"], 1)
    return f"{text.number(row['median'], 1)} s ({quartiles}) for {row['name']}"


def p_words(p: float) -> str:
    """`p = 0.034`, `p < 0.001`."""
    shown = text.p_value(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def _of(own: Frames, name: str, **wanted: str) -> pd.DataFrame:
    """The rows of a table with these values; none where there is no such table."""
    rows = own.get(name, pd.DataFrame())
    for column, value in wanted.items():
        rows = rows[rows[column] == value] if len(rows) else rows
    return rows
