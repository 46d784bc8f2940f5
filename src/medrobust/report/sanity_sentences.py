"""What the checks of saliency maps have found, in sentences."""

import re
from collections.abc import Sequence

import pandas as pd

from medrobust.report import text
from medrobust.report.sanity_checked import CHECKS, EDGE, Checked, decided, first_seeds, named
from medrobust.report.terms import records

FAILURES = {
    "randomisation": "look much the same when everything the network has learnt is erased: they "
    "show the image, not what the network saw in it",
    "labels": "look much the same when the network was trained on shuffled labels: they do not "
    "show what it learnt of the finding",
    "repeatability": "do not hold up in a second training of the same network: its maps agree no "
    "better than those of other images or of an untrained network",
    "reproducibility": "do not hold up in another network: its maps agree no better than those of "
    "other images or of an untrained network",
    "noise": "change under noise that no reader would see",
    "attack": "can be made to mark something else by changing no pixel by more than {eps}, while "
    "the prediction stays",
    "deletion": "do not mark what the prediction rests on: blurring what they mark lowers the "
    "probability no more than blurring pixels at random",
    "insertion": "do not mark what the prediction needs: showing what they mark in a blurred image "
    "raises the probability no more than showing pixels at random",
}


def sanity_sentences(found: Sequence[Checked]) -> list[str]:
    """What failed, for the first seed of every model, and whether the edge detector was caught."""
    told = []
    for one in first_seeds(found):
        for method in one.methods:
            if method != EDGE:
                told += _method_sentences(one, method)
    return told + _edge_sentences(found)


def _method_sentences(one: Checked, method: str) -> list[str]:
    who = f"The {named(method)} maps of {one.arm.phrase}"
    verdicts = [row.verdict for check in CHECKS for row in records(one.judged(method, check))]
    if "fail" not in verdicts:
        passed = verdicts.count("pass")
        return [f"{who} pass every check that could be made ({passed})."] if passed else []
    return [
        f"{who} {words.format(eps=_radius(failed))}{_extent(judged, failed)}."
        for check, words in FAILURES.items()
        if len(failed := _failed(judged := one.judged(method, check)))
    ]


def _edge_sentences(found: Sequence[Checked]) -> list[str]:
    """The edge detector is planted: if it passes, the checks are blind."""
    planted = [decided(one.judged(EDGE, "randomisation")) for one in found]
    planted = [rows for rows in planted if len(rows)]
    if not planted:
        return []
    if all((rows["verdict"] == "fail").all() for rows in planted):
        return [
            "An edge detector, which knows no network, was checked as if it were a method: it "
            "fails where weights are erased, as it must."
        ]
    return [
        "An edge detector, which knows no network, passes where weights are erased: do not trust "
        "the other verdicts."
    ]


def _extent(judged: pd.DataFrame, failed: pd.DataFrame) -> str:
    known = decided(judged)
    value = text.number(failed["value"].mean(), 2)
    if len(known) == 1:
        return f" ({value})"
    return f" ({len(failed)} of {len(known)} comparisons; mean {value})"


def _failed(judged: pd.DataFrame) -> pd.DataFrame:
    return judged[judged["verdict"] == "fail"]


def _radius(rows: pd.DataFrame) -> str:
    """`ε = 4/255`, from the remark of an attack's row."""
    stated = re.search(r"eps = ([\d.e-]+)", " ".join(rows["detail"]))
    return f"ε = {text.epsilon(float(stated[1]))}" if stated else "a small ε"
