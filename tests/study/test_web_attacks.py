"""What must not work, tried."""

import html
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rooms import Served, Visitor, hidden

from medrobust.study.sessions import Lifetime

Serve = Callable[..., Served]
ID = "00000000-0000-4000-8000-000000000001"


def saved(served: Served, *kinds: str) -> list[str]:
    return [link.body for link in served.room.answers.events() if link.kind in kinds]


# Addresses


@pytest.mark.parametrize(
    "name",
    [
        *("%2e%2e", "../sealed/key.json", "..%2f..%2fsealed%2fkey.json", "%2e%2e/%2e%2e/sealed"),
        *("....//....//study.yaml", "%00", "a" * 32 + "%00", "A" * 32, "0" * 31, "0" * 33),
        *("' OR 1=1 --", "%27%20OR%201=1", "<script>", "0" * 5000, "\u0660" * 32, "g" * 32),
        *("..\\..\\sealed\\key.json", "/etc/passwd", "file:///etc/passwd"),
    ],
)
def test_no_path_leads_out_of_the_items(served: Served, name: str) -> None:
    ann = served.visitor("ann")
    form = ann.form()
    for what in ("", "/image", "/map", "/deep"):
        response = ann.client.get(f"/item/{name}{what}")
        assert response.status_code == 404
        assert "SEALED" not in response.text
    event = {"id": ID, "kind": "shown", "body": {}}
    headers = {"X-Form-Token": form}
    posted = ann.client.post(f"/item/{name}/events", json=event, headers=headers)
    assert posted.status_code == 404
    assert saved(served, "shown") == []


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../study.yaml", "/static/%2e%2e/%2e%2e/app.py", "/static/study.css.j2"),
        *("/sealed/key.json", "/pictures", "/answers.sqlite", "/static/", "/.git/config"),
        *("/item/", "/templates/case.html.j2", "/items.json", "/order.json"),
    ],
)
def test_nothing_else_is_served(served: Served, path: str) -> None:
    assert served.visitor("ann").client.get(path).status_code == 404


def test_pictures_have_no_address_of_their_own(served: Served) -> None:
    ann = served.visitor("ann")
    item = served.room.study.items[served.items("ann")[0]]
    for name in (item.image, item.map):
        for path in (f"/pictures/{name}", f"/item/{name[:32]}/image", f"/static/{name}"):
            assert ann.client.get(path).status_code == 404


# Who one is


def test_another_readers_items_are_not_there(served: Served) -> None:
    ann = served.visitor("ann")
    for item in served.items("bob"):
        for what in ("", "/image", "/map"):
            assert ann.client.get(f"/item/{item}{what}").status_code == 404
        assert ann.send(item, "shown").status_code == 404
        assert ann.answer(item, useful=1).status_code == 404
    assert saved(served, "shown", "answered") == []


def test_without_a_session_nothing_is_told(served: Served) -> None:
    client, item = served.client(), served.items("ann")[0]
    for path in ("/read", f"/item/{item}", "/progress"):
        response = client.get(path)
        assert (response.status_code, response.headers["location"]) == (303, "/")
    assert client.get(f"/item/{item}/image").status_code == 401
    event = {"id": ID, "kind": "shown", "body": {}}
    assert client.post(f"/item/{item}/events", json=event).status_code == 401
    assert client.post("/finish", data={"form": "x"}).status_code == 401
    assert item not in client.get("/").text


@pytest.mark.parametrize("token", ["", "guess", "0" * 43, "'; DROP TABLE tokens; --", "x" * 5000])
def test_a_guessed_token_is_refused(served: Served, token: str) -> None:
    visitor = Visitor(served.client())
    response = visitor.enter(token)
    assert response.status_code == 403
    assert "This link doesn&#39;t work." in response.text
    assert served.room.cookie not in visitor.client.cookies
    assert token == "" or token not in response.text


def test_a_token_of_another_study_is_refused(serve: Serve) -> None:
    mine, other = serve(), serve()
    assert Visitor(mine.client()).enter(other.tokens["ann"]).status_code == 403


def test_guessing_is_slowed_down(served: Served) -> None:
    visitor = Visitor(served.client())
    assert [visitor.enter("wrong").status_code for _ in range(11)] == [403] * 10 + [429]
    refused = visitor.enter(served.tokens["ann"])
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert "Too many attempts." in refused.text


def test_a_revoked_link_ends_its_session(served: Served) -> None:
    ann = served.visitor("ann")
    served.room.tokens.revoke("ann")
    assert ann.client.get("/read").status_code == 303
    assert Visitor(served.client()).enter(served.tokens["ann"]).status_code == 403


def test_a_session_ends_when_it_is_not_used(served: Served) -> None:
    ann = served.visitor("ann")
    served.clock.move(seconds=Lifetime().idle + 1)
    assert ann.client.get("/read").status_code == 303
    ann = served.visitor("ann")
    served.clock.move(days=-10)
    assert ann.client.get("/read").status_code == 303  # nor by setting the clock back


@pytest.mark.parametrize("cookie", ["", "guess", "x" * 5000, "%00", '"', "a; b=c"])
def test_a_guessed_cookie_opens_nothing(served: Served, cookie: str) -> None:
    headers = {"Cookie": f"{served.room.cookie}={cookie}"}
    assert served.client().get("/read", headers=headers).status_code == 303


def test_signing_out_ends_the_session(served: Served) -> None:
    ann = served.visitor("ann")
    kept = dict(ann.client.cookies)
    assert ann.client.post("/leave", data={"form": ann.form()}).headers["location"] == "/"
    ann.client.cookies.update(kept)
    assert ann.client.get("/read").status_code == 303


# Forged posts


def test_a_post_without_its_sessions_token_is_refused(served: Served) -> None:
    ann, bob = served.visitor("ann"), served.visitor("bob")
    item = ann.going_on()
    event = {"id": ID, "kind": "shown", "body": {}}
    for forged in ({}, {"X-Form-Token": ""}, {"X-Form-Token": "0" * 64},
                   {"X-Form-Token": bob.form()}):  # fmt: skip
        response = ann.client.post(f"/item/{item}/events", json=event, headers=forged)
        assert response.status_code == 403
    for path in ("/leave", "/finish"):
        assert ann.client.post(path, data={"form": bob.form(), "event": ID}).status_code == 403
    assert saved(served, "shown") == []


def test_a_post_from_another_site_is_refused(served: Served) -> None:
    ann = served.visitor("ann")
    item, form = ann.going_on(), ann.form()
    for site in ("cross-site", "same-site"):
        headers = {"X-Form-Token": form, "Sec-Fetch-Site": site}
        event = {"id": ID, "kind": "shown", "body": {}}
        assert ann.client.post(f"/item/{item}/events", json=event, headers=headers).status_code == (
            403
        )
        assert ann.client.post("/leave", data={"form": form}, headers=headers).status_code == 403


def test_nobody_is_logged_in_by_another_site(served: Served) -> None:
    client = served.client()
    token = served.tokens["ann"]
    assert client.post("/enter", data={"token": token}).status_code == 403
    other = hidden(served.client().get("/").text, "form")  # of another browser
    client.get("/")
    assert client.post("/enter", data={"form": other, "token": token}).status_code == 403
    assert served.room.cookie not in client.cookies


def test_an_id_can_not_be_used_for_something_else(served: Served) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    ann.send(item, "shown")
    assert ann.send(item, "answered", {"values": {"useful": 1}}, id=ID).status_code == 200
    other = ann.send(item, "answered", {"values": {"useful": 5}}, id=ID)
    assert other.status_code == 409
    assert served.room.answers.latest("ann").answers[item] == {"useful": 1}


def test_another_readers_event_can_not_be_replayed(served: Served) -> None:
    ann, bob = served.visitor("ann"), served.visitor("bob")
    ann.send(ann.going_on(), "shown", id=ID)
    assert bob.send(ann.going_on(), "shown", id=ID).status_code == 404
    assert bob.send(bob.going_on(), "shown", id=ID).status_code == 200  # ids are each reader's own
    assert len(saved(served, "shown")) == 2


def test_addresses_answer_their_methods_only(served: Served) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    for path in ("/enter", "/leave", "/finish", f"/item/{item}/events"):
        assert ann.client.get(path).status_code == 405
    for path in ("/read", "/", f"/item/{item}", f"/item/{item}/image", "/progress"):
        assert ann.client.post(path, data={}).status_code == 405
        assert ann.client.delete(path).status_code == 405


# Bodies


def posted(visitor: Visitor, content: bytes, kind: str = "application/json") -> int:
    headers = {"X-Form-Token": visitor.form(), "Content-Type": kind}
    url = f"/item/{visitor.going_on()}/events"
    response = visitor.client.post(url, content=content, headers=headers)
    assert response.headers["content-security-policy"]
    return int(response.status_code)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        *((b"", 400), (b"{", 400), (b"\xff\xfe", 400), (b"[" * 50_000, 400), (b"NaN", 400)),
        *((b"null", 422), (b"[]", 422), (b'"text"', 422), (b"{}", 422), (b"1", 422)),
        (b'{"id": 1, "kind": "shown"}', 422),
        (b'{"id": "%s", "kind": "closed"}' % ID.encode(), 422),
        (b'{"id": "%s", "kind": "shown", "reader": "bob"}' % ID.encode(), 422),
        (b'{"id": "%s", "kind": "shown", "body": {"position": 4}}' % ID.encode(), 422),
        (b'{"id": "%s", "kind": "shown", "body": []}' % ID.encode(), 422),
        (b'{"id": "not-an-id", "kind": "shown"}', 422),
        (b'{"id": "%s", "kind": "idle", "body": {"seconds": -1}}' % ID.encode(), 422),
        (b'{"id": "%s", "kind": "idle", "body": {"seconds": 1e999}}' % ID.encode(), 422),
        (b'{"id": "%s", "kind": "answered", "body": {"values": 3}}' % ID.encode(), 422),
        (b'{"id": "%s", "kind": "answered", "body": {}}' % ID.encode(), 422),
        (b"1" * 5000, 400),
    ],
)
def test_malformed_bodies_are_refused(served: Served, content: bytes, status: int) -> None:
    assert posted(served.visitor("ann"), content) == status
    assert saved(served, "shown", "answered", "idle") == []


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "", "text/html"])
def test_only_json_is_an_event(served: Served, kind: str) -> None:
    event = json.dumps({"id": ID, "kind": "shown", "body": {}}).encode()
    assert posted(served.visitor("ann"), event, kind) == 415


def test_oversized_bodies_are_refused(served: Served) -> None:
    ann = served.visitor("ann")
    assert posted(ann, b" " * 65_537) == 413
    headers = {"X-Form-Token": ann.form(), "Content-Type": "application/json"}
    url = f"/item/{ann.going_on()}/events"

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    assert ann.client.post(url, content=endless(), headers=headers).status_code == 413
    long = {"form": "x", "token": "y" * 70_000}
    assert served.client().post("/enter", data=long).status_code == 413
    many = {f"name{number}": "" for number in range(50)}
    assert served.client().post("/enter", data=many).status_code == 400


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 400, "0x10", "65537"])
def test_lengths_that_lie_are_refused(served: Served, length: str) -> None:
    ann = served.visitor("ann")
    url = f"/item/{ann.going_on()}/events"
    headers = {"X-Form-Token": ann.form(), "Content-Type": "application/json"}
    given = headers | {"Content-Length": length}
    assert ann.client.post(url, content=b"{}", headers=given).status_code == 413


@pytest.mark.parametrize(
    "values",
    [
        *({"useful": 6}, {"useful": -1}, {"useful": 2.0}, {"useful": "2"}, {"useful": True}),
        *({"useful": [1]}, {"other": 1}, {"": 1}, {}, {"useful": 10**400}),
        *({"there": True}, {"there": {"present": True}}, {"there": {"confidence": 5}}),
        {"there": {"present": 1, "confidence": 5}},
        {"there": {"present": True, "confidence": 101}},
        {"there": {"present": True, "confidence": 5, "more": 1}},
        *({"place": {"x": 1}}, {"place": {"x": -1, "y": 0}}, {"place": {"x": 25, "y": 0}}),
        *({"place": {"x": 10**400, "y": 0}}, {"place": {"x": True, "y": 0}}, {"place": [1, 2]}),
        *({"place": {"x": "1", "y": 0}}, {"place": {"x": 1, "y": 1, "w": 2, "h": 2}}),
        *({"words": 3}, {"words": "x" * 101}, {"words": "\x00"}, {"words": "\ud800"}),
        {"words": ["text"]},
    ],
)  # fmt: skip
def test_what_answers_no_question_is_refused(served: Served, values: Any) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    ann.send(item, "shown")
    text = json.dumps({"id": ID, "kind": "answered", "body": {"values": values}})
    assert posted(ann, text.encode()) == 422
    assert saved(served, "answered") == []


@pytest.mark.parametrize(
    "view",
    [
        *({"zoom": 0}, {"zoom": "2"}, {"window": [1]}, {"window": [1, 10**9]}, {"layout": "x"}),
        *({"other": 1}, {}, {"opacity": 101}, {"pan": ["<b>", 1]}, {"hidden": 1.5}),
    ],
)
def test_what_no_viewer_can_be_set_to_is_refused(served: Served, view: Any) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    ann.send(item, "shown")
    assert ann.send(item, "viewed", view).status_code == 422


def test_nothing_is_answered_before_it_is_shown(served: Served) -> None:
    ann = served.visitor("ann")
    assert ann.answer(ann.going_on(), useful=1).json() == {
        "error": "item: expected one that was shown to this reader, found another"
    }


# Texts

NASTY = [
    "</textarea><script>alert(1)</script>",
    "'; DROP TABLE events; --",
    '" onfocus="alert(1)" autofocus="',
    "{{ 7 * 7 }} {% raw %}",
    "=HYPERLINK(1)",
    "\u202e\u2066 العربية 放射科",
]


@pytest.mark.parametrize("text", NASTY)
def test_texts_come_back_as_texts(served: Served, text: str) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    ann.send(item, "shown")
    assert ann.answer(item, words=text).status_code == 200
    page = ann.client.get(f"/item/{item}").text
    area = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert area
    assert html.unescape(area[1]) == text
    assert "<script>alert" not in page
    assert 'onfocus="' not in page
    told = re.search(r'data-answers="([^"]*)"', page)
    assert told
    assert json.loads(html.unescape(told[1])) == {"words": text}
    assert served.room.answers.latest("ann").answers[item] == {"words": text}


@pytest.mark.parametrize("text", NASTY)
def test_titles_findings_and_questions_are_texts(serve: Serve, text: str) -> None:
    question = {"id": "useful", "kind": "scale", "text": text, "hint": text, "steps": [text, text]}
    served = serve(title=text, questions=[question])
    ann = served.visitor("ann")
    for page in (ann.read(), ann.client.get(f"/item/{ann.going_on()}").text):
        assert "<script>alert" not in page
        assert 'onfocus="' not in page
        assert text in html.unescape(page)


# Responses


def responses(served: Served) -> Iterator[Any]:
    ann = served.visitor("ann")
    item = ann.going_on()
    for path in ("/", "/read", f"/item/{item}", f"/item/{item}/image", f"/item/{item}/map"):
        yield ann.client.get(path)
    for path in ("/static/study.js", "/static/study.css", "/nothing", "/item/x", "/finish"):
        yield ann.client.get(path)
    yield ann.send(item, "shown")
    yield ann.send(item, "answered", {"values": {"useful": 9}})
    yield served.visitor("admin").client.get("/progress")
    yield Visitor(served.client()).enter("wrong")


def test_every_response_has_the_headers(served: Served) -> None:
    for response in responses(served):
        policy = dict(
            part.strip().split(" ", 1)
            for part in response.headers["content-security-policy"].split(";")
        )
        assert policy == {
            **{"default-src": "'none'", "script-src": "'self'", "style-src": "'self'"},
            **{"img-src": "'self' data: blob:", "connect-src": "'self'", "form-action": "'self'"},
            **{"base-uri": "'none'", "frame-ancestors": "'none'"},
        }
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert not {"etag", "last-modified", "server"} & set(response.headers)


def test_pages_hold_nothing_that_the_policy_forbids(served: Served) -> None:
    for response in responses(served):
        if response.headers["content-type"].startswith("text/html"):
            page = response.text
            assert not re.search(r"<style|style=|<script(?! type=\"module\" src)| on[a-z]+=", page)
            assert not re.search(r"(src|href|action)=\"(?!/[^/]|/\"|data:,)", page)


def test_a_failure_says_nothing_and_has_the_headers(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = served.visitor("ann")

    def fail(reader: str) -> None:
        raise RuntimeError("a path of this machine")

    monkeypatch.setattr(served.room.answers, "latest", fail)
    response = ann.client.get("/read")
    assert response.status_code == 500
    assert "machine" not in response.text
    assert response.headers["content-security-policy"]


def test_a_database_that_fails_loses_no_answer_silently(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    served.room.answers._connection.close()
    response = ann.send(item, "shown")
    assert response.status_code == 503
    assert response.json() == {"error": "The answer was not saved."}


def test_cookies_are_for_no_script_and_no_other_site(serve: Serve) -> None:
    served = serve()
    client = served.client()
    form = hidden(client.get("/").text, "form")
    response = client.post("/enter", data={"form": form, "token": served.tokens["ann"]})
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"{served.room.cookie}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie
    assert served.tokens["ann"] not in str(response.headers)


def test_nothing_a_reader_receives_holds_a_token_or_the_key(served: Served) -> None:
    for response in responses(served):
        told = response.text + str(response.headers)
        assert not any(token in told for token in served.tokens.values())
        assert "SEALED" not in told
        assert str(served.folder) not in told


def test_pictures_differ_in_nothing_but_their_content(served: Served) -> None:
    ann = served.visitor("ann")
    seen: dict[str, set[str]] = {"image": set(), "map": set()}
    for item in served.items("ann"):
        for kind, headers in seen.items():
            headers.add(str(ann.client.get(f"/item/{item}/{kind}").headers))
        ann.judge(item)
    assert {kind: len(headers) for kind, headers in seen.items()} == {"image": 1, "map": 1}


def test_the_seal_is_never_opened(served: Served) -> None:
    (served.folder / "sealed" / "key.json").unlink()
    (served.folder / "sealed").rmdir()
    ann = served.visitor("ann")
    ann.judge(ann.going_on())
    assert len(saved(served, "answered")) == 1


def test_answers_are_on_the_disk_when_acknowledged(served: Served) -> None:
    ann = served.visitor("ann")
    item = ann.going_on()
    ann.send(item, "shown")
    ann.answer(item, useful=4)
    with sqlite3.connect(f"file:{served.folder}/answers.sqlite?mode=ro", uri=True) as other:
        rows = other.execute("SELECT body FROM events WHERE kind = 'answered'").fetchall()
    other.close()
    assert rows == [('{"values":{"useful":4}}',)]
