"""No answer is lost or doubled, whatever happens to connection, session and time."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rooms import name_of
from visits import Site, Window

Open = Callable[..., Window]
Serve = Callable[..., Site]
NO_CONNECTION = "Failed to load resource: net::ERR_"


def open_case(site: Site, window: Window, name: str = "ann") -> Any:
    page = window.page
    page.goto(site.link(name))
    page.wait_for_url("**/read")
    page.click(".primary")
    window.ready()
    window.saved()
    return page


def forgive(window: Window, text: str) -> None:
    """The browser's own notes about what the test did to the connection, also late ones."""
    window.forgiven.append(text)


def test_an_answer_waits_for_the_connection(site: Serve, window: Open) -> None:
    study, ann = site(practice=0), window()
    page = open_case(study, ann)
    page.context.route("**/events", lambda route: route.abort())
    page.keyboard.press("4")
    page.wait_for_selector("#saved:has-text('no connection')")
    assert study.answers("ann")[0] == {}
    page.context.unroute("**/events")
    page.wait_for_selector("#saved:text-is('Saved')")
    assert study.answers("ann")[0] == {"useful": 4}
    assert study.kinds("ann").count("answered") == 1
    forgive(ann, NO_CONNECTION)


def test_a_lost_receipt_doubles_nothing(site: Serve, window: Open) -> None:
    study, ann = site(practice=0), window()
    page = open_case(study, ann)
    lost: list[int] = []

    def lose(route: Any) -> None:
        """The server saves; the browser never hears of it, three times."""
        if len(lost) == 3:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort()

    page.context.route("**/events", lose)
    page.keyboard.press("4")
    page.wait_for_timeout(300)
    page.wait_for_selector("#saved:text-is('Saved')")
    assert lost == [200, 200, 200]
    assert study.kinds("ann").count("answered") == 1
    assert study.kinds("ann").count("edited") == 0
    forgive(ann, NO_CONNECTION)


def test_a_new_session_in_another_tab_saves_what_waits(site: Serve, window: Open) -> None:
    study, ann = site(practice=0), window()
    page = open_case(study, ann)
    page.context.clear_cookies()
    page.keyboard.press("4")
    page.wait_for_selector("#saved:has-text('your session has ended')")
    other = page.context.new_page()
    other.goto(study.link("ann"))
    other.wait_for_url("**/read")
    page.wait_for_selector("#saved:text-is('Saved')")
    assert study.answers("ann")[0] == {"useful": 4}
    forgive(ann, "401")
    forgive(ann, "403")


def test_a_closed_study_says_so(site: Serve, window: Open) -> None:
    study, ann = site(practice=0), window()
    page = open_case(study, ann)
    study.served.room.answers.close_study()
    page.keyboard.press("4")
    page.wait_for_selector("text=the study is closed: nothing more is accepted")
    assert page.text_content("#saved") == "Not saved"
    assert study.answers("ann")[0] == {}
    page.click("text=Pause")
    page.wait_for_selector("text=This study is closed.")
    forgive(ann, "409")


def test_idle_time_is_told(site: Serve, window: Open) -> None:
    study, ann = site(practice=0, idle_seconds=60), window()
    ann.page.clock.install()
    page = open_case(study, ann)
    page.mouse.move(300, 300)
    page.clock.fast_forward(50_000)
    page.mouse.move(310, 300)
    page.clock.fast_forward(90_000)
    page.keyboard.press("4")
    ann.saved()
    page.wait_for_timeout(300)
    events = study.served.room.answers.events("ann")
    idle = [json.loads(link.body)["seconds"] for link in events if link.kind == "idle"]
    assert len(idle) == 1
    assert 29.5 < idle[0] < 32
    kinds = study.kinds("ann")
    assert kinds.index("idle") < kinds.index("answered")


def test_the_next_case_is_there_before_it_is_wanted(site: Serve, window: Open) -> None:
    study, ann = site(practice=0, blocks=(3,)), window()
    page = open_case(study, ann)
    for key in ("2", "y", "End"):
        page.keyboard.press(key)
    ann.saved()
    page.wait_for_load_state("networkidle")
    page.context.route(re.compile(r"/item/[0-9a-f]+(/map|/image)?$"), lambda route: route.abort())
    second = study.served.items("ann")[1]
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/item/{second}")
    ann.ready()
    assert page.text_content("#where").endswith("Case 2 of 3")
    page.wait_for_timeout(200)
    assert [link.item for link in study.served.room.answers.events("ann")][-1] == second
    forgive(ann, NO_CONNECTION)


def test_no_secret_and_no_other_place_in_any_address(site: Serve, window: Open) -> None:
    study, ann = site(practice=0, blocks=(2,)), window()
    page = open_case(study, ann)
    token = study.served.tokens["ann"]
    assert token not in page.evaluate("location.href")
    page.go_back()
    page.go_back()
    assert token not in page.evaluate("location.href")
    told = [url for url in ann.urls if not url.startswith("blob:")]
    assert all(url.startswith(f"{study.base}/") for url in told)
    sent = [url.partition("#")[0] for url in told]
    assert not any(token in url for url in sent)
    assert not any(name_of(kind, 0) in url for url in told for kind in ("image", "map"))


def test_a_pasted_link_works_too(site: Serve, window: Open) -> None:
    study, ann = site(), window()
    ann.page.goto(study.base)
    ann.page.fill("#token", study.link("ann"))
    ann.page.click("text=Enter")
    ann.page.wait_for_url("**/read")
    assert "Signed in as ann" in ann.page.text_content("main")


def test_texts_are_never_run(site: Serve, window: Open) -> None:
    nasty = "<img src=x onerror=document.title='hurt'><script>document.title='hurt'</script>"
    study, ann = site(practice=0, title=nasty), window()
    page = open_case(study, ann)
    page.fill("textarea", nasty)
    page.locator("textarea").blur()
    ann.saved()
    page.wait_for_timeout(200)
    page.reload()
    ann.ready()
    assert page.input_value("textarea") == nasty
    assert page.text_content(".name") == nasty
    assert page.title().endswith(nasty)


def test_readers_see_large_images_at_once(site: Serve, window: Open, tmp_path: Path) -> None:
    """1024 x 1024 pixels, also in 16 bits; how fast is measured elsewhere."""
    study, ann = site(practice=0, size=1024, has_deep=True), window()
    page = open_case(study, ann)
    assert page.eval_on_selector("canvas", "canvas => canvas.width") == 1024
    page.keyboard.press("1")
    ann.saved()
