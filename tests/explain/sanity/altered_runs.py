"""Runs that stand for others: the same networks under other settings, from another folder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from medrobust.config import Config
from medrobust.explain.subject import Subject
from medrobust.rundir import RunDir


@dataclass(frozen=True)
class Altered(RunDir):
    """A run in a folder of its own, which need not exist."""

    original: RunDir
    settings: Mapping[str, Any]
    store: Mapping[str, str]

    def config(self) -> Config:
        """The original's, altered."""
        return self.original.config().model_copy(update=dict(self.settings))

    def provenance(self) -> dict[str, Any]:
        """The original's, of another training store."""
        found = self.original.provenance()
        return found | {"store": found["store"] | dict(self.store)}


def altered(subject: Subject, store: Mapping[str, str] | None = None, **settings: Any) -> Subject:
    """A subject whose run seems to have been trained with these settings, on this store."""
    path = subject.run.path / "altered"
    return replace(subject, run=Altered(path, subject.run, settings, store or {}))
