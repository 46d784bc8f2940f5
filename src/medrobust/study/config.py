"""The settings of a reader study: a YAML file, checked before work."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from medrobust.config import Section
from medrobust.errors import MedrobustError
from medrobust.study.events import ADMIN
from medrobust.study.questions import Asked
from medrobust.yaml_settings import complaints, nearest_name, read_yaml

MOST_READERS = 200
LEAST_GAP = 2
"""Maps that two showings of an image are apart: at least one other lies between them."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,40}$")]
Reader = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$")]


class Condition(Section):
    """One kind of map: what is compared. Readers see none of these words."""

    name: Name
    """In the analysis."""
    run: str
    """`name/seed` of one of the runs; `name` where there is one seed of it only."""
    branch: str = Field("single", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    """`single`; `clean` or `adv` of a dual run."""
    method: str = Field("gradient", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    """Of the map; see `medrobust explain --methods`."""


class Cases(Section):
    """Which images are read."""

    count: int = Field(30, ge=1)
    """Every reader's, divided evenly among the findings."""
    negatives: float = Field(0.2, ge=0, lt=1)
    """Share of each finding's images that don't have it."""
    practice: int = Field(3, ge=0)
    """Further images that every reader starts with and that no analysis counts."""
    one_per_patient: bool = True
    """Whether all images are of different patients."""


class Repeats(Section):
    """Maps that a reader sees a second time without being told."""

    share: float = Field(0.1, ge=0, le=0.5)
    """Of a reader's maps."""
    gap: int = Field(10, ge=LEAST_GAP)
    """Two maps of the same image are at least so many maps apart, repeated or not."""


class Design(Section):
    """Who sees what, and when."""

    kind: Literal["crossed", "once"] = "crossed"
    """`crossed`: every reader sees every image under every condition, in as many blocks as there
    are conditions, and in no block twice (but for hidden repeats); `once`: every reader sees
    every image under one condition, which differs between readers."""
    washout_days: float = Field(0, ge=0)
    """Days between the end of a reader's block and the beginning of the next."""


class Session(Section):
    """What the reading room allows."""

    back: bool = True
    """Whether a reader may go back and change an answer; never into an earlier block."""
    idle_seconds: int = Field(60, ge=5, le=3600)
    """Seconds without any movement after which time doesn't count as reading time."""


class StudyConfig(Asked):
    """All settings of a reader study."""

    title: str = Field(min_length=1, max_length=200)
    """As readers see it: it should not tell what is compared."""
    seed: int = Field(0, ge=0)
    """Of the choice of images and their order."""
    readers: tuple[Reader, ...] = Field(min_length=1, max_length=MOST_READERS)
    """Their names, or how many: `reader-1` and so on."""
    conditions: tuple[Condition, ...] = Field(min_length=1, max_length=20)
    findings: tuple[str, ...] | None = None
    """Those of the store if not given."""
    split: str = "test"
    """Of the store."""
    cases: Cases = Cases()
    repeats: Repeats = Repeats()
    design: Design = Design()
    session: Session = Session()

    @field_validator("readers", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, list | tuple):
            return given
        if type(given) is not int or not 1 <= given <= MOST_READERS:
            raise ValueError(f"expected a number from 1 to {MOST_READERS} or a list of names")
        return tuple(f"reader-{number}" for number in range(1, given + 1))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_twice("readers", self.readers)
        if ADMIN in self.readers:
            raise ValueError(f"readers: expected other names than {ADMIN}, who runs the study")
        _refuse_twice("findings", self.findings or ())
        _refuse_twice("conditions", [condition.name for condition in self.conditions])
        if self.cases.count < len(self.conditions):
            raise ValueError(
                f"cases.count: expected at least one for each of {len(self.conditions)} "
                f"conditions, found {self.cases.count}"
            )
        if self.repeated or self.blocks > 1:
            self._refuse_gap()
        return self

    def _refuse_gap(self) -> None:
        """Raise `ValueError` if images can't come again so far apart."""
        count, gap, widest = self.cases.count, self.repeats.gap, self._widest(self.cases.count)
        if widest < LEAST_GAP:
            enough = next(
                more for more in itertools.count(count) if self._widest(more) >= LEAST_GAP
            )
            raise ValueError(
                f"cases.count: expected at least {enough}, so that other maps lie between two of "
                f"the same image, found {count}"
            )
        if gap > widest:
            whose = "" if "gap" in self.repeats.model_fields_set else " (the default)"
            raise ValueError(
                f"repeats.gap: expected at most {widest} with cases.count = {count}, found "
                f"{gap}{whose}: set it lower, or ask for more cases"
            )

    def _widest(self, count: int) -> int:
        """The largest gap that is possible with so many cases."""
        return (count - math.ceil(self._repeated(count) / self.blocks)) // 2

    @property
    def blocks(self) -> int:
        """Sittings of each reader."""
        return len(self.conditions) if self.design.kind == "crossed" else 1

    @property
    def repeated(self) -> int:
        """Maps that each reader sees twice."""
        return self._repeated(self.cases.count)

    def _repeated(self, count: int) -> int:
        return round(self.repeats.share * count * self.blocks)


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{what}: expected different names, found {twice[0]} twice")


def load_study_config(path: Path) -> StudyConfig:
    """The settings of a YAML file.

    Raises:
        MedrobustError: no such file, bad YAML, an unknown key (the nearest is named), a bad value.
    """
    settings = read_yaml(
        path,
        "study",
        given="give a YAML file with title, readers and conditions",
        held="`title: …` and further lines",
    )
    try:
        return StudyConfig.model_validate(settings)
    except ValidationError as error:
        raise MedrobustError(f"{path}: {complaints(error, _nearest)}") from error


def _nearest(name: str) -> str:
    """The last part counts: before it may stand the number of a condition."""
    sections = (StudyConfig, Condition, Cases, Repeats, Design, Session)
    keys = sorted({key for section in sections for key in section.model_fields})
    return nearest_name(name.rpartition(".")[2], keys)
