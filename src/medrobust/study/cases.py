"""Which images are read: chosen by finding, before anybody has seen a map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medrobust.errors import MedrobustError
from medrobust.study.chance import rank

Stratum = tuple[str, bool]
"""A finding, and whether the image has it."""


@dataclass(frozen=True)
class Case:
    """An image and the finding it is read for."""

    image_id: str
    patient_id: str
    finding: str
    present: bool

    @property
    def stratum(self) -> Stratum:
        """What cases are divided by."""
        return self.finding, self.present


def quotas(findings: Sequence[str], count: int, negatives: float) -> dict[Stratum, int]:
    """How many cases of each stratum: equally many per finding, and of them per `negatives`."""
    without = _shares(round(count * negatives), len(findings))
    total = _shares(count, len(findings))
    wanted: dict[Stratum, int] = {}
    for finding, n, absent in zip(findings, total, without, strict=True):
        wanted |= {(finding, True): n - absent, (finding, False): absent}
    return wanted


def choose_cases(
    candidates: Sequence[Case], wanted: Mapping[Stratum, int], seed: int, *, one_per_patient: bool
) -> list[Case]:
    """So many cases of each stratum, by a hash of seed and image id; no image is taken twice.

    The order of the candidates doesn't matter. The scarcest stratum chooses first.

    Raises:
        MedrobustError: there are too few; every stratum that lacks some is named.
    """
    pools: dict[Stratum, list[Case]] = {stratum: [] for stratum in wanted}
    for case in sorted(candidates, key=lambda case: rank(seed, "case", case.image_id)):
        if case.stratum in pools:
            pools[case.stratum].append(case)
    taken: set[str] = set()
    chosen: dict[Stratum, list[Case]] = {}
    for stratum in sorted(wanted, key=lambda s: len(pools[s]) - wanted[s]):
        chosen[stratum] = _first(pools[stratum], wanted[stratum], taken, one_per_patient)
    _refuse_shortage(wanted, chosen, one_per_patient)
    return [case for stratum in wanted for case in chosen[stratum]]


def others(candidates: Sequence[Case], chosen: Sequence[Case]) -> list[Case]:
    """The candidates that share no patient with the chosen cases."""
    patients = {case.patient_id for case in chosen}
    return [case for case in candidates if case.patient_id not in patients]


def _first(pool: list[Case], count: int, taken: set[str], one_per_patient: bool) -> list[Case]:
    """The first `count` that are not taken yet; they are taken afterwards."""
    found: list[Case] = []
    for case in pool:
        mark = case.patient_id if one_per_patient else case.image_id
        if len(found) < count and mark not in taken:
            taken.add(mark)
            found.append(case)
    return found


def _shares(count: int, parts: int) -> list[int]:
    """`count` divided into parts that differ by one at most, larger ones first."""
    return [count // parts + (part < count % parts) for part in range(parts)]


def _refuse_shortage(
    wanted: Mapping[Stratum, int], chosen: Mapping[Stratum, Sequence[Case]], one_per_patient: bool
) -> None:
    short = [
        f"{wanted[stratum]} {'with' if stratum[1] else 'without'} {stratum[0]}, "
        f"found {len(chosen[stratum])}"
        for stratum in wanted
        if len(chosen[stratum]) < wanted[stratum]
    ]
    if short:
        images = "images of different patients" if one_per_patient else "images"
        raise MedrobustError(
            f"cases: expected {images} of which every condition has a map: {'; '.join(short)}; "
            "ask for fewer (cases.count, cases.negatives, cases.practice) or make maps of more "
            "images (`medrobust explain --all-images`)"
        )
