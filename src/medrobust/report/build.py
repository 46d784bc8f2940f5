"""Assembling the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.report import card, chapters, comparisons, curves, results, summary
from medrobust.report import runs as provenance
from medrobust.report.along_training import training_figures
from medrobust.report.audit import audit_section
from medrobust.report.averages import average_section
from medrobust.report.caveats import caveats
from medrobust.report.checks import flag_sentences
from medrobust.report.costs import costs_table
from medrobust.report.counterfactuals import counterfactual_section
from medrobust.report.explanations import explanation_section
from medrobust.report.figures import styles
from medrobust.report.gallery import gallery
from medrobust.report.geometry import geometry_section
from medrobust.report.material import Material
from medrobust.report.noninferiority import MARGIN
from medrobust.report.numbers import Numbers, arms_of, evaluations
from medrobust.report.page import expect_folder, write_page
from medrobust.report.predicted import Predicted
from medrobust.report.read import Run, read_runs
from medrobust.report.sanity_maps import sanity_of_maps
from medrobust.report.scored import Scored
from medrobust.report.stores import find_store, used_stores
from medrobust.report.study import study_section
from medrobust.report.terms import Evaluation
from medrobust.report.text import enumeration
from medrobust.report.trust import trust_table


def build_report(
    runs: Sequence[Path],
    out: Path,
    *,
    title: str | None = None,
    margin: float = MARGIN,
    study: Path | None = None,
) -> list[str]:
    """Write one self-contained HTML page about these runs to `out`; return its warnings.

    `runs` are run directories (`runs/<name>/<seed>`) or folders of seeds (`runs/<name>`). Stages
    that have not run leave out their sections. `margin` is the loss of AUROC on clean images that
    would not matter, for non-inferiority. `study` is what `medrobust study analyse` wrote, for a
    section of its own. Raises `MedrobustError` if there is no run, a file cannot be read, the
    margin is not between 0 and 1, or the folder of `out` does not exist.
    """
    if not 0 < margin < 1:
        raise MedrobustError(f"margin: expected a number between 0 and 1, found {margin:g}")
    expect_folder(out)
    found = read_runs(runs)
    context = _context(found, margin)
    context["study"] = study_section(study) if study else None
    context["title"] = title or f"Robust classifiers compared: {_names(found)}"
    write_page("report.html.j2", context, out)
    return list(context["warnings"])


def _context(runs: Sequence[Run], margin: float) -> dict[str, Any]:
    store, problem = _open_store(runs)
    measured = evaluations(runs)
    numbers = Numbers(runs, measured[0]) if measured else None
    context: dict[str, Any] = {
        "runs": runs,
        "warnings": caveats(runs, numbers, store, problem),
        "runs_table": provenance.runs_table(runs),
        "settings": provenance.settings(runs),
        "commands": provenance.commands(runs, margin),
        "versions": provenance.versions_table(runs),
        "card": card.data_card(store) if store else None,
        "trust": trust_table(*used_stores(runs, measured)),
        "numbers": numbers,
        "costs": costs_table(runs),
        "others": [],
    }
    if numbers is None:
        return context | {"learning": curves.learning_figures(runs, styles(arms_of(runs)))}
    return context | _measured(numbers, store, margin) | {"others": _others(runs, measured[1:])}


def _measured(numbers: Numbers, store: Store | None, margin: float) -> dict[str, Any]:
    """Everything that rests on predictions; what also needs labels is None without the store."""
    looks = styles(arms_of(numbers.runs))
    predicted = Predicted(numbers)
    home = store if store and store.info.name == numbers.evaluation.store else None
    material = Material(numbers, predicted, looks, home.table if home else None)
    decisions = chapters.decided(material, margin)
    differences = comparisons.differences(numbers, predicted, home.table) if home else []
    return {
        "looks": {arm: look for arm, look in looks.items() if arm in numbers.arms},
        "summary": summary.summary(numbers, predicted, home),
        "flagged": flag_sentences(numbers),
        "robustness": chapters.robustness(material),
        "decisions": decisions,
        "groups": chapters.grouped(material),
        "along": training_figures(material),
        "strong": curves.strong(numbers),
        "headlines": summary.headlines(differences) + decisions["inferiority_sentences"],
        "chance": summary.chance_table(numbers, looks),
        "auroc": results.auroc_table(numbers, looks),
        "seeds": results.seeds_table(numbers, looks),
        "every": results.every_condition_table(numbers, looks),
        "per_finding": results.finding_table(numbers, looks),
        "other_metrics": results.other_tables(numbers),
        "differences": comparisons.comparison_table(differences) if differences else None,
        "finding_differences": comparisons.finding_comparison_table(differences),
        "roc": curves.roc_figures(numbers, predicted, looks, home.table) if home else [],
        "sweep": curves.sweep_figure(numbers, looks),
        "learning": curves.learning_figures(numbers.runs, looks),
        "explanations": explanation_section(Scored(numbers, predicted.patients()), looks),
        "averages": average_section(material),
        "sanity": sanity_of_maps(material),
        "counterfactuals": counterfactual_section(material),
        "geometry": geometry_section(material),
        "audit": audit_section(material),
        "gallery": gallery(numbers, looks, home, predicted) if home else None,
    }


def _others(runs: Sequence[Run], measured: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """The tables of further test sets, such as an external one."""
    looks = styles(arms_of(runs))
    every = [Numbers(runs, evaluation) for evaluation in measured]
    return [
        {
            "evaluation": numbers.evaluation,
            "auroc": results.auroc_table(numbers, looks),
            "per_finding": results.finding_table(numbers, looks),
        }
        for numbers in every
    ]


def _open_store(runs: Sequence[Run]) -> tuple[Store | None, str]:
    """The first run's store, or why there is none."""
    try:
        return find_store(runs[0]), ""
    except MedrobustError as error:
        return None, str(error)


def _names(runs: Sequence[Run]) -> str:
    return enumeration(list(dict.fromkeys(run.name for run in runs)))
