"""A whole study through its pages, without a browser."""

import re
from collections.abc import Callable

import pytest
from rooms import START, Served, Visitor

from medrobust.study.integrity import verify

Serve = Callable[..., Served]


def test_a_whole_study(served: Served) -> None:
    ann = served.visitor("ann")
    items = served.items("ann")
    page = ann.read()
    assert "You will read 5 cases in 2 blocks, after 1 for practice that is not counted." in page
    assert "red speaks for the finding, blue against it, and what stays clear says nothing." in page
    for number, item in enumerate(items):
        assert ann.going_on() == item
        assert f"/item/{item}" in ann.read()
        assert ann.client.get(f"/item/{item}").status_code == 200
        ann.judge(item, useful=number % 6)
    assert "You have read all cases" in ann.read()
    done = ann.client.post("/finish", data=_finishing(ann.read()))
    assert done.status_code == 303
    code = re.search(r"<code>(\d+-[0-9a-f]{20})</code>", ann.read())
    assert code
    findings = verify(served.folder, [code[1]])
    assert {f.check: f.verdict for f in findings if f.check != "key"} == {
        **{"database": "ok", "chain": "ok", "rules": "ok", "head": "ok", "receipt": "ok"},
    }
    answers = served.room.answers.latest("ann").answers
    assert [answers[item]["useful"] for item in items] == [0, 1, 2, 3, 4, 5]
    bodies = [link.body for link in served.room.answers.events("ann") if link.kind == "shown"]
    assert bodies[0] == '{"block":null,"position":0,"practice":true}'
    assert bodies[1] == '{"block":0,"position":1,"practice":false}'
    assert bodies[5] == '{"block":1,"position":5,"practice":false}'


def _finishing(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(form|event)" value="([^"]+)"', page))


def test_the_case_page_says_where_it_is(served: Served) -> None:
    ann = served.visitor("ann")
    practice, first, second, third, fourth, _ = served.items("ann")
    page = ann.client.get(f"/item/{practice}").text
    assert "Practice · Case 1 of 1" in page
    assert "How useful is it for this finding: effusion?" in page
    assert "Finish practice" in page
    ann.judge(practice)
    page = ann.client.get(f"/item/{first}").text
    assert "Block 1 of 2 · Case 1 of 3" in page
    assert f'data-before="" data-after="/item/{second}"' in page
    for item in (first, second):
        ann.judge(item)
    page = ann.client.get(f"/item/{third}").text
    assert "Finish block" in page
    assert 'data-after=""' in page
    assert fourth not in page


def test_what_was_answered_is_there_again(served: Served) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    place = {"x": 3.5, "y": 20}
    ann.send(item, "shown")
    ann.answer(item, useful=2, words="left\nbase")
    ann.answer(item, there={"present": False, "confidence": 30}, place=place)
    ann.send(item, "viewed", {"window": [100, 50], "zoom": 2, "layout": "over"})
    again = served.visitor("ann")
    assert again.going_on() == item
    page = again.client.get(f"/item/{item}").text
    assert re.search(r'name="useful" value="2" checked', page)
    assert re.search(r'name="there" value="no" checked', page)
    assert 'value="30" data-touched="1"' in page
    assert "left\nbase</textarea>" in page
    assert "&#34;place&#34;: {&#34;x&#34;: 3.5, &#34;y&#34;: 20}" in page
    assert "&#34;layout&#34;: &#34;over&#34;" in page


def test_required_questions_hold_a_reader(served: Served) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    ann.send(item, "shown")
    ann.answer(item, useful=2)
    refused = ann.send(item, "finished")
    assert refused.status_code == 409
    assert refused.json() == {"error": "expected an answer to there, found none"}
    ann.answer(item, there={"present": True, "confidence": 0})
    assert ann.send(item, "finished").status_code == 200


def test_a_withdrawn_answer_is_none(served: Served) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    ann.send(item, "shown")
    ann.answer(item, useful=2, there={"present": True, "confidence": 0})
    ann.answer(item, useful=None)
    assert ann.send(item, "finished").status_code == 409


def test_back_within_a_block_only(served: Served) -> None:
    ann = served.visitor("ann")
    practice, first, second, third, fourth, _ = served.items("ann")
    for item in (practice, first):
        ann.judge(item)
    assert ann.client.get(f"/item/{first}").status_code == 200
    ann.send(first, "shown")
    assert ann.going_on() == first  # exactly where the reader was
    assert ann.answer(first, useful=5).status_code == 200
    assert served.room.answers.events("ann")[-1].kind == "edited"
    assert ann.client.get(f"/item/{practice}").status_code == 303
    assert ann.answer(practice, useful=5).status_code == 409
    for item in (second, third):
        ann.judge(item)
    assert ann.going_on() == fourth
    assert ann.answer(third, useful=5).status_code == 409


def test_no_way_back_where_the_study_allows_none(serve: Serve) -> None:
    served = serve(back=False)
    ann = served.visitor("ann")
    practice, first, second, *_ = served.items("ann")
    for item in (practice, first):
        ann.judge(item)
    page = ann.client.get(f"/item/{second}").text
    assert 'id="back"' not in page
    assert 'data-before=""' in page
    assert ann.client.get(f"/item/{first}").status_code == 303
    assert ann.client.get(f"/item/{first}/image").status_code == 404
    assert ann.answer(first, useful=5).json() == {
        "error": "item: expected one that is to be read now, found another"
    }


def test_only_the_next_case_is_there_beforehand(served: Served) -> None:
    ann = served.visitor("ann")
    practice, _, second, third, *_ = served.items("ann")
    ann.judge(practice)
    assert ann.client.get(f"/item/{second}").status_code == 200
    assert ann.client.get(f"/item/{second}/map").status_code == 200
    assert ann.send(second, "shown").status_code == 409
    assert ann.client.get(f"/item/{third}").status_code == 303
    assert ann.client.get(f"/item/{third}/map").status_code == 404


def test_a_block_waits_for_the_washout(serve: Serve) -> None:
    served = serve(washout_days=14)
    ann = served.visitor("ann")
    *early, fourth, fifth = served.items("ann")
    for item in early:
        ann.judge(item)
    assert "The next one opens on\n" in ann.read()
    assert "15 January 2030, 08:00 UTC" in ann.read()
    assert ann.send(fourth, "shown").status_code == 409
    assert ann.client.get(f"/item/{fourth}/image").status_code == 404
    served.clock.move(days=14, seconds=-1)
    ann = served.visitor("ann")
    assert ann.client.get(f"/item/{fourth}").status_code == 303
    served.clock.move(seconds=1)
    assert ann.send(fourth, "shown").status_code == 200
    served.clock.now = START  # a clock that goes backwards locks nobody out of a begun block
    ann = served.visitor("ann")
    assert ann.answer(fourth, useful=1).status_code == 200
    assert ann.going_on() == fourth
    assert ann.client.get(f"/item/{fifth}").status_code == 200


def test_practice_needs_no_washout(serve: Serve) -> None:
    served = serve(washout_days=14)
    ann = served.visitor("ann")
    ann.judge(served.items("ann")[0])
    assert "Practice is over. The study begins now: 5 cases in 2 blocks." in ann.read()


def test_without_practice_or_blocks(serve: Serve) -> None:
    served = serve(practice=0, blocks=(2,))
    ann = served.visitor("ann")
    assert "The study begins now: 2 cases." in ann.read()
    page = ann.client.get(f"/item/{ann.going_on()}").text
    assert ">Case 1 of 2<" in page


def test_nothing_is_saved_after_closing(served: Served) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    ann.send(item, "shown")
    form = ann.form()
    event = {"id": "00000000-0000-4000-8000-000000000001", "kind": "answered",
             "body": {"values": {"useful": 1}}}  # fmt: skip
    headers = {"X-Form-Token": form}
    url = f"/item/{item}/events"
    first = ann.client.post(url, json=event, headers=headers)
    served.room.answers.close_study()
    again = ann.client.post(url, json=event, headers=headers)
    assert again.json() == first.json()  # its receipt may have been lost
    late = event | {"id": "00000000-0000-4000-8000-000000000002"}
    refused = ann.client.post(url, json=late, headers=headers)
    assert refused.status_code == 409
    assert refused.json() == {"error": "the study is closed: nothing more is accepted"}
    assert "This study is closed." in ann.read()
    assert ann.client.get(f"/item/{item}").status_code == 303
    assert "This study is closed." in served.visitor("bob").read()


def test_what_is_sent_again_is_saved_once(served: Served) -> None:
    """Also when the reader has gone on meanwhile, as after a lost receipt."""
    ann = served.visitor("ann")
    practice, first, *_ = served.items("ann")
    ann.judge(practice)
    ann.send(first, "shown")
    ann.answer(first, useful=1, there={"present": True, "confidence": 1})
    one = "00000000-0000-4000-8000-000000000001"
    codes = [ann.send(first, "finished", id=one).json() for _ in range(2)]
    assert codes[0] == codes[1]
    kinds = [link.kind for link in served.room.answers.events("ann")]
    assert kinds.count("finished") == 2


def test_two_readers_at_once(served: Served) -> None:
    ann, bob = served.visitor("ann"), served.visitor("bob")
    for mine, other in zip(served.items("ann"), served.items("bob"), strict=True):
        ann.judge(mine, useful=1)
        bob.judge(other, useful=4)
        assert bob.client.get(f"/item/{mine}").status_code == 404
    for reader, value in (("ann", 1), ("bob", 4)):
        answers = served.room.answers.latest(reader).answers
        assert set(answers) == set(served.items(reader))
        assert {given["useful"] for given in answers.values()} == {value}


def test_a_server_that_starts_again_knows_everybody(served: Served) -> None:
    ann = served.visitor("ann")
    ann.judge(served.items("ann")[0])
    restarted = Served(served.folder, served.clock, served.room, served.tokens)
    cookies = ann.client.cookies
    again = Visitor(restarted.client(), "ann")
    again.client.cookies = cookies
    assert again.going_on() == served.items("ann")[1]


def test_the_admin_sees_counts_and_no_answer(served: Served) -> None:
    ann = served.visitor("ann")
    practice, first, *_ = served.items("ann")
    ann.judge(practice, words="a secret thought")
    ann.judge(first, words="a secret thought")
    served.room.tokens.revoke("bob")
    admin = served.visitor("admin")
    page = admin.client.get("/progress").text
    rows = [re.findall(r">([^<>]+)</t[hd]>", row) for row in re.findall(r"<tr>.*</tr>", page)]
    assert rows[1:] == [
        ["ann", "block 1", "1", "5", "1", "1", "works"],
        ["bob", "not begun", "0", "5", "0", "0", "none"],
    ]
    head = served.room.answers.head()
    assert head
    assert head.code in page
    assert "thought" not in page
    assert not any(item in page for item in served.items("ann"))
    assert admin.client.get("/read").status_code == 403
    assert ann.client.get("/progress").status_code == 404


@pytest.mark.parametrize("has_deep", [True, False])
def test_pictures_are_those_of_the_item(serve: Serve, has_deep: bool) -> None:
    served = serve(has_deep=has_deep)
    ann = served.visitor("ann")
    item = ann.going_on()
    named = served.room.study.items[item]
    for kind in ("image", "map", *(["deep"] if has_deep else [])):
        response = ann.client.get(f"/item/{item}/{kind}")
        name = getattr(named, kind)
        assert response.content == (served.folder / "pictures" / name).read_bytes()
        assert response.headers["content-type"] == "image/png"
    assert ann.client.get(f"/item/{item}/deep").status_code == (200 if has_deep else 404)
