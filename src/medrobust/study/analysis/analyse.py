"""`medrobust study analyse`: from a study's answers and its key to tables, figures and a page."""

import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from medrobust import __version__
from medrobust.errors import MedrobustError
from medrobust.files import new_folder, write_csv, write_json, write_text
from medrobust.progress import Count
from medrobust.report.study import read_told
from medrobust.study.analysis.figures import Drawing, drawings
from medrobust.study.analysis.page import write_analysis
from medrobust.study.analysis.paragraph import Sentence, paragraph, plain
from medrobust.study.analysis.read import Study, read_study
from medrobust.study.analysis.tables import FILES, tables
from medrobust.study.questions import Words
from medrobust.study.spreadsheets import without_formulas
from medrobust.wording import plural

Track = Callable[[int, str], Count]
"""Called with (total, title); what it returns counts."""
WRITTEN = {"index.html", "paragraph.txt", "study.json", *(f"{name}.csv" for name in FILES)}
"""Files of an analysis, besides its figures."""
FEW_REPEATS = 20
"""Maps judged twice below which agreement within readers is hardly known."""


def analyse(
    study: Path,
    out: Path,
    *,
    despite_faults: bool = False,
    without: Collection[str] = (),
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write `index.html`, `*.csv`, `*.svg`, `paragraph.txt` and `study.json` to a folder.

    What an earlier analysis wrote there is replaced, all at once or not at all; other files that
    lie there stay, unless they have the name of a table, a figure or the page. Texts of readers
    are cells that no spreadsheet runs (`spreadsheets.as_text`). Returns what the user should know.

    Args:
        study: the folder of a study; readers may still be at work.
        out: a new folder, or that of an earlier analysis.
        despite_faults: whether to go on where the study does not verify; the page says so.
        without: readers to leave out; the page says so.
        track: hears of the progress.

    Raises:
        MedrobustError: as `read_study`; `out` is a file, or holds something else, or the study or
            the folder that one works in is in it, which would be exchanged with it.
    """
    _refuse_around(out, study)
    _refuse_other(out)
    found = read_study(study, despite_faults=despite_faults, without=without)
    given = tables(found, track(len(found.questions) + 1, f"{out}: tables"))
    frames = {"readings": found.readings, **given.frames()}
    notes = [*_notes(found, without), *given.notes]
    sentences, figures = paragraph(found, frames), drawings(found, frames)
    with new_folder(out.resolve(), overwrite=True) as folder:
        _keep_others(out, folder)
        _write(folder, found, frames, figures)
        write_text(folder / "paragraph.txt", plain(sentences))
        write_json(folder / "study.json", _told(found, sentences, figures, notes))
        write_analysis(folder)
    return notes


def _refuse_around(out: Path, study: Path) -> None:
    for what, inside in (("the study", study), ("the folder you are in", Path())):
        if inside.resolve().is_relative_to(out.resolve()):
            raise MedrobustError(
                f"expected a folder of its own for the results, found {out} with {what} in it: "
                "choose another, such as --out analysis"
            )


def _refuse_other(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise MedrobustError(f"expected a folder or nothing at {out}, found a file: choose another")
    if out.is_dir() and any(out.iterdir()) and not _written(out):
        raise MedrobustError(
            f"expected an empty folder or an earlier analysis at {out}, found other files: choose "
            "another"
        )


def _keep_others(old: Path, folder: Path) -> None:
    """Copy what is in the old folder and no analysis wrote."""
    written = _written(old)
    for path in old.iterdir() if old.is_dir() else ():
        if path.is_dir():
            shutil.copytree(path, folder / path.name, symlinks=True)
        elif path.name not in written:
            shutil.copy2(path, folder, follow_symlinks=False)


def _written(folder: Path) -> set[str]:
    """The names of files that an analysis may have left in a folder; none if there is none."""
    try:
        told = read_told(folder)
        return WRITTEN | {figure["file"] for figure in told["figures"]}
    except (MedrobustError, KeyError, TypeError):
        return set()


def _write(
    folder: Path, study: Study, frames: dict[str, pd.DataFrame], figures: list[Drawing]
) -> None:
    words = [question.id for question in study.questions if isinstance(question, Words)]
    for name, frame in frames.items():
        write_csv(folder / f"{name}.csv", without_formulas(frame, ["text", *words]))
    for figure in figures:
        (folder / f"{figure.name}.svg").write_bytes(figure.svg)


def _told(
    study: Study, sentences: list[Sentence], figures: list[Drawing], notes: list[str]
) -> dict[str, Any]:
    """What tables and figures don't say."""
    return {
        "version": 1,
        "medrobust": __version__,
        "study": study.name,
        "title": study.title,
        "conditions": list(study.conditions),
        "readers": list(study.readers),
        "cases": int(study.readings["case"].nunique()),
        "questions": [q.model_dump(mode="json") for q in study.questions],
        "last_event": study.code,
        "faults": list(study.faults),
        "notes": notes,
        "paragraph": [[list(piece) for piece in sentence] for sentence in sentences],
        "figures": [{"file": f"{figure.name}.svg", "alt": figure.alt} for figure in figures],
    }


def _notes(study: Study, without: Collection[str]) -> Iterator[str]:
    if study.faults:
        yield (
            f"the answers do not verify ({plural(len(study.faults), 'fault')}): they may not "
            "be what readers gave"
        )
    if without:
        yield f"left out by request: {', '.join(sorted(without))}"
    late = [reader for reader in study.readers if reader not in study.finished]
    if late and not study.closed:
        yield (
            f"{len(late)} of {len(study.readers)} readers have not finished "
            f"({', '.join(late)}) and the study is open: a result before its end is preliminary, "
            "and stopping because of it makes p values too small"
        )
    elif late:
        yield f"{len(late)} of {len(study.readers)} readers have not finished: {', '.join(late)}"
    unanswered = len(study.first) - int(study.first["answered"].sum())
    if unanswered:
        yield (
            f"{unanswered} of {len(study.first)} maps have no answer; models use what there is, "
            "Friedman's test, intraclass correlations and AUROC only what every reader answered; "
            "a reader who gave up can be left out (--without)"
        )
    unknown = int((study.readings["timing"] != "").sum())
    if unknown:
        maps = plural(unknown, "map")
        yield f"the reading time of {maps} is unknown, see the column timing"
    yield from _doubts(study)


def _doubts(study: Study) -> Iterator[str]:
    """What a study of this size can't say."""
    if len(study.readers) == 1:
        yield "one reader: nothing here holds for other readers"
    again = int(study.readings.loc[study.readings["repeat"], "answered"].sum())
    if 0 < again < FEW_REPEATS:
        maps = plural(again, "map that was", "maps that were")
        yield f"agreement within readers rests on {maps} judged twice"
