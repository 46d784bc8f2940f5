"""The whole analysis: its files, its paragraph, its page, its command."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from made import PLACE, PRESENT, SCALE, WORDS, make, mapped, simulated
from test_analysis_read import alter
from typer.testing import CliRunner

from medrobust.cli.study_analyse import analyse as command
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.report.study import study_section
from medrobust.report.study_tables import TABLES
from medrobust.rundir import RunDir
from medrobust.study.analysis.analyse import analyse
from medrobust.study.analysis.figures import drawings
from medrobust.study.analysis.paragraph import paragraph, plain
from medrobust.study.analysis.tables import FILES, tables
from medrobust.study.answers import Answers
from medrobust.study.questions import Question
from medrobust.study.simulated import Biases, SimulatedReaders, answer_study

TITLE = "Which <b>maps</b> help?"
VALUE = SimulatedReaders._value
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def created(
    standard_run: RunDir, tiny_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished study; nothing may change it."""
    root = tmp_path_factory.mktemp("page")
    run = mapped(standard_run, tiny_store, root)
    questions = (SCALE, PRESENT, PLACE, WORDS)
    study = make(root / "study", run, tiny_store, questions=questions, title=TITLE)
    shutil.rmtree(study / "pictures")
    answer_study(study, SimulatedReaders.of(study, Biases(scale={"B": 1.0})))
    with Answers(study) as answers:
        answers.close_study()
    return study


@pytest.fixture(scope="module")
def analysed(created: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("analysed") / "analysis"
    assert analyse(created, out) == []
    return out


@pytest.fixture
def copy(created: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(created, tmp_path / "study"))


class Tags(HTMLParser):
    """Whether tags are balanced, and all attributes by tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


def test_files_are_those_of_the_analysis(analysed: Path) -> None:
    names = {path.name for path in analysed.iterdir()}
    tabled = {f"{name}.csv" for name in FILES if name != "comments"}
    drawn = {f"{kind}-useful.svg" for kind in ("distribution", "readers", "differences")}
    assert names == {
        *("index.html", "study.json", "paragraph.txt", "auroc-there.svg"),
        *tabled,
        *drawn,
    }
    assert all(path.read_text().startswith("<?xml") for path in analysed.glob("*.svg"))


def test_readings_are_all_there(analysed: Path) -> None:
    with (analysed / "readings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * (24 + 6)
    first = [row for row in rows if row["repeat"] == "False"]
    assert {(row["study"], row["store"], row["split"]) for row in rows} == {
        ("study", "phantom", "train")
    }
    assert len({(row["reader"], row["case"], row["condition"]) for row in first}) == 4 * 24


def test_the_page_is_whole_and_needs_nothing_else(analysed: Path) -> None:
    page = (analysed / "index.html").read_text()
    tags = Tags(page)
    assert tags.open == []
    for tag, attributes in tags.found:
        assert tag not in ("script", "link", "iframe")
        address = attributes.get("src") or attributes.get("href") or "#"
        assert address.startswith(("#", "data:image/")), address
    assert "Which &lt;b&gt;maps&lt;/b&gt; help?" in page
    assert "<b>maps" not in page
    assert page.count("data:image/svg+xml") == 4


def test_every_number_of_the_paragraph_leads_to_its_table(analysed: Path) -> None:
    page = (analysed / "index.html").read_text()
    ids = {attributes.get("id") for _, attributes in Tags(page).found}
    links = re.findall(r'href="#([^"]+)"', page)
    assert {f"study-{name}" for name in ("means", "differences", "agreement", "auroc")} <= set(
        links
    )
    assert set(links) <= ids
    told = json.loads((analysed / "study.json").read_text())["paragraph"]
    for sentence in told:
        for words, table in sentence:
            assert table or not re.search(r"\d\.\d", words), words
            assert not table or (analysed / f"{table}.csv").is_file()
    text = (analysed / "paragraph.txt").read_text()
    assert text == " ".join("".join(w for w, _ in s) for s in told) + "\n"


def test_the_paragraph_says_what_the_tables_say(analysed: Path) -> None:
    text = (analysed / "paragraph.txt").read_text()
    assert text.startswith(
        "4 readers judged 12 cases (8 with the finding) under 2 conditions, blinded: 96 of 96 "
        "maps, and 24 maps a second time without being told. The mean rating of “useful” was "
    )
    with (analysed / "differences.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    shown = f"{float(row['difference']):+.2f}".replace("-", "−")
    assert f"differences were {shown} (" in text
    assert "for A − B (p by Holm)." in text
    assert "In a linear mixed model with random intercepts of reader, case, map" in text
    assert " nan" not in text
    assert "None" not in text


def test_the_section_shows_every_table_in_order(analysed: Path) -> None:
    section = study_section(analysed)
    assert section.title == TITLE
    assert [named.name for named in section.tables] == list(TABLES)
    assert section.faults == section.notes == []
    assert len(section.figures) == 4
    means = next(named.table for named in section.tables if named.name == "means")
    with (analysed / "means.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = means.groups[0]
    assert first.head == "useful, mixed model"
    assert [row.head for row in first.rows] == ["A", "B"]
    assert first.rows[1].cells[0].main == f"{float(rows[1]['mean']):.2f}"


def test_an_analysis_is_the_same_again(created: Path, analysed: Path, contents: Contents,
                                       tmp_path: Path) -> None:  # fmt: skip
    analyse(created, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(analysed)


def test_again_replaces_what_is_no_longer_there(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "analysis"
    analyse(copy, out, without=["reader-1"])
    told = json.loads((out / "study.json").read_text())
    told["figures"].append({"file": "old-question.svg", "alt": ""})
    (out / "study.json").write_text(json.dumps(told))
    for name in ("comments.csv", "old-question.svg", "mine.svg", "mine.txt"):
        (out / name).write_text("x")
    (out / "mine").mkdir()
    (out / "mine" / "plot.svg").write_text("x")
    assert analyse(copy, out) == []
    assert not (out / "comments.csv").exists()
    assert not (out / "old-question.svg").exists()
    for name in ("mine.txt", "mine.svg", "mine/plot.svg"):
        assert (out / name).read_text() == "x"


def test_a_failure_leaves_the_earlier_analysis_and_nothing_else(
    copy: Path, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "results" / "analysis"
    analyse(copy, out)
    before = contents(out)

    def fails(folder: Path) -> None:
        assert (folder / "study.json").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr("medrobust.study.analysis.analyse.write_analysis", fails)
    with pytest.raises(KeyboardInterrupt):
        analyse(copy, out, without=["reader-1"])
    assert contents(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["analysis"]


def test_texts_of_readers_are_no_formulas(
    created: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimulatedReaders, "_value", _shouting)
    study = Path(shutil.copytree(created, tmp_path / "study"))
    for path in study.glob("answers.*"):
        path.unlink()
    answer_study(study, SimulatedReaders.of(study))
    analyse(study, tmp_path / "analysis")
    for name, column in (("readings", "words"), ("comments", "text")):
        with (tmp_path / "analysis" / f"{name}.csv").open(newline="") as file:
            assert {row[column] for row in csv.DictReader(file)} == {"'=HYPERLINK(A1)"}


def _shouting(readers: SimulatedReaders, item: str, question: Question) -> Any:
    """As simulated readers do, but for words."""
    return "=HYPERLINK(A1)" if question.kind == "text" else VALUE(readers, item, question)


def test_a_folder_with_other_files_is_left_alone(created: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(MedrobustError) as error:
        analyse(created, tmp_path)
    assert str(error.value) == (
        f"expected an empty folder or an earlier analysis at {tmp_path}, found other files: choose "
        "another"
    )
    with pytest.raises(MedrobustError) as error:
        analyse(created, tmp_path / "thesis.txt")
    assert str(error.value) == (
        f"expected a folder or nothing at {tmp_path / 'thesis.txt'}, found a file: choose another"
    )


@pytest.mark.parametrize(
    "content", ["{}", "[]", "x", '{"version": 1}', '{"version": 1, "figures": 3}']
)
def test_a_study_json_of_something_else_is_left_alone(
    created: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(MedrobustError, match=r"^expected an empty folder or an earlier analysis"):
        analyse(created, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]
    assert (tmp_path / "study.json").read_text() == content


def test_no_folder_is_exchanged_that_holds_the_study_or_is_worked_in(
    copy: Path, analysed: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Path(shutil.copytree(analysed, copy.parent / "results"))
    (results / "within").mkdir()
    before = contents(copy.parent)
    for folder, out in ((results, "."), (results / "within", ".."), (results, str(results))):
        monkeypatch.chdir(folder)
        with pytest.raises(MedrobustError) as error:
            analyse(copy, Path(out))
        assert str(error.value) == (
            f"expected a folder of its own for the results, found {out} with the folder you are in "
            "in it: choose another, such as --out analysis"
        )
    monkeypatch.chdir(copy)
    for out in (copy, copy.parent):
        with pytest.raises(MedrobustError) as error:
            analyse(copy, out)
        assert str(error.value) == (
            f"expected a folder of its own for the results, found {out} with the study in it: "
            "choose another, such as --out analysis"
        )
    assert contents(copy.parent) == before


def test_faults_and_who_is_left_out_stand_on_the_page(copy: Path, tmp_path: Path) -> None:
    alter(copy)
    out = tmp_path / "analysis"
    notes = analyse(copy, out, despite_faults=True, without=["reader-2"])
    assert notes[:2] == [
        "the answers do not verify (1 fault): they may not be what readers gave",
        "left out by request: reader-2",
    ]
    page = (out / "index.html").read_text()
    assert "The answers do not verify. What follows may not be what readers gave." in page
    assert "answers.sqlite: event " in page
    assert "left out by request: reader-2" in page


def test_an_unfinished_study_is_called_so(created: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(created, tmp_path / "study"))
    for path in study.glob("answers.*"):
        path.unlink()
    answer_study(study, SimulatedReaders.of(study, Biases(stops={"reader-4": 0.5})))
    notes = analyse(study, tmp_path / "analysis")
    assert notes[0] == (
        "1 of 4 readers have not finished (reader-4) and the study is open: a result before its "
        "end is preliminary, and stopping because of it makes p values too small"
    )
    assert re.match(r"1\d of 96 maps have no answer; models use what there is, ", notes[1])
    told = (tmp_path / "analysis" / "paragraph.txt").read_text(encoding="utf-8")
    assert told.startswith("Preliminary, as the study goes on: 4 readers judged ")
    with Answers(study) as answers:
        answers.close_study()
    notes = analyse(study, tmp_path / "analysis")
    told = (tmp_path / "analysis" / "paragraph.txt").read_text(encoding="utf-8")
    assert told.startswith("4 readers judged ")
    assert notes[0] == "1 of 4 readers have not finished: reader-4"


def test_one_condition_has_no_differences(
    standard_run: RunDir, tiny_store: Store, tmp_path: Path
) -> None:
    run = mapped(standard_run, tiny_store, tmp_path)
    study = simulated(make(tmp_path / "study", run, tiny_store, conditions=1))
    found = tables(study)
    frames = {"readings": study.readings, **found.frames()}
    assert found.notes == []
    assert not {"differences", "ordinal", "friedman", "time_ratios"} & frames.keys()
    names = [drawing.name for drawing in drawings(study, frames)]
    assert names == ["distribution-useful", "readers-useful"]
    text = plain(paragraph(study, frames))
    assert "under 1 condition, blinded" in text
    assert "differences were" not in text


def test_an_interval_without_width_is_marked(created: Path) -> None:
    """All readers are right about all images, so that every resample says the same."""
    study = simulated(created)
    right = study.readings.assign(there=study.readings["truth"].astype(float))
    agreed = replace(study, readings=right)
    frames = {"readings": right, **tables(agreed).frames()}
    mark = "no width: all resamples agree"
    text = plain(paragraph(agreed, frames))
    assert f"Agreement between readers on “there”: mean kappa 1.00 (1.00–1.00; {mark})." in text
    assert f"The sensitivity of “there” was 1.00 (95 % CI 1.00–1.00; {mark}) for A" in text
    for name in ("agreement", "shares", "share_differences"):
        _, layout = TABLES[name]
        shown = layout(frames[name])
        cells = {group.head: [row.cells[0] for row in group.rows] for group in shown.groups}
        for head, own in cells.items():
            marked = [cell.mark for cell in own if cell.note]  # kappa may not be defined
            assert set(marked) == ({mark} if head.startswith("there") else {""}), (name, head)
            assert not any(cell.mark for cell in own if not cell.note)
        assert shown.caption.endswith(
            " An interval without width comes of answers that leave no room for chance, such as "
            "those of readers who always agree: it says little of other cases."
        )
        other = frames[name][frames[name]["question"] != "there"]
        assert "without width" not in layout(other).caption


def test_long_names_are_wrapped(created: Path) -> None:
    names = {"A": "a very long name of a condition of maps", "B": "n" * 41}
    study = simulated(created, Biases(scale={"B": 0.5}))
    readings = study.readings.assign(
        condition=study.readings["condition"].map(names), reader=study.readings["reader"] + "x" * 30
    )
    renamed = replace(
        study,
        conditions=tuple(names.values()),
        readers=tuple(sorted(set(readings["reader"]))),
        readings=readings,
    )
    renamed.sessions.update(dict.fromkeys(renamed.readers, 1))
    drawn = {one.name: one.svg.decode() for one in drawings(renamed, tables(renamed).frames())}
    for name in ("distribution-useful", "readers-useful", "differences-useful"):
        assert "a very long" in drawn[name]
        assert names["A"] not in drawn[name]
    assert "reader-1xx…xxxxxxxxxx" in drawn["readers-useful"]


def test_what_is_no_analysis(tmp_path: Path) -> None:
    text = (
        f"expected the analysis of a reader study in {tmp_path}, found none: make it with "
        "`medrobust study analyse STUDY`"
    )
    for content in (None, "{", "[]", '{"version": 2}'):
        if content:
            (tmp_path / "study.json").write_text(content)
        with pytest.raises(MedrobustError) as error:
            study_section(tmp_path)
        assert str(error.value) == text


def test_the_command_says_where_the_page_is(copy: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(copy), "--without", "reader-1"])
    assert done.exit_code == 0
    assert done.stdout == f"{copy / 'analysis' / 'index.html'}\n"
    assert "warning: left out by request: reader-1" in done.stderr
    assert (copy / "analysis" / "index.html").is_file()


def test_no_torch_is_needed() -> None:
    code = "import sys, medrobust.study.analysis.analyse; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
