"""Settings in YAML files, and what is wrong with them in words."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from medrobust.errors import MedrobustError


def read_yaml(path: Path, what: str, *, given: str, held: str) -> dict[str, Any]:
    """The settings in a YAML file of `what`.

    Raises:
        MedrobustError: no such file (`given` says what to give instead), no YAML, or no mapping
            (`held` is what it should hold).
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MedrobustError(f"{what}: can't read {path} ({error.strerror}); {given}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = str(error).replace("\n", " ")
        raise MedrobustError(f"{what}: {path} is not YAML ({place})") from error
    if not isinstance(settings, dict):
        raise MedrobustError(f"{what}: {path} should hold {held}")
    return settings


def complaints(error: ValidationError, nearest: Callable[[str], str]) -> str:
    """One clause per problem, with the key's full name; `nearest` gives a misspelt one's nearest.

    That is the empty text where nothing is near.
    """
    problems = error.errors()
    return "; ".join(_complaint(one, nearest) for one in problems if not _follows(one, problems))


def nearest_name(name: str, names: Sequence[str]) -> str:
    """The name that was most likely meant; empty if none is near."""
    return next(iter(difflib.get_close_matches(name, names, 1, cutoff=0.5)), "")


def _follows(problem: Any, problems: Sequence[Any]) -> bool:
    """Whether a list is too short only because entries in it, which have theirs, were not read."""
    place = problem["loc"]
    inner = (other["loc"] for other in problems if len(other["loc"]) > len(place))
    return problem["type"] == "too_short" and any(loc[: len(place)] == place for loc in inner)


def _complaint(problem: Any, nearest: Callable[[str], str]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = nearest(where)
        return f"unknown key {where}" + (f"; did you mean {near}?" if near else "")
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] in ("too_short", "too_long"):
        return f"{where}: {_counted(problem['ctx'])}"
    text = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {text[0].lower()}{text[1:]}, found {problem['input']!r}" if where else text


def _counted(bounds: Any) -> str:
    if "min_length" in bounds:
        return f"expected at least {bounds['min_length']}, found {bounds['actual_length']}"
    return f"expected at most {bounds['max_length']}, found {bounds['actual_length']}"
