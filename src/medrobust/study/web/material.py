"""A study as its server knows it: never what an item is, which only the sealed key tells."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medrobust.errors import MedrobustError
from medrobust.study.questions import Question

_ITEM = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_FILE = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.png$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


Part = TypeVar("Part", bound=_Part)


class Item(_Part):
    """What a reader is shown at one place."""

    finding: str
    image: _FILE
    deep: _FILE | None
    map: _FILE
    practice: bool


class Canvas(_Part):
    """All pictures' size in pixels, and whether images also have 16 bits."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    deep: bool


class Settings(_Part):
    """What `study.yaml` says."""

    title: str
    readers: tuple[str, ...]
    questions: tuple[Question, ...]
    washout_days: float
    back: bool
    idle_seconds: int
    picture: Canvas


@dataclass(frozen=True)
class Stretch:
    """What is read in one go: the practice, or a block."""

    block: int | None
    """From 0; None for the practice."""
    start: int
    """The position of its first item among all of the reader's."""
    items: tuple[str, ...]

    @property
    def is_practice(self) -> bool:
        """Whether no analysis counts it."""
        return self.block is None


class _Reading(_Part):
    practice: tuple[_ITEM, ...]
    blocks: tuple[tuple[_ITEM, ...], ...]

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        return tuple(self._divided())

    def _divided(self) -> Iterator[Stretch]:
        start = 0
        for block, items in [(None, self.practice), *enumerate(self.blocks)]:
            if items:
                yield Stretch(block, start, items)
            start += len(items)


class _Items(_Part):
    items: Mapping[_ITEM, Item]


class _Order(_Part):
    readers: Mapping[str, _Reading]


@dataclass(frozen=True)
class Study:
    """All that is served, read once."""

    folder: Path
    settings: Settings
    items: Mapping[str, Item]
    readings: Mapping[str, _Reading]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a study's files, but nothing that is sealed.

        Raises:
            MedrobustError: a file is missing or is not as `medrobust study create` wrote it.
        """
        settings = _read(Settings, folder / "study.yaml")
        items, order = _read(_Items, folder / "items.json"), _read(_Order, folder / "order.json")
        study = cls(folder, settings, items.items, order.readers)
        study.check()
        return study

    def check(self) -> None:
        """Raise `MedrobustError` unless every reader's items and their pictures are there."""
        for reader in self.settings.readers:
            if reader not in self.readings:
                raise _broken(self.folder / "order.json", f"no items of {reader}")
        named = (item for stretch in self._all() for item in stretch.items)
        if any(item not in self.items for item in named):
            raise _broken(self.folder / "items.json", "items missing")
        for item in self.items.values():
            for name in filter(None, (item.image, item.deep, item.map)):
                if not self.picture(name).is_file():
                    raise _broken(self.picture(name), "no such picture")

    def picture(self, name: str) -> Path:
        """Where a picture lies."""
        return self.folder / "pictures" / name

    def stretches(self, reader: str) -> tuple[Stretch, ...]:
        """Practice, if there is any, and blocks of a reader, in order."""
        return self.readings[reader].stretches

    def _all(self) -> Iterator[Stretch]:
        for reader in self.readings:
            yield from self.stretches(reader)


def titled(text: str, finding: str) -> str:
    """A question's text with the finding's name in it."""
    return re.sub(r"\{finding\}", lambda _: finding, text)


def _read(form: type[Part], path: Path) -> Part:
    try:
        text = path.read_text(encoding="utf-8")
        told: Any = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
        return form.model_validate(told)
    except FileNotFoundError as error:
        raise MedrobustError(
            f"expected a study in {path.parent}, found no {path.name}: make one with `medrobust "
            "study create`"
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        count = error.error_count() if isinstance(error, ValidationError) else 1
        raise _broken(path, f"{count} things that differ") from error


def _broken(path: Path, found: str) -> MedrobustError:
    return MedrobustError(
        f"{path}: expected what `medrobust study create` wrote, found {found}: put it back as it "
        "was, or make the study again"
    )
