"""What must be known of weights besides the numbers; safetensors carry it in their header."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from medrobust.config import Network
from medrobust.data.source import Task
from medrobust.data.table import RESERVED
from medrobust.errors import MedrobustError

KEY = "medrobust"
"""Of the header's metadata; its value is JSON."""
Regime = Literal["standard", "adversarial", "dual", "noise"]


class Description(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A network for images of known channels and size, and what its outputs mean."""

    findings: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """In the order of the outputs."""
    task: Task = "multilabel"
    channels: Annotated[int, Field(ge=1)]
    size: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, max_length=3)]
    """(H, W) or (D, H, W)."""
    network: Network
    regime: Regime = "standard"
    branch: str = ""
    """What it was in the run that it comes from."""
    input_mean: tuple[float, ...]
    """Of each channel, subtracted from images in [0, 1]."""
    input_spread: tuple[Annotated[float, Field(gt=0)], ...]
    """Of each channel, by which the difference is divided."""
    norm: Literal["linf", "l2"] = "linf"
    eps: Annotated[float, Field(ge=0)] = 0.005
    """Radius of the training's attack, in units of the image's range."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("input_mean", "input_spread"):
            count = len(getattr(self, name))
            if count != self.channels:
                raise ValueError(f"{name}: expected {self.channels} numbers, found {count}")
        if len(set(self.findings)) != len(self.findings):
            raise ValueError("findings: expected different names")
        if taken := RESERVED & {*self.findings}:
            raise ValueError(f"findings: {min(taken)!r} is the name of something else")
        if self.task == "exclusive" and len(self.findings) < 2:
            raise ValueError("task: expected several findings that exclude each other, found one")
        return self

    @property
    def normalises(self) -> bool:
        """Whether the network expects anything but images in [0, 1] as they are."""
        return {*self.input_mean} != {0.0} or {*self.input_spread} != {1.0}

    def metadata(self) -> dict[str, str]:
        """What stands in the header of a safetensors file."""
        return {"format": "pt", KEY: self.model_dump_json()}

    def changed(self, origin: str, **changes: Any) -> "Description":
        """The same with other values.

        Raises:
            MedrobustError: they contradict each other.
        """
        try:
            return Description.model_validate(self.model_dump() | changes)
        except ValidationError as error:
            raise MedrobustError(f"{origin}: {_first(error)}") from error


def read_description(path: Path) -> Description | None:
    """What the header of a safetensors file says; None where it says nothing, or for a `.pth`.

    Raises:
        MedrobustError: it says what can't be.
    """
    text = _header(path).get(KEY)
    if text is None:
        return None
    try:
        return Description.model_validate_json(text)
    except ValidationError as error:
        raise MedrobustError(f"{path}: its header's {KEY!r} entry: {_first(error)}") from error


def channel_values(given: Sequence[float], channels: int) -> tuple[float, ...]:
    """One number for all channels, or one for each."""
    return tuple(given) * channels if len(given) == 1 else tuple(given)


def _header(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise MedrobustError(f"{path} can't be read as safetensors ({error})") from error


def _first(error: ValidationError) -> str:
    """The first problem, in words."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    return f"{where}: {text}" if where else text
