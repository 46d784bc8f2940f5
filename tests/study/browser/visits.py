"""A site, and a window in front of it."""

from dataclasses import dataclass
from typing import Any

from rooms import Served


@dataclass
class Site:
    """A study at an address."""

    served: Served
    base: str

    def link(self, name: str) -> str:
        return f"{self.base}/#{self.served.tokens[name]}"

    def kinds(self, reader: str) -> list[str]:
        return [link.kind for link in self.served.room.answers.events(reader)]

    def answers(self, reader: str) -> list[dict[str, Any]]:
        """By item, in the order of showing."""
        state = self.served.room.answers.latest(reader)
        return [state.answers.get(item, {}) for item in self.served.items(reader)]


@dataclass
class Window:
    """A browser window and what went wrong in it."""

    page: Any
    troubles: list[str]
    urls: list[str]
    forgiven: list[str]
    """Texts of troubles that a test expects."""

    def ready(self) -> None:
        """Wait until a case can be answered."""
        self.page.wait_for_selector("#case.ready")

    def saved(self) -> None:
        """Wait until the last answer is."""
        self.page.wait_for_selector("#saved:text-is('Saved')")
