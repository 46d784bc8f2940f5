"""How alike the layers of branches and runs are, from `explain/cka.csv`."""

from collections.abc import Sequence

import pandas as pd

from medrobust.report import heatmaps, text
from medrobust.report.csv_rows import read_rows
from medrobust.report.curves import Figure, as_figure
from medrobust.report.heatmaps import Panel
from medrobust.report.material import Material

COLUMNS = ("store", "split", "branch", "other_run", "other_branch", "layer", "other_layer")


def similarity_figures(material: Material) -> list[Figure]:
    """Of each model's first seed: a figure for every pair of branches that was compared.

    Raises `MedrobustError` for a file that is no such table.
    """
    here, figures = material.numbers.evaluation, []
    for run in dict.fromkeys(run for _, run in material.first_seeds()):
        table = read_rows(run.path / "explain" / "cka.csv", COLUMNS, ("value",))
        table = table[(table["store"] == here.store) & (table["split"] == here.split)]
        for pair, rows in table.groupby(["branch", "other_run", "other_branch"], sort=False):
            branch, other, other_branch = (str(name) for name in pair)
            mine, theirs = _who(run.name, branch), _who(other or run.name, other_branch)
            figures.append(_figure(mine, theirs, rows))
    return figures


def short(layers: Sequence[str]) -> list[str]:
    """Names of layers without the first word, if all have it in common."""
    first = layers[0].partition(".")[0] + "."
    alike = all(layer.startswith(first) for layer in layers)
    return [layer.removeprefix(first) if alike else layer for layer in layers]


def _figure(mine: str, theirs: str, rows: pd.DataFrame) -> Figure:
    up, across = list(dict.fromkeys(rows["layer"])), list(dict.fromkeys(rows["other_layer"]))
    values = rows.set_index(["layer", "other_layer"])["value"].unstack().loc[up, across]
    panel = Panel(f"up: {mine}\nacross: {theirs}", values.to_numpy(float))
    svg = heatmaps.matrix(panel, short(up), short(across), "CKA")
    told = "itself" if mine == theirs else f"{theirs}: {_same_layers(rows)}"
    return as_figure(svg, f"CKA of the layers of {mine} and {told}.")


def _same_layers(rows: pd.DataFrame) -> str:
    same = rows[rows["layer"] == rows["other_layer"]]["value"].dropna()
    if same.empty:
        return "no layers of the same name"
    low, high = text.number(float(same.min()), 2), text.number(float(same.max()), 2)
    return f"{low} to {high} between layers of the same name"


def _who(name: str, branch: str) -> str:
    return " · ".join(filter(None, (name, text.branch_name(branch))))
