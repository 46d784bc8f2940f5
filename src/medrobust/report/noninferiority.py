"""Is a branch of a dual network as good as the standard one on clean images?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medrobust import statistics
from medrobust.metrics import MACRO, covered_findings, estimated
from medrobust.predictions import LOGIT
from medrobust.report import text
from medrobust.report.comparisons import REDRAWS, same_seed
from medrobust.report.material import Material
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import CLEAN, Arm
from medrobust.statistics import NonInferiority

MARGIN = 0.02
"""The loss of AUROC that would not matter, where nobody says another."""


@dataclass(frozen=True)
class Judged:
    """One model against the standard one on clean images: macro and every finding."""

    first: Arm
    second: Arm
    by_finding: dict[str, NonInferiority]


def judged(material: Material, margin: float) -> list[Judged]:
    """Every branch of dual models against the first standard model."""
    arms = material.numbers.arms
    standard = next((arm for arm in arms if arm.regime == "standard"), None)
    if standard is None or material.table is None:
        return []
    found = (_judged(material, arm, standard, margin) for arm in arms if arm.regime == "dual")
    return [one for one in found if one is not None]


def inferiority_sentences(found: Sequence[Judged], margin: float) -> list[str]:
    """What the intervals allow to say about the macro average."""
    return [_sentence(one, margin) for one in found]


def inferiority_table(found: Sequence[Judged], margin: float) -> Table:
    """The macro average and every finding."""
    groups = [
        Group(
            f"{one.first.label} − {one.second.label}",
            [_row(name, test) for name, test in one.by_finding.items()],
        )
        for one in found
    ]
    return Table(
        f"Non-inferiority on clean images with a margin of {text.number(margin)} AUROC: shown "
        "where the lower limit of the difference (one-sided 97.5 %) lies above minus the margin. "
        f"Macro: {REDRAWS:,} redraws of the patients; findings: DeLong's variance.",
        ["Models and finding", "Difference", "Lower limit", "p", "Not inferior"],
        groups,
        words=(3,),
    )


def _judged(material: Material, first: Arm, second: Arm, margin: float) -> Judged | None:
    numbers = material.numbers
    runs = same_seed(numbers.runs_of(first), numbers.runs_of(second))
    ours = material.labelled(runs[0], first, CLEAN)
    theirs = material.labelled(runs[1], second, CLEAN)
    if ours is None or theirs is None:
        return None
    frame, labels = ours
    other = theirs[0].set_index("image_id").reindex(frame["image_id"]).reset_index()
    covered = [f for f in covered_findings(labels) if LOGIT + f in other]
    if not covered or other[[LOGIT + f for f in covered]].isna().any(axis=None):
        return None
    measures = {
        (side, f): statistics.weighted_auroc(labels[f], scores[LOGIT + f])
        for side, scores in (("first", frame), ("second", other))
        for f in covered
    }
    found = estimated(measures, frame["patient_id"], REDRAWS, 0)
    gaps = [(found["first", f], found["second", f]) for f in covered]
    redrawn = np.mean([a.redrawn - b.redrawn for a, b in gaps], axis=0)
    difference = float(np.mean([a.value - b.value for a, b in gaps]))
    tests = {MACRO: statistics.bootstrap_non_inferiority(difference, redrawn, margin)}
    for f in covered:
        a, b = frame[LOGIT + f], other[LOGIT + f]
        tests[f] = statistics.delong_non_inferiority(labels[f], a, b, margin, frame["patient_id"])
    return Judged(first, second, tests)


def _sentence(one: Judged, margin: float) -> str:
    test = one.by_finding[MACRO]
    limit = (
        f"difference {text.signed(test.difference)}, lower limit {text.signed(test.low)}, margin "
        f"{text.number(margin)}"
    )
    if test.not_inferior:
        return (
            f"On clean images, {one.first.phrase} is not worse than {one.second.phrase} by more "
            f"than the margin ({limit})."
        )
    return (
        f"On clean images, it is not shown that {one.first.phrase} is as good as "
        f"{one.second.phrase} ({limit})."
    )


def _row(name: str, test: NonInferiority) -> Row:
    return Row(
        "Macro" if name == MACRO else name,
        [
            Cell(text.signed(test.difference)),
            Cell(text.signed(test.low)),
            Cell(text.p_value(test.p)),
            Cell("\N{CHECK MARK} shown" if test.not_inferior else "not shown"),
        ],
    )
