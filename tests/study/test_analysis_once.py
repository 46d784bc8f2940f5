"""Studies that show every case once to each reader: what is planted comes out, what cannot be
said is said to be missing.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import PLACE, PRESENT, SCALE, make, mapped, simulated

from medrobust.data.store import Store
from medrobust.rundir import RunDir
from medrobust.study.analysis.analyse import analyse
from medrobust.study.analysis.effects import ORDINAL, PRIMARY, effects
from medrobust.study.analysis.tables import Tables, tables
from medrobust.study.export import export
from medrobust.study.simulated import Biases, SimulatedReaders, answer_study

MISSING = {"friedman", "wilcoxon", "auroc", "auroc_differences", "auroc_readers", "comments"}


@pytest.fixture(scope="module")
def run(
    standard_run: RunDir, tiny_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> RunDir:
    return mapped(standard_run, tiny_store, tmp_path_factory.mktemp("once"))


def made(folder: Path, run: RunDir, store: Store, readers: int, conditions: int = 2) -> Path:
    return make(
        folder / f"study-{readers}-{conditions}",
        *(run, store),
        conditions=conditions,
        questions=(SCALE, PRESENT, PLACE),
        readers=readers,
        cases={"count": 16, "negatives": 0.4, "practice": 1},
        repeats={"share": 0.2, "gap": 2},
        design={"kind": "once"},
    )


@pytest.fixture(scope="module")
def created(run: RunDir, tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four readers, two conditions, answered; nothing may change it."""
    study = made(tmp_path_factory.mktemp("created"), run, tiny_store, 4)
    answer_study(study, SimulatedReaders.of(study, Biases(scale={"B": 1.5})))
    return study


@pytest.fixture(scope="module")
def found(created: Path) -> Tables:
    return tables(simulated(created))


def test_every_case_is_seen_once_and_under_both_conditions_by_different_readers(
    created: Path,
) -> None:
    first = simulated(created).first
    assert not first.duplicated(["reader", "case"]).any()
    assert len(first) == 4 * 16
    counts = first.pivot_table(index="case", columns="condition", aggfunc="size", fill_value=0)
    assert (counts == 2).all(axis=None)


def test_what_was_planted_comes_out(created: Path, tmp_path: Path) -> None:
    out = tmp_path / "analysis"
    notes = analyse(created, out)
    rows = pd.read_csv(out / "differences.csv")
    row = rows[(rows["question"] == "useful") & (rows["analysis"] == PRIMARY)].iloc[0]
    assert row["low"] < -1.5 < row["high"] < 0
    assert row["p_holm"] < 0.05
    assert (row["first"], row["second"]) == ("A", "B")
    assert "for A − B (p by Holm)." in (out / "paragraph.txt").read_text()
    assert not [name for name in MISSING if (out / f"{name}.csv").exists()]
    page = (out / "index.html").read_text()
    assert all(note.split(", as")[0] in page for note in notes)


def test_estimates_are_right_on_average(created: Path) -> None:
    """Over 20 studies; 4 standard errors."""
    found = []
    for seed in range(20):
        study = simulated(created, Biases(scale={"B": 1.0}), seed)
        rows = effects(study, "useful", "useful", ordinal=False).differences
        found.append(next(row["difference"] for row in rows if row["analysis"] == PRIMARY))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(-1.0, abs=4 * error)
    assert error < 0.1


def test_tables_that_need_crossed_data_say_why_they_are_missing(found: Tables) -> None:
    assert not MISSING & found.frames().keys()
    # Of six pairs of readers, the two with the same row of the square share maps.
    assert found.notes == [
        "useful: no rank tests, as no reader judged a case under two conditions",
        "useful: 10 of 24 measures of agreement are missing, as no map was judged by both readers, "
        "or, for intraclass correlations, by all",
        "there: 4 of 14 measures of agreement are missing, as no map was judged by both readers, "
        "or, for intraclass correlations, by all",
        "there: no AUROC, as every reader judged 0 cases with and 0 without the finding under "
        "every condition, and 2 of each are needed",
    ]


def test_readers_of_the_same_maps_can_agree(found: Tables) -> None:
    rows = found.frames()["agreement"]
    alone = {f"reader-{number}" for number in range(1, 5)}  # with themselves
    assert set(rows[rows["measure"] == "weighted kappa"]["readers"]) == alone | {
        *("reader-1 and reader-3", "reader-2 and reader-4"),
    }


@pytest.mark.parametrize(("readers", "conditions"), [(2, 2), (3, 3)])
def test_few_readers_without_a_map_in_common(
    run: RunDir, tiny_store: Store, tmp_path: Path, readers: int, conditions: int
) -> None:
    study = simulated(made(tmp_path, run, tiny_store, readers, conditions), Biases(scale={"B": 2}))
    found = tables(study).frames()
    assert set(found["agreement"]["kind"]) == {"within"}
    rows = found["differences"]
    row = rows[(rows["analysis"] == PRIMARY) & (rows["second"] == "B")].iloc[0]
    assert row["low"] < -2 < row["high"]
    assert MISSING & found.keys() == set()


def test_one_reader_who_sees_every_case_once_has_no_model(
    run: RunDir, tiny_store: Store, tmp_path: Path
) -> None:
    found = tables(simulated(made(tmp_path, run, tiny_store, 1)))
    assert not {"means", "differences", "ordinal", "time_ratios"} & found.frames().keys()
    text = (
        "expected several readers, or cases judged more than once, found neither: a mixed model "
        "needs one of them"
    )
    assert f"useful, {PRIMARY}: {text}" in found.notes
    assert f"useful, {ORDINAL}: {text}" in found.notes
    assert f"reading times: {text}" in found.notes


def test_exports_and_the_key_count_alike(created: Path) -> None:
    """From 1, practice included in positions and without a block."""
    key = json.loads((created / "sealed" / "key.json").read_text())["items"]
    with export(created, "s")[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["item"] for row in rows} == set(key)
    for row in rows:
        entry = key[row["item"]]
        assert row["position"] == str(entry["position"])
        assert row["block"] == ("" if entry["practice"] else str(entry["block"]))
        assert entry["block"] == (None if entry["practice"] else 1)
    assert min(int(row["position"]) for row in rows) == 1
