import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.inspection import inspect_store, samples, write_inspection

VOID = {"meta", "img", "br", "hr", "link"}


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(store: Store, folder: Path) -> str:
    out = folder / "inspection.html"
    write_inspection(store, inspect_store(store), out)
    return out.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    plain = re.sub(r"<(style|svg).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", plain.replace("\xa0", " ").replace("\u2060", ""))


def test_the_page_stands_alone_and_can_be_read_without_seeing(
    any_store: Store, tmp_path: Path
) -> None:
    page = page_of(any_store, tmp_path)
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    tags = outline.tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"] for tag, a in tags if tag == "a"} <= {f"#{name}" for name in ids}
    sources = [a.get("src") or a.get("href") or "" for tag, a in tags if tag in ("img", "image")]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert all(a["alt"] for tag, a in tags if tag == "img")
    assert all(a["aria-label"] for tag, a in tags if a.get("role") == "img")
    assert page.count("<table") == page.count("<caption")
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags}


def test_no_patient_is_named_and_names_are_escaped(any_store: Store, tmp_path: Path) -> None:
    page = page_of(any_store, tmp_path)
    assert "secret" not in page
    assert "<b>" not in page
    assert "Discs &amp; noise" in page


def test_the_same_store_gives_the_same_page(plain: Store, tmp_path: Path) -> None:
    assert page_of(plain, tmp_path) == page_of(plain, tmp_path)


def test_the_page_says_what_matters(plain: Store, tmp_path: Path) -> None:
    text = text_of(page_of(plain, tmp_path))
    assert "59 images 24 × 30, grey, 8 bits" in text
    assert (
        "2 images in 1 group of identical ones; none in several splits; 1 group with differing"
        in text
    )
    assert "1 pair with similar perceptual hashes" in text
    assert "the file ends too early 1 img007.png" in text
    assert "Splits differ: age: training against test" in text
    assert "Not shown, since nearly every value differs: note." in text


def test_pictures_are_of_the_finding_and_split(plain: Store) -> None:
    found = samples.grids(plain, samples.Camera(plain))
    assert list(found) == [*plain.findings, samples.NO_FINDING]
    for finding, blocks in list(found.items())[:-1]:
        positive = plain.table[plain.table[f"label:{finding}"] == 1]
        for block, split in zip(blocks, ("train", "val", "test"), strict=True):
            ids = set(positive.loc[positive["split"] == split, "image_id"])
            assert block.total == len(ids)
            assert len(block.thumbs) == min(4, len(ids))
            assert {thumb.image_id for thumb in block.thumbs} <= ids
            assert all(
                shape.kind == ("finding" if shape.name == finding else "other")
                for thumb in block.thumbs
                for shape in thumb.shapes
            )


def test_boxes_are_drawn_where_they_are(make_store: Callable[[str], Store]) -> None:
    store = make_store("exclusive")
    shapes = samples.Camera(store).thumb(0, "Effusion").shapes
    assert [(s.kind, s.name, s.path) for s in shapes] == [
        ("box", "Effusion", "M2.0 4.0h6.0v8.0h-6.0Z")
    ]


def test_boxes_of_other_slices_are_not_drawn(make_store: Callable[[str], Store]) -> None:
    store = make_store("volume")
    row = int((store.labels == 1).any(axis=1).argmax())
    assert samples.Camera(store).thumb(row).shapes
    store.boxes.loc[:, ["z", "d"]] = [4.0, 2.0]  # the middle one is 3
    assert not samples.Camera(store).thumb(row).shapes
    store.__dict__.pop("boxes")


def test_a_folder_that_is_not_there(plain: Store, tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"^expected an existing folder for the report, found"):
        write_inspection(plain, inspect_store(plain), tmp_path / "no" / "page.html")


def test_no_pytorch_is_needed() -> None:
    check = "import sys, medrobust.inspection; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
