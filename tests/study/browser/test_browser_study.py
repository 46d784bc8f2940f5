"""Whole studies in a real browser: by mouse, by keyboard only, by touch; by two at once."""

from collections.abc import Callable
from typing import Any

from visits import Site, Window

Open = Callable[..., Window]
Serve = Callable[..., Site]


def come_in(site: Site, window: Window, name: str = "ann") -> Any:
    window.page.goto(site.link(name))
    window.page.wait_for_url("**/read")
    return window.page


def test_by_mouse(site: Serve, window: Open) -> None:
    study, ann = site(blocks=(2,)), window()
    page = come_in(study, ann)
    page.click("text=Begin with practice")
    for place in range(3):
        ann.ready()
        page.click("label.step:has-text('Very useful')")
        page.click("text=Absent")
        page.locator(".sure input").click(position={"x": 2, "y": 20})
        page.click("text=Mark in the image")
        page.locator(".plain .view").click()
        page.fill("textarea", f"case {place}")
        page.click("#next")
        if place != 1:
            page.click("dialog .primary")
            page.wait_for_url("**/read")
            page.click(".primary")
        else:
            page.wait_for_selector("#where:has-text('Case 2 of')")
    page.wait_for_selector("text=You have finished the study.")
    for place, given in enumerate(study.answers("ann")):
        assert (given["useful"], given["words"]) == (4, f"case {place}")
        assert given["there"]["present"] is False
        assert given["there"]["confidence"] < 5
        assert abs(given["place"]["x"] - 32) < 0.5
        assert abs(given["place"]["y"] - 32) < 0.5
    kinds = study.kinds("ann")
    assert {kind: kinds.count(kind) for kind in ("opened", "shown", "finished")} == {
        **{"opened": 1, "shown": 3, "finished": 4},
    }
    assert "edited" not in kinds


def test_by_keyboard_only(site: Serve, window: Open) -> None:
    study, ann = site(blocks=(2,)), window()
    page = come_in(study, ann)
    keys = page.keyboard
    keys.press("Tab")
    keys.press("Enter")
    for place in range(3):
        ann.ready()
        keys.press(str(place))
        keys.press("y")
        keys.press("ArrowRight")
        for key in ("m", "ArrowRight", "ArrowUp", "Enter"):
            keys.press(key)
        keys.press("t")
        keys.type("hy b0 v")  # in a text hot keys are letters
        keys.press("Escape")
        keys.press("Enter")
        if place != 1:
            keys.press("Tab")  # what can't be undone has not the focus at first
            keys.press("Enter")
            page.wait_for_url("**/read")
            keys.press("Tab")
            keys.press("Enter")
        else:
            page.wait_for_selector("#where:has-text('Case 2 of')")
    page.wait_for_selector("text=You have finished the study.")
    for place, given in enumerate(study.answers("ann")):
        assert given == {
            **{"useful": place, "there": {"present": True, "confidence": 51}},
            **{"place": {"x": 32.64, "y": 31.36}, "words": "hy b0 v"},
        }


def test_by_tab_and_arrows_with_hot_keys_off(site: Serve, window: Open) -> None:
    study, ann = site(practice=0, blocks=(2,)), window()
    page = come_in(study, ann)
    page.click(".primary")
    ann.ready()
    page.uncheck("#keys")
    page.focus("#where")
    for key in ("3", "n", "v"):
        page.keyboard.press(key)
    assert page.locator(".question :checked").count() == 0
    page.locator("[name=useful]").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    ann.saved()
    page.locator("#next").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#where:has-text('Case 2 of')")
    assert not page.is_checked("#keys")
    [given, _] = study.answers("ann")
    assert given["useful"] == 1
    assert given["there"] == {"present": True, "confidence": 100}


def test_by_touch(site: Serve, window: Open) -> None:
    study = site(practice=0, blocks=(2,))
    tablet = window(has_touch=True, is_mobile=True, viewport={"width": 820, "height": 1180})
    page = come_in(study, tablet)
    page.tap(".primary")
    for place in range(2):
        tablet.ready()
        page.tap("label.step:has-text('Slightly useful')")
        page.tap("label.step:has-text('Present')")
        page.locator(".sure input").tap()
        page.tap("text=Mark in the image")
        page.locator(".mapped .view").tap()
        page.tap("#next")
        if place == 0:
            page.wait_for_selector("#where:has-text('Case 2 of')")
    page.tap("dialog .primary")
    page.wait_for_url("**/read")
    page.tap("text=Finish the study")
    page.wait_for_selector("text=You have finished the study.")
    for given in study.answers("ann"):
        assert given["useful"] == 2
        assert given["there"]["present"] is True
        assert 45 < given["there"]["confidence"] < 55
        assert abs(given["place"]["x"] - 32) < 0.5


def test_what_fingers_touch_is_large(site: Serve, window: Open) -> None:
    study = site(practice=0)
    tablet = window(has_touch=True, is_mobile=True, viewport={"width": 820, "height": 1180})
    page = come_in(study, tablet)
    page.click(".primary")
    tablet.ready()
    small = page.eval_on_selector_all(
        "button, a, .step, .choice label, input[type=range], textarea",
        "all => all.map(one => one.getBoundingClientRect()).filter(box => box.width && "
        "(box.height < 42 || box.width < 42)).length",
    )
    assert small == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_two_readers_at_once(site: Serve, window: Open) -> None:
    study = site(practice=0, blocks=(2,))
    windows = {"ann": window(), "bob": window()}
    for name, one in windows.items():
        come_in(study, one, name).click(".primary")
        one.ready()
    for number in range(2):
        for name, one in windows.items():
            one.page.keyboard.press("1" if name == "ann" else "5")
            one.page.keyboard.press("y")
            one.page.keyboard.press("End")
            one.page.locator("#next").click()
        if number == 0:
            for one in windows.values():
                one.page.wait_for_selector("#where:has-text('Case 2 of')")
    for name, one in windows.items():
        one.page.click("dialog .primary")
        one.page.wait_for_url("**/read")
        assert [given["useful"] for given in study.answers(name)] == [1 if name == "ann" else 5] * 2


def test_close_and_resume(site: Serve, window: Open) -> None:
    study, ann = site(practice=0, blocks=(3,)), window()
    page = come_in(study, ann)
    page.click(".primary")
    ann.ready()
    for key in ("2", "y", "End", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#where:has-text('Case 2 of')")
    for key in ("4", "v", "+", "+", ".", "t"):
        page.keyboard.press(key)
    page.keyboard.type("not finis")
    page.wait_for_timeout(2600)  # until the viewer's changes and the text were sent
    ann.saved()
    address = page.url
    page.context.close()

    again = window()
    page = come_in(study, again)
    assert "1 of 3 cases are read" in page.text_content("main")
    page.click("text=Go on")
    again.ready()
    assert page.url == address
    assert page.is_checked("[name=useful][value='4']")
    assert page.input_value("textarea") == "not finis"
    assert page.get_attribute(".panes", "data-layout") == "over"
    assert page.text_content("#scale") == "156%"
    assert page.input_value("#opacity") == "80"
    assert study.kinds("ann").count("opened") == 2


def test_back_and_forth(site: Serve, window: Open) -> None:
    study, ann = site(practice=0, blocks=(3,)), window()
    page = come_in(study, ann)
    page.click(".primary")
    ann.ready()
    for key in ("2", "y", "End", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#where:has-text('Case 2 of')")
    page.keyboard.press("5")
    page.click("#back")
    page.wait_for_selector("#where:has-text('Case 1 of')")
    ann.ready()
    assert page.is_checked("[name=useful][value='2']")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    page.wait_for_selector("#where:has-text('Case 2 of')")
    ann.ready()
    assert page.is_checked("[name=useful][value='5']")
    page.go_back()
    page.wait_for_selector("#where:has-text('Case 1 of')")
    ann.ready()
    assert page.is_checked("[name=useful][value='3']")
    assert [given.get("useful") for given in study.answers("ann")] == [3, 5, None]
    assert study.kinds("ann").count("edited") == 1
