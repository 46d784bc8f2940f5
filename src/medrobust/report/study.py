"""A reader study's analysis as a section: what `medrobust study analyse` left in its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from medrobust.errors import MedrobustError
from medrobust.report.curves import Figure, as_figure
from medrobust.report.study_tables import TABLES, TEXTS
from medrobust.report.tables import Table


class Piece(NamedTuple):
    """Words of the paragraph, and the table that their numbers stand in."""

    words: str
    table: str


class Named(NamedTuple):
    """A table under the name of its file, without `.csv`."""

    name: str
    heading: str
    table: Table


@dataclass(frozen=True)
class StudySection:
    """What the section shows."""

    title: str
    study: str
    facts: list[tuple[str, str]]
    faults: list[str]
    notes: list[str]
    paragraph: list[list[Piece]]
    figures: list[Figure]
    tables: list[Named]


def study_section(folder: Path) -> StudySection:
    """What an analysis has left in its folder.

    Raises:
        MedrobustError: there is no analysis in the folder, or its tables are others.
    """
    told = read_told(folder)
    try:
        tables = [named for name in TABLES if (named := _named(folder, name)) is not None]
    except (KeyError, ValueError) as error:
        raise _no_analysis(folder) from error
    return StudySection(
        told["title"],
        told["study"],
        _facts(told),
        told["faults"],
        told["notes"],
        [[Piece(*piece) for piece in sentence] for sentence in told["paragraph"]],
        [as_figure((folder / one["file"]).read_bytes(), one["alt"]) for one in told["figures"]],
        tables,
    )


def read_told(folder: Path) -> dict[str, Any]:
    """The `study.json` of an analysis.

    Raises:
        MedrobustError: there is none in the folder.
    """
    try:
        told = json.loads((folder / "study.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _no_analysis(folder) from error
    if not isinstance(told, dict) or told.get("version") != 1:
        raise _no_analysis(folder)
    return told


def _no_analysis(folder: Path) -> MedrobustError:
    return MedrobustError(
        f"expected the analysis of a reader study in {folder}, found none: make it with "
        "`medrobust study analyse STUDY`"
    )


def _facts(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    questions = [
        f"{one['id']}: {one['text'].replace('{finding}', 'the finding')}"
        for one in told["questions"]
    ]
    return [
        ("Conditions", ", ".join(told["conditions"])),
        ("Readers", ", ".join(told["readers"])),
        ("Cases", str(told["cases"])),
        ("Questions", "; ".join(questions)),
        ("Last answer", f"{told['last_event']} (`medrobust study verify STUDY` proves it)"),
        ("Made by", f"medrobust {told['medrobust']}"),
    ]


def _named(folder: Path, name: str) -> Named | None:
    path = folder / f"{name}.csv"
    if not path.is_file():
        return None
    heading, layout = TABLES[name]
    texts = dict.fromkeys(TEXTS, "str")  # a condition may be called 01
    rows = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    return Named(name, heading, layout(rows))
