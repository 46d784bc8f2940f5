"""The questions a reader answers about every map."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medrobust.config import Section

USEFULNESS = (
    "Not useful: it points nowhere near the abnormality, or everywhere",
    "Hardly useful: a trace of the abnormality among much that misleads",
    "Slightly useful: part of the abnormality, and as much elsewhere",
    "Moderately useful: most of the abnormality, with distracting parts elsewhere",
    "Very useful: the abnormality, with little elsewhere",
    "Extremely useful: exactly the abnormality and nothing else",
)
"""What the steps 0 to 5 mean."""


class _Question(Section):
    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    """The column of its answers."""
    text: str = Field(min_length=1, max_length=500)
    """As readers see it; `{finding}` becomes the finding's name."""
    hint: str = Field("", max_length=500)
    """Small print below the question."""
    required: bool = True
    """Whether a reader can go on without an answer."""


class Scale(_Question):
    """One of several steps in order, each with its meaning; the answer is its number from 0."""

    kind: Literal["scale"] = "scale"
    steps: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        USEFULNESS, min_length=2, max_length=10
    )


class Presence(_Question):
    """Present or absent; the answer is `{"present": true, "confidence": 0..100}`."""

    kind: Literal["presence"] = "presence"
    confidence: bool = True
    """Whether to ask how sure the reader is, 0 (a guess) to 100 (certain)."""


class Location(_Question):
    """A place in the image, in its pixels from the upper left corner.

    The answer is `{"x": …, "y": …}` of a point, `{"x", "y", "w", "h"}` of a box, or null: nowhere.
    """

    kind: Literal["location"] = "location"
    shape: Literal["point", "box"] = "point"
    required: bool = False


class Words(_Question):
    """Free text."""

    kind: Literal["text"] = "text"
    longest: int = Field(2000, ge=1, le=4000)
    """Characters."""
    required: bool = False


Question = Annotated[Scale | Presence | Location | Words, Field(discriminator="kind")]

USEFUL = Scale(
    id="useful",
    text="How useful is this map for finding the abnormality?",
    hint="Where you see no abnormality, judge how clearly the map says that there is none.",
)
"""What is asked if nothing else is said."""


class Asked(Section):
    """All questions, in their order."""

    questions: tuple[Question, ...] = Field((USEFUL,), min_length=1, max_length=20)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ids = [question.id for question in self.questions]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"questions: expected an id only once, found {twice[0]} twice")
        return self
