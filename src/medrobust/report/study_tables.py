"""How the tables of a reader study's analysis are shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from medrobust.report import text
from medrobust.report.tables import Cell, Group, Row, Table

NO_WIDTH = "no width: all resamples agree"
"""Stands beside an interval that is one point."""
Write = Callable[["pd.Series[Any]"], Cell]
TEXTS = (
    *("question", "condition", "reader", "readers", "first", "second", "name", "by", "kind"),
    *("measure", "analysis", "test", "intercepts_of", "blocks_are"),
)
"""Columns that are words, in whatever file they are."""


@dataclass(frozen=True)
class Layout:
    """How the rows of a file become a table."""

    caption: str
    head: Callable[["pd.Series[Any]"], str]
    columns: Mapping[str, Write]
    groups: Sequence[str] = ("question",)
    first: str = ""
    """Heading of the row headings."""

    def __call__(self, rows: pd.DataFrame) -> Table:
        """The table; rows that share the groups' values stand under one heading."""
        found: dict[str, list[Row]] = {}
        for _, row in rows.iterrows():
            group = ", ".join(str(row[name]) for name in self.groups if pd.notna(row[name]))
            cells = [write(row) for write in self.columns.values()]
            found.setdefault(group, []).append(Row(self.head(row), cells))
        groups = [Group(head, group) for head, group in found.items()]
        return Table(self.caption + _caution(groups), [self.first, *self.columns], groups)


def _caution(groups: Sequence[Group]) -> str:
    cells = [cell for group in groups for row in group.rows for cell in row.cells]
    if not any(cell.mark for cell in cells):
        return ""
    return (
        " An interval without width comes of answers that leave no room for chance, such as those "
        "of readers who always agree: it says little of other cases."
    )


def _number(name: str, digits: int = 2) -> Write:
    return lambda row: Cell(text.number(row[name], digits))


def _count(name: str) -> Write:
    return lambda row: Cell(text.count(row[name]))


def _value(name: str, digits: int = 2, low: str = "low", high: str = "high") -> Write:
    return lambda row: Cell(
        text.number(row[name], digits), text.interval(row[low], row[high], digits)
    )


def _signed(name: str, digits: int = 2) -> Write:
    return lambda row: Cell(
        text.signed(row[name], digits), text.signed_interval(row["low"], row["high"], digits)
    )


def _redrawn(write: Write) -> Write:
    """The cell, marked where its interval has no width."""

    def marked(row: "pd.Series[Any]") -> Cell:
        alike = text.has_no_width(row["low"], row["high"])
        return replace(write(row), mark=NO_WIDTH) if alike else write(row)

    return marked


def _yes(name: str) -> Write:
    return lambda row: Cell("yes" if str(row[name]) == "True" else "no")


def _p(name: str) -> Write:
    return lambda row: Cell(text.p_value(row[name]))


def _pair(row: "pd.Series[Any]") -> str:
    return f"{row['first']} {text.MINUS} {row['second']}"


def _named_in(column: str) -> Callable[["pd.Series[Any]"], str]:
    return lambda row: str(row[column])


def _judged(row: "pd.Series[Any]") -> str:
    whose = "" if pd.isna(row["readers"]) else f", {row['readers']}"
    return f"{row['measure']}{whose}"


_P = {"p": _p("p"), "p (Holm)": _p("p_holm")}
TABLES: Mapping[str, tuple[str, Layout]] = {
    "readers": (
        "Readers",
        Layout(
            "What each reader did. Edits: answers that were given anew.",
            _named_in("reader"),
            {
                **{"Maps": _count("maps"), "Judged": _count("judged")},
                **{"Repeats": _count("repeats"), "Judged again": _count("repeats_judged")},
                **{"Edits": _count("edits"), "Sessions": _count("sessions")},
                **{"Median seconds": _number("median_seconds", 1)},
                "Finished": _yes("finished"),
            },
            groups=(),
            first="Reader",
        ),
    ),
    "missing": (
        "Missing answers",
        Layout(
            "First readings of each map.",
            _named_in("condition"),
            {
                "Required": _yes("required"),
                "Asked": _count("asked"),
                "Answered": _count("answered"),
                "Missing": _count("missing"),
            },
            first="Question and condition",
        ),
    ),
    "means": (
        "Mean ratings",
        Layout(
            "Mean ratings by linear mixed models, with 95 % intervals for readers and cases like "
            "these (Satterthwaite's degrees of freedom).",
            _named_in("condition"),
            {
                **{"Mean": _value("mean"), "Standard error": _number("standard_error", 3)},
                "Degrees of freedom": _number("degrees", 1),
            },
            ("question", "analysis"),
            "Analysis and condition",
        ),
    ),
    "differences": (
        "Differences of mean ratings",
        Layout(
            "Differences between conditions in steps of the scale, with 95 % intervals. The first "
            "analysis is the main one, the others show what it depends on; that with intercepts "
            "of reader and case only holds for no more than these maps and readers. p (Holm) is "
            "corrected for the number of pairs.",
            _pair,
            {
                **{
                    "Difference": _signed("difference"),
                    "Degrees of freedom": _number("degrees", 1),
                },
                **_P,
            },
            ("question", "analysis"),
            "Analysis and pair",
        ),
    ),
    "tests": (
        "Tests of all conditions",
        Layout(
            "Whether any condition differs, by each model.",
            _named_in("analysis"),
            {
                "Statistic": lambda row: Cell(text.number(row["statistic"], 2), row["test"]),
                "Degrees of freedom": _count("degrees"),
                "Of the rest": _number("denominator_degrees", 1),
                "p": _p("p"),
                "Answers": _count("answers"),
                "Missing": _count("missing"),
            },
            first="Question and analysis",
        ),
    ),
    "deviations": (
        "What answers vary with",
        Layout(
            "Standard deviations of random intercepts, in steps of the scale; of the ordinal "
            "model, in logits. A map is a case under a condition: all its readers share it.",
            _named_in("intercepts_of"),
            {"Standard deviation": _number("deviation", 3)},
            ("question", "analysis"),
            "Analysis and intercepts of",
        ),
    ),
    "ordinal": (
        "Odds ratios",
        Layout(
            "Odds of a higher rating under the first condition against the second, by a cumulative "
            "logit model with the same random intercepts (Laplace approximation).",
            lambda row: f"{row['first']} against {row['second']}",
            {"Odds ratio": _value("odds_ratio", 2, "odds_low", "odds_high"), **_P},
            first="Question and pair",
        ),
    ),
    "friedman": (
        "Friedman's test",
        Layout(
            "Blocks are readings, the means of cases over readers, or those of readers over cases. "
            "Readings of one map depend on each other, and so do those of one reader who prefers "
            "a condition: with readings as blocks p is too small; with cases as blocks it holds "
            "for these readers alone. Friedman's is too small with few readers as blocks, as "
            "chi-square is an approximation; Wilcoxon's is exact.",
            lambda row: f"blocks: each {row['blocks_are']}",
            {
                **{"χ²": _number("statistic"), "Degrees of freedom": _count("degrees")},
                **{"p": _p("p"), "Kendall's W": _number("concordance")},
                **{"Blocks": _count("blocks"), "Left out": _count("left_out")},
            },
            first="Question and blocks",
        ),
    ),
    "wilcoxon": (
        "Wilcoxon's signed-rank tests",
        Layout(
            "Each pair of conditions; p (Holm) is corrected for the number of pairs.",
            _pair,
            {
                **{"Mean difference": lambda row: Cell(text.signed(row["mean_difference"], 2))},
                **{"Rank-biserial r": lambda row: Cell(text.signed(row["rank_biserial"], 2)), **_P},
                **{"Blocks": _count("blocks"), "Ties": _count("ties")},
            },
            ("question", "blocks_are"),
            "Blocks and pair",
        ),
    ),
    "agreement": (
        "Agreement",
        Layout(
            "Between readers on the same maps, and within readers on maps they judged twice. "
            "Kappa of scales has quadratic weights; intervals of means redraw cases.",
            _judged,
            {
                **{"Value": _redrawn(_value("value")), "Pairs or maps": _count("pairs_of_answers")},
                "Left out": _count("left_out"),
            },
            ("question", "kind", "condition"),
            "Measure",
        ),
    ),
    "auroc": (
        "AUROC",
        Layout(
            "Mean AUROC over readers by Obuchowski and Rockette's analysis with Hillis' degrees of "
            "freedom, 95 % intervals. Random readers hold for readers like these, fixed ones for "
            "these alone.",
            _named_in("condition"),
            {
                **{"AUROC": _value("auroc", 3), "p (all equal)": _p("p_all_equal")},
                **{"Cases": _count("cases"), "Left out": _count("left_out")},
            },
            ("question", "readers"),
            "Readers and condition",
        ),
    ),
    "auroc_differences": (
        "Differences of AUROC",
        Layout(
            "Differences between conditions, with 95 % intervals.",
            _pair,
            {
                **{"Difference": _signed("difference", 3)},
                **{"Degrees of freedom": _number("degrees", 1), **_P},
            },
            ("question", "readers"),
            "Readers and pair",
        ),
    ),
    "shares": (
        "Decisions and places",
        Layout(
            "Sensitivity and specificity of present or absent; hit rate: marks that lie in a true "
            "box; overlap: intersection over union. 95 % intervals redraw patients and hold for "
            "these readers.",
            _named_in("condition"),
            {"Value": _redrawn(_value("value")), "Readings": _count("readings")},
            ("question", "measure"),
            "Measure and condition",
        ),
    ),
    "share_differences": (
        "Differences of decisions and places",
        Layout(
            "Differences between conditions; patients are redrawn.",
            _pair,
            {"Difference": _redrawn(_signed("difference")), "p": _p("p")},
            ("question", "measure"),
            "Measure and pair",
        ),
    ),
    "times": (
        "Reading times",
        Layout(
            "Seconds from showing a map to its last answer, without idle time: median, quartiles.",
            _named_in("name"),
            {
                "Median": _value("median", 1, "lower_quartile", "upper_quartile"),
                **{"Readings": _count("readings"), "Left out": _count("left_out")},
            },
            ("by",),
            "Condition or reader",
        ),
    ),
    "time_ratios": (
        "Ratios of reading times",
        Layout(
            "Geometric means, by a linear mixed model of the logarithm of the seconds.",
            lambda row: f"{row['first']} against {row['second']}",
            {"Ratio": _value("ratio"), **_P},
            groups=(),
            first="Pair",
        ),
    ),
}
"""Heading and layout of every file that is shown; the others are only files."""
