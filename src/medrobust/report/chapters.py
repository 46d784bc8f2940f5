"""The chapters of a report beyond its first tables, each as what its template needs."""

from typing import Any

from medrobust.report import (
    checks,
    corruptions,
    decisions,
    flips,
    matrix,
    noninferiority,
    probabilities,
    saved,
    subgroups,
)
from medrobust.report.material import Material
from medrobust.report.read import Run


def robustness(material: Material) -> dict[str, Any]:
    """What a deployer gets, whether the attacks can be believed, and what is left otherwise."""
    numbers = material.numbers
    crossed = matrix.matrices(numbers)
    shown: dict[str, Run] = {}
    for one in crossed:
        shown.setdefault(one.run.name, one.run)
    first = [one for one in crossed if shown[one.run.name] is one.run]
    further = [one for one in crossed if shown[one.run.name] is not one.run]
    turned = flips.read_flips(material)
    checked = checks.checks_table(material)
    return {
        "quoted": numbers.training,
        "deployers": matrix.deployer_sentences(numbers),
        "matrices": [matrix.matrix_table(one) for one in first],
        "more_matrices": [matrix.matrix_table(one) for one in further],
        "checks": checked,
        "check_details": checks.check_details(material) if checked else None,
        "unchecked": checks.unchecked_sentence(numbers),
        "flips": flips.flips_figure(material, turned),
        "flip_sentences": flips.flip_sentences(turned),
        "flips_table": flips.flips_table(material, turned) if turned else None,
        "corruption_sentence": corruptions.corruption_sentence(numbers),
        "corruptions": corruptions.corruption_figures(material),
        "corruption_table": corruptions.corruption_table(material),
        "saved": saved.saved_table(material),
    }


def decided(material: Material, margin: float) -> dict[str, Any]:
    """Decisions and probabilities."""
    judged = noninferiority.judged(material, margin)
    return {
        "operating": decisions.operating_table(material),
        "finding_operating": decisions.finding_operating_table(material),
        "mcnemar": decisions.mcnemar_table(material),
        "reliability": probabilities.reliability_figures(material),
        "benefit": probabilities.decision_figures(material),
        "inferiority": noninferiority.inferiority_table(judged, margin) if judged else None,
        "inferiority_sentences": noninferiority.inferiority_sentences(judged, margin),
    }


def grouped(material: Material) -> dict[str, Any]:
    """Groups of images."""
    groups = subgroups.by_group(material.numbers)
    return {
        "figures": subgroups.group_figures(material, groups),
        "sentences": subgroups.group_sentences(material, groups),
        "tables": subgroups.group_tables(material, groups),
    }
