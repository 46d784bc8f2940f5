"""Links lead somewhere, and the README's make commands exist."""

import re

import pytest
from markdown_pages import PAGES, ROOT, WRITTEN_LATER, blocks_of, without_code

LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: str) -> set[str]:
    """The names that a page's headings have as targets of links."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files_and_headings(page):
    broken = []
    for target in LINK.findall(without_code(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        there = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        name = there.relative_to(ROOT).as_posix()
        if name in WRITTEN_LATER and not there.exists():
            continue
        if not there.exists() or (anchor and anchor not in anchors(name)):
            broken.append(target)
    assert broken == []


def test_every_page_of_the_documentation_can_be_reached_from_the_readme():
    linked = set(LINK.findall(without_code("README.md")))
    assert {page for page in PAGES if page.startswith("docs/")} <= linked


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, flags=re.MULTILINE))
    named = {
        target
        for page in ("README.md", "CONTRIBUTING.md")
        for block in blocks_of(page)
        for target in re.findall(r"^make ([\w-]+)", block.text, flags=re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= targets


def test_readme_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
