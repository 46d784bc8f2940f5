"""How long a reader waits for a page with large images, in a real browser.

python benchmarks/study_page.py [--size 1024] [--cases 10] [--chromium /usr/bin/chromium] [--json F]

A case is ready when image and map are drawn and an answer would be taken. `reloaded`: nothing is in
the browser's memory; `next`: after an answer, when the page before has had its time to preload.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright

from made_study import make_study
from measure import report
from medrobust.study.hosting import Host
from medrobust.study.links import make_links

READY = "#case.ready"
THINKING = 2000
"""Milliseconds between a page and its answer."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medrobust-page-") as folder:
        study = make_study(Path(folder), readers=2, cases=given.cases, size=given.size)
        host = Host(study)
        link = make_links(study, host.url)["reader-1"]
        with host, sync_playwright() as started:
            browser = started.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
            waits = read(browser, link, given.cases)
            browser.close()
    rows = [
        {"page": name, "pages": len(found), "median, s": median(found), "longest, s": max(found)}
        for name, found in waits.items()
    ]
    report(f"Until the first answer, {given.size} x {given.size} pixels", rows, given.json)


def read(browser: Any, link: str, cases: int) -> dict[str, list[float]]:
    """Seconds until each case was ready."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(link)
    page.wait_for_url("**/read")
    waits = {"first": [until_ready(page, lambda: page.click(".primary"))], "next": []}
    waits["reloaded"] = [until_ready(page, page.reload)]
    for _ in range(cases - 1):
        page.wait_for_timeout(THINKING)
        page.keyboard.press("1")
        page.keyboard.press("y")
        page.locator(".sure input").click()
        page.wait_for_selector("#saved:text-is('Saved')")
        waits["next"].append(until_ready(page, partial(go_on, page, page.url)))
        waits["reloaded"].append(until_ready(page, page.reload))
    return waits


def go_on(page: Any, before: str) -> None:
    """To the next case."""
    page.click("text=Next case")
    page.wait_for_url(lambda url: url != before)


def until_ready(page: Any, act: Callable[[], object]) -> float:
    """Seconds from an action until a case can be answered."""
    begun = time.perf_counter()
    act()
    page.wait_for_selector(READY)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
