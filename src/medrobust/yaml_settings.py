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
    return "; ".join(_complaint(problem, nearest) for problem in error.errors())


def nearest_name(name: str, names: Sequence[str]) -> str:
    """The name that was most likely meant; empty if none is near."""
    return next(iter(difflib.get_close_matches(name, names, 1, cutoff=0.5)), "")


def _complaint(problem: Any, nearest: Callable[[str], str]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = nearest(where)
        return f"unknown key {where}" + (f"; did you mean {near}?" if near else "")
    if problem["type"] == "missing":
        return f"{where} is missing"
    text = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {text[0].lower()}{text[1:]}, found {problem['input']!r}" if where else text
