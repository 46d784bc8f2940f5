"""Predictions that belong together: of unchanged images, and of a sweep's smaller radii."""

from collections.abc import Iterator, Mapping
from typing import Any

from medrobust.findings import UncheckedError
from medrobust.predictions import Predictions
from medrobust.verify.evidence import Evidence


def is_attacked(sidecar: Mapping[str, Any]) -> bool:
    """Whether an attack's worst cases were predicted, as they were found, not read back."""
    attack = sidecar["attack"]
    return bool(attack.get("attacked_branch")) and "/" not in str(attack.get("name"))


def is_clean(sidecar: Mapping[str, Any]) -> bool:
    """Whether unchanged images were predicted."""
    attack = sidecar["attack"]
    return attack.get("name") == "" and not attack.get("attacked_branch")


def clean_of(evidence: Evidence, stem: str) -> Predictions:
    """Those of the unchanged images, by the same network.

    Raises:
        UncheckedError: there are none, or of other images.
    """
    wanted = _identity(evidence.told(stem).sidecar)
    for told in evidence.predictions.values():
        if is_clean(told.sidecar) and _identity(told.sidecar) == wanted:
            return _of_same_images(evidence, stem, told)
    raise UncheckedError("the predictions of the unchanged images are not at hand")


def smaller_of(evidence: Evidence, stem: str) -> Iterator[tuple[float, Predictions | None]]:
    """The smaller radii of the same sweep, ascending, with their predictions if at hand.

    Raises:
        UncheckedError: some are of other images.
    """
    sidecar = evidence.told(stem).sidecar
    carried = sidecar["attack"].get("carried", [])
    for number, radius in enumerate(carried):
        smaller = {"eps": radius, "carried": carried[:number]}
        wanted = {**sidecar, "attack": {**sidecar["attack"], **smaller}}
        there = (told for told in evidence.predictions.values() if told.sidecar == wanted)
        found = next(there, None)
        yield radius, None if found is None else _of_same_images(evidence, stem, found)


def _identity(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """What a sidecar says of network and images."""
    return {name: value for name, value in sidecar.items() if name != "attack"}


def _of_same_images(evidence: Evidence, stem: str, other: Predictions) -> Predictions:
    own = evidence.told(stem).frame
    if other.frame["image_id"].tolist() != own["image_id"].tolist():
        raise UncheckedError("the predictions that it is compared with are of other images")
    return other
