"""The Markdown pages and their fenced blocks."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN_LATER = ("docs/results.md", "docs/pictures/report.png")
"""Made from trained runs, so that they may be absent."""
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if path.relative_to(ROOT).as_posix() not in WRITTEN_LATER
)
FENCED = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
FILE_NAME = re.compile(r"# ([\w-]+\.(?:yaml|py))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    is_run: bool
    place: str
    """Page and line, for messages."""

    @property
    def file(self) -> str | None:
        """The file that its first line says it is."""
        named = FILE_NAME.match(self.text)
        return named[1] if named else None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each call of medrobust in a shell block."""
        lines = self.text.replace("\\\n", " ").splitlines() if self.language == "sh" else []
        lines = [line.removeprefix("python -m ") for line in lines]
        calls = [shlex.split(line, comments=True) for line in lines if line[:9] == "medrobust"]
        return [words[1:] for words in calls]


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page that name their language, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["text"],
            found["reason"] is None,
            f"{page}:{text.count(chr(10), 0, found.start()) + 1}",
        )
        for found in FENCED.finditer(text)
    ]


def without_code(page: str) -> str:
    """A page's prose: no fenced blocks, no inline code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)
