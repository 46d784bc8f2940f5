"""Answers as columns: scores, hits and overlaps worked out by hand."""

import math

import pytest

from medrobust.errors import MedrobustError
from medrobust.study.analysis.answered import columns
from medrobust.study.questions import Location, Presence, Scale, Words

BOXES = [[10.0, 10.0, 4.0, 2.0], [20.0, 0.0, 2.0, 2.0]]
USEFUL = Scale(id="useful", text="?")
SURE = Presence(id="there", text="?")
POINT = Location(id="place", text="?")
BOX = Location(id="place", text="?", shape="box")


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value or (math.isnan(found[name]) and math.isnan(value)), name


def test_a_step_is_a_number():
    same(columns(USEFUL, "4", []), {"useful": 4.0})
    same(columns(USEFUL, "", []), {"useful": math.nan})
    same(columns(USEFUL, None, []), {"useful": math.nan})


def test_confidence_is_negative_for_absent():
    names = ("there", "there.confidence", "there.score")
    present = columns(SURE, '{"confidence":80,"present":true}', [])
    same(present, dict(zip(names, (1.0, 80.0, 80.0), strict=True)))
    absent = columns(SURE, '{"confidence":80,"present":false}', [])
    same(absent, dict(zip(names, (0.0, 80.0, -80.0), strict=True)))
    same(columns(SURE, None, []), dict.fromkeys(names, math.nan))
    plain = Presence(id="there", text="?", confidence=False)
    same(columns(plain, '{"present":true}', []), {"there": 1.0, "there.score": 1.0})


@pytest.mark.parametrize(
    ("x", "y", "hit"), [(10, 10, 1), (14, 12, 1), (14.1, 12, 0), (21, 1, 1), (0, 0, 0)]
)
def test_a_point_hits_inside_any_true_box(x, y, hit):
    found = columns(POINT, f'{{"x":{x},"y":{y}}}', BOXES)
    same(found, {"place.x": x, "place.y": y, "place.marked": 1.0, "place.hit": hit})


def test_a_box_hits_with_its_middle_and_overlaps_by_its_area():
    found = columns(BOX, '{"h":2,"w":4,"x":12,"y":10}', BOXES)  # shifted by half of its width
    assert (found["place.hit"], found["place.overlap"]) == (1.0, pytest.approx(4 / 12))
    exact = columns(BOX, '{"h":2,"w":2,"x":20,"y":0}', BOXES)
    assert (exact["place.hit"], exact["place.overlap"]) == (1.0, 1.0)
    far = columns(BOX, '{"h":1,"w":1,"x":0,"y":30}', BOXES)
    assert (far["place.hit"], far["place.overlap"]) == (0.0, 0.0)


def test_nowhere_is_a_miss_where_something_is_and_unknown_elsewhere():
    nowhere = columns(BOX, "", BOXES)
    assert (nowhere["place.marked"], nowhere["place.hit"], nowhere["place.overlap"]) == (0, 0, 0)
    negative = columns(POINT, "", [])
    assert negative["place.marked"] == 0
    assert math.isnan(negative["place.hit"])
    unanswered = columns(POINT, None, BOXES)
    assert math.isnan(unanswered["place.marked"])
    assert math.isnan(unanswered["place.hit"])


def test_texts_stay():
    words = Words(id="words", text="?")
    assert columns(words, "é\n<b>", []) == {"words": "é\n<b>"}
    assert columns(words, None, []) == {"words": ""}


@pytest.mark.parametrize(
    ("question", "cell", "name"),
    [
        (USEFUL, "6", "useful (scale)"),
        (USEFUL, "-1", "useful (scale)"),
        (SURE, '{"present":true}', "there (presence)"),
        (SURE, "yes", "there (presence)"),
        (POINT, "[1,2]", "place (location)"),
        (BOX, '{"x":1,"y":2}', "place (location)"),
    ],
)
def test_what_is_no_answer_is_refused(question, cell, name):
    with pytest.raises(MedrobustError) as error:
        columns(question, cell, [])
    assert str(error.value) == (
        f"expected answers to question {name}, found something else: the server would not have "
        "accepted it, see `medrobust study verify`"
    )
