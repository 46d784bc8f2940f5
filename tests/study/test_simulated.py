"""Simulated readers: their answers fit the questions and have the biases they were given."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from made import FINDING, PLACE, PRESENT, SCALE, WORDS, make, mapped, simulated

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.rundir import RunDir
from medrobust.study.answers import Answers, read_events
from medrobust.study.integrity import verify
from medrobust.study.questions import Asked
from medrobust.study.simulated import Biases, SimulatedReaders, answer_study
from medrobust.study.web.material import Canvas
from medrobust.study.web.values import check_values, unanswered


@pytest.fixture(scope="module")
def created(
    standard_run: RunDir, tiny_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A study with every kind of question; nothing may change it."""
    root = tmp_path_factory.mktemp("simulated")
    run = mapped(standard_run, tiny_store, root)
    questions = (SCALE, PRESENT, PLACE, WORDS)
    return make(root / "study", run, tiny_store, conditions=3, questions=questions)


@pytest.fixture
def study(created: Path, tmp_path: Path) -> Path:
    """A copy without pictures, to be answered."""
    (tmp_path / "sealed").mkdir()
    for name in ("study.yaml", "items.json", "order.json", "sealed/key.json"):
        (tmp_path / name).write_bytes((created / name).read_bytes())
    return tmp_path


def items_of(study: Path) -> list[str]:
    return list(json.loads((study / "items.json").read_text())["items"])


def test_the_server_would_accept_every_answer(created: Path) -> None:
    readers = SimulatedReaders.of(created)
    told = yaml.safe_load((created / "study.yaml").read_text())
    questions = Asked.model_validate({"questions": told["questions"]}).questions
    for item in items_of(created):
        values = readers.values(item)
        check_values(values, questions, Canvas(width=32, height=32, deep=False))
        assert unanswered(values, questions) == []


def test_answers_depend_on_seed_and_item_alone(created: Path) -> None:
    items = items_of(created)
    one, two = SimulatedReaders.of(created, seed=3), SimulatedReaders.of(created, seed=3)
    first = {item: (one.values(item), one.seconds(item)) for item in items}
    second = {item: (two.values(item), two.seconds(item)) for item in reversed(items)}
    assert first == second
    other = SimulatedReaders.of(created, seed=4)
    changed = [other.values(item) != one.values(item) for item in items]
    assert np.mean(changed) > 0.9


def test_a_whole_study_is_answered_and_verifies(study: Path) -> None:
    readers = SimulatedReaders.of(study, Biases(edits=0.3))
    answer_study(study, readers)
    assert [finding for finding in verify(study) if finding.verdict == "wrong"] == []
    with Answers(study) as answers:
        states = [answers.latest(f"reader-{number}") for number in range(1, 5)]
    assert all(state.finished for state in states)
    given = {item: values for state in states for item, values in state.answers.items()}
    assert given == {item: readers.values(item) for item in items_of(study)}
    edited = {link.item for link in read_events(study) if link.kind == "edited"}
    assert edited == {item for item in items_of(study) if readers.hesitates(item)}
    assert 0.2 < len(edited) / len(given) < 0.4


def test_what_is_answered_is_not_answered_again(study: Path) -> None:
    readers = SimulatedReaders.of(study, Biases(stops={"reader-1": 0.1, "reader-2": 0.0}))
    answer_study(study, readers)
    before = read_events(study)
    given = sum(link.kind == "answered" for link in before)
    with pytest.raises(MedrobustError) as error:
        answer_study(study, readers)
    assert str(error.value) == (
        f"simulated readers: expected a study without answers, found {given} in {study}: make "
        "another with `medrobust study create`"
    )
    assert given > 0
    assert read_events(study) == before


def test_a_reader_who_gives_up_has_not_finished(study: Path) -> None:
    answer_study(study, SimulatedReaders.of(study, Biases(stops={"reader-2": 0.5})))
    with Answers(study) as answers:
        second, third = answers.latest("reader-2"), answers.latest("reader-3")
    assert (second.finished, third.finished) == (False, True)
    assert len(second.answers) == round(0.5 * len(third.answers))


def test_ratings_have_the_biases_they_were_given(created: Path) -> None:
    """Means over 30 studies of 48 readings each; 4 standard errors."""
    biases = Biases(scale={"B": 1.0, "C": -0.5}, pace={"C": 2.0}, aim=0.4)
    studies = [simulated(created, biases, seed).first for seed in range(30)]
    means = np.array([rows.groupby("condition")["useful"].mean() for rows in studies])
    assert means[:, 1].mean() - means[:, 0].mean() == pytest.approx(1.0, abs=0.13)
    assert means[:, 2].mean() - means[:, 0].mean() == pytest.approx(-0.5, abs=0.13)
    seconds = np.median([rows.groupby("condition")["seconds"].median() for rows in studies], axis=0)
    assert seconds[2] / seconds[0] == pytest.approx(2.0, abs=0.15)
    hits = np.concatenate([rows["place.hit"].dropna() for rows in studies])
    assert 0.4 < hits.mean() < 0.4 + 0.25  # some places that are anywhere lie in a box
    assert np.isin(hits, (0, 1)).all()


def test_a_condition_that_helps_to_see_has_fewer_errors(created: Path) -> None:
    studies = [simulated(created, Biases(sight={"B": 2.0}), seed).first for seed in range(10)]
    right = {
        name: np.mean([_right(rows[rows["condition"] == name]) for rows in studies])
        for name in ("A", "B", "C")
    }
    assert right["B"] > right["A"] + 0.1
    assert right["A"] == pytest.approx(right["C"], abs=0.06)


def _right(rows):
    return (rows["there"] == rows["truth"]).mean()


def test_without_noise_a_repeat_is_judged_alike(created: Path) -> None:
    rows = simulated(created, Biases(noise=0.0)).readings
    keys = ["reader", "case", "condition"]
    again = rows[rows["repeat"]].merge(rows[~rows["repeat"]], on=keys)
    assert len(again) == 4 * 9
    assert (again["useful_x"] == again["useful_y"]).all()
    assert set(rows["finding"]) == {FINDING}


def test_no_torch_is_needed() -> None:
    code = "import sys, medrobust.study.simulated; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
