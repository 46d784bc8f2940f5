"""Colours that can be told apart (WCAG 2.2, 1.4.3 and 1.4.11), and pages for screen readers."""

import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rooms import Served

from medrobust.report.pictures import saliency_limit
from medrobust.study.pictures import overlay
from medrobust.study.web.render import HERE

CSS = (HERE / "static" / "study.css").read_text()
COLOURS = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", CSS))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_that_of_the_standard() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("ground", ["ground", "sheet", "raised"])
@pytest.mark.parametrize(
    ("ink", "least"),
    [*((ink, 4.5) for ink in ("text", "quiet", "accent", "warm")), ("edge", 3), ("focus", 3)],
)
def test_texts_and_edges_stand_out(ink: str, ground: str, least: float) -> None:
    assert contrast(COLOURS[ink], COLOURS[ground]) >= least


def test_other_pairs_stand_out() -> None:
    assert contrast(COLOURS["on-accent"], COLOURS["accent"]) >= 4.5
    assert contrast("#ffffff", "#2b4a68") >= 4.5  # the chosen tool
    assert contrast(COLOURS["text"], "#16283a") >= 4.5  # the chosen answer
    assert contrast(COLOURS["text"], "#28303b") >= 4.5  # below the mouse
    for colour in ("#2b4a68", "#16283a", "#28303b"):
        assert colour in CSS


def test_nothing_comes_from_elsewhere() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)", (HERE / "static/study.js").read_text()
    )


def test_the_bars_have_the_colours_of_maps() -> None:
    """At zero, halfway and at the end, to a level of 255 and a percent."""
    drawn = np.zeros((100, 100), np.float32)
    drawn[0, :2] = 1, -1
    half = saliency_limit(drawn) / 2
    drawn[0, 2:4] = half, -half  # too little to move the limit by a level
    with Image.open(io.BytesIO(overlay(drawn))) as picture:
        colours = np.array(picture.convert("RGBA"), float)[0]
    for name, middle, end in (("for", colours[2], colours[0]), ("against", colours[3], colours[1])):
        rule = re.search(rf"\.colours \.{name} {{([^}}]*)}}", CSS)
        assert rule
        stops = re.findall(r"rgb\((\d+) (\d+) (\d+) / (\d+)%\)", rule[1])
        nothing, halfway, most = np.array(stops, float)
        assert nothing[3] == colours[4, 3] == 0
        for stop, colour in ((halfway, middle), (most, end)):
            assert np.abs(stop[:3] - colour[:3]).max() <= 1
            assert abs(stop[3] - colour[3] / 2.55) <= 1


def test_all_cases_have_the_same_legend(served: Served) -> None:
    ann = served.visitor("ann")
    legends = set()
    for item in served.items("ann"):
        page = ann.client.get(f"/item/{item}")
        found = re.search(r'<p class="colours".*?</p>', page.text, re.DOTALL)
        assert found, page.status_code
        legends.add(found[0])
        ann.judge(item)
    (legend,) = legends
    assert re.sub(r"<[^>]+>", " ", legend).split() == (
        ["Map:", "speaks", "against", "nothing", "speaks", "for", "the", "finding"]
    )
    assert 'role="img" aria-label="Colours of the map: blue speaks against the finding, ' in legend
    assert "style=" not in legend


class Controls(HTMLParser):
    """What can be used on a page, and how it is called."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.unnamed: list[str] = []
        self.ids: list[str] = []
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.labelled = set(re.findall(r'<label for="([^"]+)"', page))
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        if tag in ("input", "textarea") and given.get("type") != "hidden":
            inside = any(name == "label" for name, _, _ in self.open)
            if not (inside or given.get("aria-label") or given.get("id") in self.labelled):
                self.unnamed.append(self.get_starttag_text() or tag)
        if tag in ("button", "a", "label", "fieldset", "th"):
            self.open.append((tag, given, []))

    def handle_data(self, data: str) -> None:
        for _, _, texts in self.open:
            texts.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1][0] == tag:
            name, given, texts = self.open.pop()
            if not any(texts) and not given.get("aria-label"):
                self.unnamed.append(name)


def test_everything_that_can_be_used_has_a_name(served: Served) -> None:
    ann = served.visitor("ann")
    pages = [ann.client.get(path).text for path in ("/", "/read", f"/item/{ann.going_on()}")]
    pages.append(served.visitor("admin").client.get("/progress").text)
    for page in pages:
        controls = Controls(page)
        assert controls.unnamed == []
        assert len(set(controls.ids)) == len(controls.ids)
        assert '<html lang="en">' in page
        assert len(re.findall("<h1", page)) == 1
        assert len(re.findall("<main", page)) == 1
        for name in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', page):
            assert name in controls.ids
