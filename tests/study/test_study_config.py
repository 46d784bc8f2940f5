from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from medrobust.errors import MedrobustError
from medrobust.study.config import StudyConfig, load_study_config
from medrobust.study.questions import USEFULNESS, Location, Presence, Question, Scale, Words

SMALLEST = {
    "title": "Maps",
    "readers": 2,
    "conditions": [
        {"name": "a", "run": "standard/0"},
        {"name": "b", "run": "dual/0", "branch": "clean"},
    ],
}

Load = Callable[..., StudyConfig]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The settings of a file with these lines in it."""

    def loaded(**changes: Any) -> StudyConfig:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(SMALLEST | changes))
        return load_study_config(path)

    return loaded


@pytest.fixture
def complaint(load: Load, tmp_path: Path) -> Callable[..., str]:
    """What is said of a file with these lines in it, without the file's name."""

    def said(**changes: Any) -> str:
        with pytest.raises(MedrobustError) as error:
            load(**changes)
        return str(error.value).removeprefix(f"{tmp_path / 'study.yaml'}: ")

    return said


def test_what_is_not_said_is_as_the_study_of_the_paper(load: Load) -> None:
    config = load()
    assert config.readers == ("reader-1", "reader-2")
    assert [(q.id, q.kind) for q in config.questions] == [("useful", "scale")]
    assert config.questions[0].text == "How useful is this map for finding the abnormality?"
    assert len(USEFULNESS) == 6
    assert len(set(USEFULNESS)) == 6
    assert config.conditions[0].branch == "single"
    assert config.conditions[0].method == "gradient"
    assert (config.cases.count, config.repeats.share, config.repeated) == (30, 0.1, 6)
    assert config.cases.one_per_patient
    assert config.session.back


def test_blocks_follow_from_the_design(load: Load) -> None:
    assert load().blocks == 2
    assert load(design={"kind": "once"}).blocks == 1


def test_all_kinds_of_questions(load: Load) -> None:
    questions = [
        {"kind": "scale", "id": "clear", "text": "Is it clear?", "steps": ["no", "yes"]},
        {"kind": "presence", "id": "seen", "text": "Is the finding present: {finding}?"},
        {"kind": "location", "id": "where", "text": "Where?", "shape": "box"},
        {"kind": "text", "id": "why", "text": "Why?", "longest": 100},
    ]
    found = load(questions=questions).questions
    assert [type(question) for question in found] == [Scale, Presence, Location, Words]
    assert [question.required for question in found] == [True, True, False, False]


@given(st.sampled_from([Scale, Presence, Location, Words]))
def test_a_question_survives_being_written(kind: type[Scale]) -> None:
    question = kind(id="q", text="?")
    again: object = TypeAdapter(Question).validate_python(
        yaml.safe_load(yaml.safe_dump(question.model_dump(mode="json")))
    )
    assert again == question


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"titel": "x"}, "unknown key titel; did you mean title?"),
        ({"cases": {"cuont": 3}}, "unknown key cases.cuont; did you mean count?"),
        (
            {"repeats": {"share": 0.6}},
            "repeats.share: input should be less than or equal to 0.5, found 0.6",
        ),
        (
            {"readers": ["ann", "bob", "ann"]},
            "readers: expected different names, found ann twice",
        ),
        (
            {"findings": ["mass", "mass"]},
            "findings: expected different names, found mass twice",
        ),
        (
            {"conditions": [{"name": "a", "run": "x"}] * 2},
            "conditions: expected different names, found a twice",
        ),
        (
            {"questions": [{"kind": "text", "id": "why", "text": "Why?"}] * 2},
            "questions: expected an id only once, found why twice",
        ),
        (
            {"cases": {"count": 20}},
            "repeats.gap: expected at most 9 with cases.count = 20, found 10 (the default): set it "
            "lower, or ask for more cases",
        ),
        (
            {"cases": {"count": 20}, "repeats": {"gap": 12}},
            "repeats.gap: expected at most 9 with cases.count = 20, found 12: set it lower, or ask "
            "for more cases",
        ),
        (
            {"cases": {"count": 3}},
            "cases.count: expected at least 5, so that other maps lie between two of the same "
            "image, found 3",
        ),
        (
            {"cases": {"count": 0}},
            "cases.count: input should be greater than or equal to 1, found 0",
        ),
        (
            {"cases": {"practice": -1}},
            "cases.practice: input should be greater than or equal to 0, found -1",
        ),
        ({"conditions": []}, "conditions: expected at least 1, found 0"),
        ({"questions": []}, "questions: expected at least 1, found 0"),
        (
            {"questions": [{"kind": "scale", "id": "q", "text": "?", "steps": ["x"]}]},
            "questions.0.scale.steps: expected at least 2, found 1",
        ),
        (
            {"readers": [f"r{number}" for number in range(201)]},
            "readers: expected at most 200, found 201",
        ),
        (
            {"readers": ["a b"]},
            "readers.0: string should match pattern '^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$', found "
            "'a b'",
        ),
        (
            {"cases": {"count": 1}},
            "cases.count: expected at least one for each of 2 conditions, found 1",
        ),
    ],
)
def test_what_is_wrong_is_named(
    complaint: Callable[..., str], changes: dict[str, Any], said: str
) -> None:
    assert complaint(**changes) == said


@pytest.mark.parametrize("names", [["admin"], ["a b"], ["../x"], ["-x"], [""], ["ä"], []])
def test_readers_names_can_be_names_in_the_answers(
    complaint: Callable[..., str], names: list[str]
) -> None:
    assert complaint(readers=names).startswith("readers")


@pytest.mark.parametrize("count", [0, -1, 201, 10**9, True, "two", 2.5])
def test_readers_are_some(complaint: Callable[..., str], count: object) -> None:
    assert complaint(readers=count) == (
        f"readers: expected a number from 1 to 200 or a list of names, found {count!r}"
    )


@pytest.mark.parametrize(
    "condition", [{"branch": "../x"}, {"method": "a/b"}, {"branch": ".."}, {"name": "a/b"}]
)
def test_conditions_can_be_parts_of_paths(
    complaint: Callable[..., str], condition: dict[str, str]
) -> None:
    assert "string should match pattern" in complaint(
        conditions=[{"name": "a", "run": "x"} | condition]
    )


def test_the_gap_matters_where_images_come_again(load: Load) -> None:
    once = load(design={"kind": "once"}, repeats={"share": 0}, cases={"count": 4})
    assert once.repeated == 0


@pytest.mark.parametrize(("share", "least", "widest"), [(0, 4, 15), (0.1, 5, 13), (0.5, 8, 7)])
def test_what_is_asked_for_is_enough(
    load: Load, complaint: Callable[..., str], share: float, least: int, widest: int
) -> None:
    """(30 - 30 · share) // 2 maps apart at most; at least 2 apart needs so many cases."""
    near, far = ({"share": share, "gap": gap} for gap in (2, widest + 1))
    said = complaint(repeats=near, cases={"count": least - 1})
    assert said.startswith(f"cases.count: expected at least {least}, so that ")
    assert load(repeats=near, cases={"count": least}).cases.count == least
    said = complaint(repeats=far, cases={"count": 30})
    assert said.startswith(f"repeats.gap: expected at most {widest} with cases.count = 30, ")
    assert load(repeats={"share": share, "gap": widest}, cases={"count": 30})


def test_missing_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("title: Maps\n")
    with pytest.raises(MedrobustError) as error:
        load_study_config(path)
    assert str(error.value) == f"{path}: readers is missing; conditions is missing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "can't read .* \\(No such file or directory\\); give a YAML file with title"),
        ("a: [", "is not YAML"),
        ("- a", "should hold `title: …` and further lines"),
    ],
)
def test_files_that_hold_no_settings(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "study.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MedrobustError, match=said):
        load_study_config(path)
