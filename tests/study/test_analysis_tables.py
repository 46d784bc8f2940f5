"""Each table against what other software, or counting, makes of the same readings."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import PLACE, PRESENT, SCALE, WORDS, make, mapped, simulated
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from medrobust.data.store import Store
from medrobust.rundir import RunDir
from medrobust.study.analysis.accuracy import aurocs
from medrobust.study.analysis.read import Study
from medrobust.study.analysis.tables import FILES, tables
from medrobust.study.questions import Presence
from medrobust.study.simulated import Biases

Frames = dict[str, pd.DataFrame]
GIVES_UP = Biases(scale={"B": 1.0}, stops={"reader-3": 0.6}, edits=0.3)


@pytest.fixture(scope="module")
def created(
    standard_run: RunDir, tiny_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Three conditions and every kind of question; nothing may change it."""
    root = tmp_path_factory.mktemp("tables")
    run = mapped(standard_run, tiny_store, root)
    questions = (SCALE, PRESENT, PLACE, WORDS)
    return make(root / "study", run, tiny_store, conditions=3, questions=questions, readers=3)


@pytest.fixture(scope="module")
def study(created: Path) -> Study:
    return simulated(created, Biases(scale={"B": 1.0}, edits=0.3))


@pytest.fixture(scope="module")
def frames(study: Study) -> Frames:
    return tables(study).frames()


def only(frame: pd.DataFrame, **wanted: object) -> pd.Series:
    """The one row with these values."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def wide(study: Study, column: str, repeat: bool = False) -> pd.DataFrame:
    """Rows (case, condition), a column per reader."""
    rows = study.readings[study.readings["repeat"] == repeat]
    return rows.pivot(index=["case", "condition"], columns="reader", values=column)


def test_tables_begin_with_the_study(frames: Frames) -> None:
    assert set(frames) == set(FILES) - {"readings", "comments"}
    for name, frame in frames.items():
        assert frame.columns[0] == "study", name
        assert (frame["study"] == "s").all()
        if "question" in frame:
            assert frame.columns[1] == "question", name


def test_the_reference_names_every_table_and_column(study: Study, frames: Frames) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/files.md").read_text(encoding="utf-8")
    analysis = page.partition("### Analysis")[2]
    told = dict(re.findall(r"^\| `(\w+)\.csv` \| (`[^|]*) \|$", analysis, re.MULTILINE))
    assert list(told) == list(FILES)
    words = study.readings.assign(words="x")
    made = {"comments": tables(replace(study, readings=words)).frames()["comments"], **frames}
    for name, frame in made.items():
        columns = [column for column in frame.columns[1:] if "mean rank" not in column]
        spans = re.findall(r"`([^`<]*)`", told[name])
        assert [column for span in spans for column in span.split(", ")] == columns, name
    assert told["friedman"].endswith("then `mean rank <condition>` of each")
    first = told["readings"].split("`")[1].split(", ")
    assert first == list(study.readings.columns[1 : 1 + len(first)])
    rest = {column.partition(".")[2] for column in study.readings.columns[1 + len(first) :]}
    assert set(re.findall(r"<id>\.(\w+)", told["readings"])) == rest - {""}


def test_questions_and_times_are_counted(study: Study) -> None:
    done: list[int] = []
    tables(replace(study, questions=study.questions[2:]), done.append)
    assert done == [1, 1, 1]


def test_readers_are_counted(created: Path) -> None:
    study = simulated(created, GIVES_UP)
    found = tables(study)
    assert found.notes == [
        "there: no AUROC, as every reader judged 0 cases with and 0 without the finding under "
        "every condition, and 2 of each are needed"
    ]
    rows = found.frames()["readers"].set_index("reader")
    own = study.readings[study.readings["reader"] == "reader-3"]
    assert rows.loc["reader-1", ["maps", "judged", "repeats", "repeats_judged"]].tolist() == [
        *(36, 36, 9, 9),
    ]
    third = rows.loc["reader-3"]
    assert third["judged"] + third["repeats_judged"] == own["answered"].sum() == 28 - 1
    assert third["edits"] == own["edits"].sum() > 0
    assert third["median_seconds"] == own["seconds"].median()


def test_missing_answers_are_counted(created: Path) -> None:
    study = simulated(created, GIVES_UP)
    found = tables(study).frames()
    missing = found["missing"].set_index(["question", "condition"])["missing"]
    for condition in study.conditions:
        rows = study.first[study.first["condition"] == condition]
        assert missing["useful", condition] == rows["useful"].isna().sum()
        assert missing["place", condition] == (~rows["answered"]).sum()
        assert missing["words", condition] == len(rows)
    total = missing["useful"].sum()
    test = only(found["tests"], analysis="mixed model")
    assert (test["missing"], test["answers"]) == (total, 3 * 36 - total)
    assert total > 0


def test_steps_are_counted(study: Study, frames: Frames) -> None:
    rows = frames["distribution"]
    for condition in study.conditions:
        given = study.first[study.first["condition"] == condition]
        for finding, part in (
            *(("all", given), ("present", given[given["truth"] == 1])),
            ("absent", given[given["truth"] == 0]),
        ):
            own = rows[(rows["condition"] == condition) & (rows["finding"] == finding)]
            counts = np.bincount(part["useful"].astype(int), minlength=6)
            assert own["count"].tolist() == counts.tolist()
            assert own["share"].sum() == pytest.approx(1)


def test_each_readers_means(study: Study, frames: Frames) -> None:
    means = study.first.groupby(["reader", "condition"])["useful"].mean()
    for _, row in frames["reader_means"].iterrows():
        assert row["mean"] == pytest.approx(means[row["reader"], row["condition"]])
        assert row["answers"] == 12


def test_ranks_are_scipys(study: Study, frames: Frames) -> None:
    table = study.first.pivot(index=["reader", "case"], columns="condition", values="useful")
    blocks = {
        "reading": table,
        "case": table.groupby("case").mean(),
        "reader": table.groupby("reader").mean(),
    }
    for unit, part in blocks.items():
        expected = stats.friedmanchisquare(*(part[name] for name in study.conditions))
        row = only(frames["friedman"], blocks_are=unit)
        assert (row["statistic"], row["p"]) == (
            pytest.approx(expected[0]),
            pytest.approx(expected[1]),
        )
        pair = only(frames["wilcoxon"], blocks_are=unit, first="A", second="B")
        assert pair["mean_difference"] == pytest.approx((part["A"] - part["B"]).mean())


def test_kappa_is_scikit_learns(study: Study, frames: Frames) -> None:
    first, again = wide(study, "useful"), wide(study, "useful", repeat=True)
    rows = frames["agreement"]
    steps = list(range(6))
    options = {"weights": "quadratic", "labels": steps}
    row = only(rows, kind="between", measure="weighted kappa", readers="reader-1 and reader-3")
    expected = cohen_kappa_score(first["reader-1"], first["reader-3"], **options)
    assert row["value"] == pytest.approx(expected)
    both = pd.concat([first["reader-2"], again["reader-2"]], axis=1).dropna()
    row = only(rows, kind="within", measure="weighted kappa", readers="reader-2")
    assert row["value"] == pytest.approx(cohen_kappa_score(*both.to_numpy(int).T, **options))
    assert row["pairs_of_answers"] == len(both) == 9
    seen = wide(study, "there")
    row = only(rows, question="there", kind="between", measure="kappa",
               readers="reader-1 and reader-2")  # fmt: skip
    assert row["value"] == pytest.approx(cohen_kappa_score(seen["reader-1"], seen["reader-2"]))


def test_intraclass_correlation_is_the_analysis_of_variance(study: Study, frames: Frames) -> None:
    """ICC(3,1) = (MS cases - MS error) / (MS cases + (k - 1) MS error)."""
    ratings = wide(study, "useful").xs("B", level="condition").to_numpy(float)
    n, k = ratings.shape
    rest = ratings - ratings.mean(1, keepdims=True) - ratings.mean(0) + ratings.mean()
    cases = k * ratings.mean(1).var(ddof=1)
    error = (rest**2).sum() / ((n - 1) * (k - 1))
    row = only(frames["agreement"], kind="between", condition="B", measure="ICC(3,1)")
    assert row["value"] == pytest.approx((cases - error) / (cases + (k - 1) * error))
    assert row["pairs_of_answers"] == n == 12


def test_aurocs_are_scikit_learns(study: Study, frames: Frames) -> None:
    for _, row in frames["auroc_readers"].iterrows():
        own = study.first[
            (study.first["reader"] == row["reader"])
            & (study.first["condition"] == row["condition"])
        ]
        assert row["auroc"] == pytest.approx(roc_auc_score(own["truth"], own["there.score"]))
    means = frames["auroc_readers"].groupby("condition")["auroc"].mean()
    for _, row in frames["auroc"].iterrows():
        assert row["auroc"] == pytest.approx(means[row["condition"]])
        assert (row["cases"], row["left_out"]) == (12, 0)
    assert set(frames["auroc"]["readers"]) == {"random readers", "fixed readers"}


def test_shares_are_counted(study: Study, frames: Frames) -> None:
    for condition in study.conditions:
        rows = study.first[study.first["condition"] == condition]
        sick, well = rows[rows["truth"] == 1], rows[rows["truth"] == 0]
        for measure, values in (
            ("sensitivity", sick["there"] == 1),
            ("specificity", well["there"] == 0),
            ("hit rate", rows["place.hit"].dropna()),
            ("mean overlap", rows["place.overlap"].dropna()),
        ):
            row = only(frames["shares"], condition=condition, measure=measure)
            assert row["value"] == pytest.approx(values.mean())
            assert row["readings"] == len(values)
            assert row["low"] <= row["value"] <= row["high"]
    rates = frames["shares"][frames["shares"]["measure"] == "hit rate"].set_index("condition")
    row = only(frames["share_differences"], measure="hit rate", first="A", second="C")
    assert row["difference"] == pytest.approx(rates["value"]["A"] - rates["value"]["C"])


def test_times_are_quartiles(study: Study, frames: Frames) -> None:
    for _, row in frames["times"].iterrows():
        seconds = study.first[study.first[row["by"]] == row["name"]]["seconds"]
        assert row["median"] == pytest.approx(seconds.median())
        assert row["lower_quartile"] == pytest.approx(seconds.quantile(0.25))
    assert frames["times"]["name"].tolist()[:3] == ["A", "B", "C"]


def test_words_are_kept_with_what_they_are_about(study: Study) -> None:
    said = study.readings.copy()
    said.loc[said.index[5], "words"] = "=1+1, <b>"
    [row] = tables(replace(study, readings=said)).rows["comments"]
    about = said.iloc[5]
    names = ("reader", "case", "condition")
    assert [row[name] for name in names] == [about[name] for name in names]
    assert (row["question"], row["text"]) == ("words", "=1+1, <b>")


def test_a_question_that_nobody_answered_is_a_note(study: Study) -> None:
    silent = replace(study, readings=study.readings.assign(useful=np.nan, there=np.nan))
    found = tables(silent)
    assert found.notes == ["useful: nobody answered it", "there: nobody answered it"]
    assert "means" not in found.frames()


def test_without_both_classes_there_is_no_auroc(study: Study) -> None:
    question = study.questions[1]
    assert isinstance(question, Presence)
    sick = replace(study, readings=study.readings[study.readings["truth"] == 1])
    assert aurocs(sick, question).notes == [
        "there: no AUROC, as every reader judged 8 cases with and 0 without the finding under "
        "every condition, and 2 of each are needed"
    ]
    unsure = question.model_copy(update={"confidence": False})
    assert aurocs(study, unsure).notes == ["there: no AUROC, as no confidence was asked"]


def test_one_reader_has_no_agreement_with_others(study: Study) -> None:
    alone = replace(
        study,
        readers=("reader-1",),
        readings=study.readings[study.readings["reader"] == "reader-1"],
    )
    found = tables(alone).frames()
    assert set(found["agreement"]["kind"]) == {"within"}
    assert set(found["auroc"]["readers"]) == {"fixed readers"}
    deviations = found["deviations"]
    main = deviations[deviations["analysis"] == "mixed model"]
    assert main["intercepts_of"].tolist() == ["case", "rest"]
