"""The viewer shows what is stored, and what is done with it is kept."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rooms import drawn
from visits import Site, Window

Open = Callable[..., Window]
Serve = Callable[..., Site]

PIXELS = """() => {
  const shown = document.querySelector(".mapped canvas");
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [shown.width, shown.height];
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(shown, 0, 0);
  const { data } = context.getImageData(0, 0, copy.width, copy.height);
  return [...data].filter((_, place) => place % 4 === 0);
}"""


def open_case(site: Site, window: Window) -> Any:
    page = window.page
    page.goto(site.link("ann"))
    page.wait_for_url("**/read")
    page.click(".primary")
    window.ready()
    settle(page)
    return page


def settle(page: Any) -> None:
    """Until what was asked for is painted."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def painted(page: Any) -> np.ndarray:
    settle(page)
    return np.array(page.evaluate(PIXELS)).reshape(64, 64)


def window_of(page: Any) -> tuple[int, int]:
    """Centre and width, as told once what was last asked for has been drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    _, width, _, centre = page.text_content("#level").split()
    return int(centre), int(width)


def views(site: Site, page: Any) -> dict[str, Any]:
    """What was kept of the viewer, after its pause."""
    page.wait_for_timeout(2500)
    events = site.served.room.answers.events("ann")
    return {
        tool: value
        for link in events
        if link.kind == "viewed"
        for tool, value in json.loads(link.body).items()
    }


@pytest.mark.parametrize("has_deep", [False, True])
def test_window_and_level_by_dragging(site: Serve, window: Open, has_deep: bool) -> None:
    study = site(practice=0, has_deep=has_deep)
    page = open_case(study, window())
    most = 65_535 if has_deep else 255
    stored = drawn(0, 64)[0][0].astype(float)
    stored = stored if has_deep else np.rint(stored / 257)
    assert np.abs(painted(page) - stored * 255 / most).max() <= 0.51
    box = page.locator(".plain .view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 200, y - 40, steps=4)
    page.mouse.up()
    centre, width = window_of(page)
    assert abs(width - most * 0.5) <= 1
    assert abs(centre - most * 0.6) <= 1
    exact = [most * 0.6, most * 0.5]
    expected = np.clip((stored - exact[0] + exact[1] / 2) / exact[1] * 255, 0, 255)
    assert np.abs(painted(page) - expected).max() <= 2
    kept = views(study, page)
    assert kept["window"] == pytest.approx(exact, abs=0.1)


def test_16_bits_show_what_8_bits_can_not(site: Serve, window: Open) -> None:
    page = open_case(site(practice=0, has_deep=True), window())
    for _ in range(12):  # the narrowest window
        page.keyboard.press("Shift+ArrowLeft")
    assert window_of(page)[1] == 257
    stored = drawn(0, 64)[0][0].astype(float)
    centre = window_of(page)[0]
    inside = np.abs(stored - centre) < 120
    expected = (stored - centre + 128.5) / 257 * 255
    assert inside.sum() > 5
    assert np.abs(painted(page) - expected)[inside].max() <= 1.5
    assert len(set(painted(page)[inside])) > 3  # one single step of 8 bits


def test_zoom_and_place_are_linked(site: Serve, window: Open) -> None:
    study = site(practice=0)
    page = open_case(study, window())
    transforms = "all => all.map((stage) => stage.style.transform)"
    box = page.locator(".plain .view").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 200)
    before = page.eval_on_selector_all(".stage", transforms)
    assert before[0] == before[1]
    page.mouse.wheel(0, -400)
    page.wait_for_selector("#scale:not(:text-is('100%'))")
    after = page.eval_on_selector_all(".stage", transforms)
    assert after[0] == after[1] != before[0]
    page.keyboard.press("p")
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 220)
    page.mouse.up()
    moved = page.eval_on_selector_all(".stage", transforms)
    assert moved[0] == moved[1] != after[0]
    page.click("#reset")
    assert page.eval_on_selector_all(".stage", transforms) == before
    kept = views(study, page)
    assert (kept["zoom"], kept["pan"]) == (1, [32, 32])


def test_what_is_below_the_mouse_stays_there(site: Serve, window: Open) -> None:
    study = site(practice=0)
    page = open_case(study, window())
    page.keyboard.press("m")
    box = page.locator(".mapped .view").bounding_box()
    at = {"x": box["width"] / 2 + 90, "y": box["height"] / 2 - 60}
    marks = []
    for step in (0, -300, -300):
        page.mouse.move(box["x"] + at["x"], box["y"] + at["y"])
        page.mouse.wheel(0, step)
        page.locator(".mapped .view").click(position=at)
        page.wait_for_timeout(200)
        marks.append(study.answers("ann")[0]["place"])
    assert page.text_content("#scale") != "100%"
    for mark in marks[1:]:
        assert abs(mark["x"] - marks[0]["x"]) < 0.3
        assert abs(mark["y"] - marks[0]["y"]) < 0.3


def test_two_fingers_zoom(site: Serve, window: Open) -> None:
    tablet = window(has_touch=True, viewport={"width": 1180, "height": 820})
    page = open_case(site(practice=0), tablet)
    box = page.locator(".mapped .view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", 0)):
        points = [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}]
        touch.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [] if kind == "touchEnd" else points},
        )
    page.wait_for_selector("#scale:text-is('200%')")
    assert window_of(page) == (128, 255)


def test_the_map_fades_and_hides(site: Serve, window: Open) -> None:
    study = site(practice=0)
    page = open_case(study, window())
    shown = "map => [map.checkVisibility({ visibilityProperty: true }), map.style.opacity]"
    look = lambda: page.eval_on_selector(".map", shown)  # noqa: E731
    assert look() == [True, "0.7"]
    for _ in range(3):
        page.keyboard.press(",")
    assert look() == [True, "0.4"]
    page.keyboard.down("h")
    assert look() == [False, "0.4"]
    page.keyboard.up("h")
    assert look() == [True, "0.4"]
    page.locator("#hide").hover()
    page.mouse.down()
    assert look() == [False, "0.4"]
    page.mouse.up()
    assert look() == [True, "0.4"]
    kept = views(study, page)
    assert (kept["opacity"], kept["hidden"]) == (40, 2)
    kinds = study.kinds("ann")
    assert kinds.count("viewed") <= 2  # gathered, not one for each step


def test_side_by_side_or_overlaid(site: Serve, window: Open) -> None:
    page = open_case(site(practice=0), window())
    assert page.is_visible(".plain canvas")
    page.keyboard.press("v")
    assert not page.is_visible(".plain canvas")
    wide = page.locator(".mapped .view").bounding_box()["width"]
    assert wide > 800
    page.click("text=Side by side")
    assert page.is_visible(".plain canvas")


@pytest.mark.parametrize(
    ("width", "height"), [(1280, 800), (1180, 820), (820, 1180), (768, 1024), (360, 740)]
)
def test_the_colours_are_explained_below_the_map(
    site: Serve, window: Open, width: int, height: int
) -> None:
    tablet = window(has_touch=True, viewport={"width": width, "height": height})
    page = open_case(site(practice=0), tablet)
    legend = page.locator(".colours").bounding_box()
    view = page.locator(".mapped .view").bounding_box()
    questions = page.locator("#questions").bounding_box()
    assert legend["y"] >= view["y"] + view["height"]
    right, below = legend["x"] + legend["width"], legend["y"] + legend["height"]
    assert right <= questions["x"] or below <= questions["y"]
    bars = [page.locator(f".colours .{name}").bounding_box() for name in ("against", "for")]
    assert all(bar["width"] >= 20 and bar["height"] > 10 for bar in bars)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_box_by_mouse_and_by_keyboard(site: Serve, window: Open) -> None:
    question = {"id": "place", "kind": "location", "text": "Where?", "shape": "box"}
    study = site(practice=0, questions=[question])
    page = open_case(study, window())
    page.click("text=Mark in the image")
    box = page.locator(".plain .view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y - 40)
    page.mouse.up()
    page.wait_for_timeout(300)
    scale = box["width"] / 64
    place = study.answers("ann")[0]["place"]
    assert place["x"] == pytest.approx(32, abs=0.5)
    assert place["y"] == pytest.approx(32 - 40 / scale, abs=0.5)
    assert place["w"] == pytest.approx(80 / scale, abs=0.5)
    assert place["h"] == pytest.approx(40 / scale, abs=0.5)
    page.keyboard.press("m")
    cursor = (place["x"] + place["w"], place["y"])  # where the mouse was last
    page.keyboard.press("Enter")
    for key in ("Shift+ArrowLeft", "Shift+ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    place = study.answers("ann")[0]["place"]
    assert (place["w"], place["h"]) == (3.2, 3.2)
    assert place["x"] == pytest.approx(cursor[0] - 3.2, abs=0.5)
    page.keyboard.press("x")
    page.wait_for_timeout(300)
    assert study.answers("ann")[0] == {"place": None}
    assert "Nowhere in this image" in page.text_content(".question")
