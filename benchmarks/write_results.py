"""Write the tables and figures of docs/results.md from finished runs.

    python benchmarks/write_results.py --runs runs

Only what stands between the markers of docs/results.md is replaced; the words around it are
people's.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medrobust.comparison import paired_comparison
from medrobust.config import Config, load_config
from medrobust.data.store import open_store
from medrobust.metrics import read_metrics
from medrobust.predictions import read_predictions

DATA = ("pneumoniamnist", "kermany")
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
MODELS = (
    ("standard", "single"),
    ("adversarial", "single"),
    ("dual", "clean"),
    ("dual", "adv"),
)
COLOURS = dict(zip(MODELS, ("#4c566a", "#b4522e", "#2e7d9a", "#123f63"), strict=True))
COMPARED = (
    (("dual", "clean"), ("standard", "single")),
    (("dual", "adv"), ("standard", "single")),
    (("dual", "adv"), ("adversarial", "single")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    given = parser.parse_args()
    parts = []
    for data in DATA:
        folders = {regime: seeds(given.runs, data, regime) for regime in dict(MODELS)}
        if all(folders.values()):
            draw(data, folders, given.page.parent / "pictures" / f"{data}-eps.svg")
            parts.append(section(data, folders))
    before, _, rest = given.page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page = "\n\n".join([before + BEGIN, *parts, END + after])
    given.page.write_text(page, encoding="utf-8")


def seeds(runs: Path, data: str, regime: str) -> list[Path]:
    """The finished and evaluated runs of one configuration."""
    found = (runs / f"{data}-{regime}").glob("*/metrics.csv")
    return sorted((path.parent for path in found), key=lambda path: int(path.name))


def section(data: str, folders: dict[str, list[Path]]) -> str:
    config = load_config(folders["dual"][0] / "config.yaml")
    radii = config.evaluated_eps
    parts = [
        f"## {data}",
        setting(config, folders),
        auroc_table(folders, radii),
        f"![AUROC against the attack's radius](pictures/{data}-eps.svg)",
        matrix_table(folders, config.attack.eps),
        differences_table(folders, config.attack.eps),
        cost_table(folders),
    ]
    return "\n\n".join(parts)


def setting(config: Config, folders: dict[str, list[Path]]) -> str:
    numbers = ", ".join(path.name for path in folders["dual"])
    record = provenance(folders["dual"][0])
    commits = sorted({str(provenance(p)["commit"])[:10] for ps in folders.values() for p in ps})
    return (
        f"Configurations `configs/{config.name.rpartition('-')[0]}-*.yaml`; seeds {numbers}; "
        f"training attack PGD-{config.attack.steps}, ε = {fraction(config.attack.eps)}; "
        f"evaluation PGD-{config.evaluate.steps} from a random start, "
        f"{config.evaluate.restarts} restart, step 2.5 ε / {config.evaluate.steps}; "
        f"{config.train.epochs} epochs. Commit {', '.join(commits)}; "
        f"{record['device']}, {record['threads']} thread, torch {record['packages']['torch']}."
    )


def auroc_table(folders: dict[str, list[Path]], radii: tuple[float, ...]) -> str:
    heads = ["clean", "noise"] + [f"ε = {fraction(eps)}" for eps in radii]
    lines = [
        "Test AUROC of each deployed branch, attacked itself: seed 0 with its 95 % interval "
        "(bootstrap of patients), and above it, where there are several seeds, their mean ± SD.",
        "",
        "| model | deployed branch | " + " | ".join(heads) + " |",
        "|---" * (2 + len(heads)) + "|",
    ]
    for regime, branch in MODELS:
        cells = []
        for eps, attack in [(0.0, ""), (None, "noise-control"), *((eps, "pgd") for eps in radii)]:
            rows = [value(path, branch, attack, eps) for path in folders[regime]]
            cells.append(cell(rows))
        lines.append(f"| {regime} | {branch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(rows: list[dict[str, Any]]) -> str:
    """The mean and spread over seeds, where there are several, and the first with its interval."""
    numbers, first = [row["value"] for row in rows], rows[0]
    single = f"{first['value']:.3f} ({first['low']:.3f}–{first['high']:.3f})"
    if len(rows) == 1:
        return single
    return f"{np.mean(numbers):.3f} ± {np.std(numbers, ddof=1):.3f}<br>{single}"


def matrix_table(folders: dict[str, list[Path]], eps: float) -> str:
    lines = [
        f"The dual network when the attack at ε = {fraction(eps)} is made on one branch and "
        "another is deployed (mean over seeds): what an attacker who does not know the deployed "
        "branch reaches.",
        "",
        "| deployed | attacked through clean | attacked through adv |",
        "|---|---|---|",
    ]
    for branch in ("clean", "adv"):
        cells = [
            f"{np.mean([value(p, branch, 'pgd', eps, a)['value'] for p in folders['dual']]):.3f}"
            for a in ("clean", "adv")
        ]
        lines.append(f"| {branch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences_table(folders: dict[str, list[Path]], eps: float) -> str:
    lines = [
        "Differences in AUROC on the same test images, per seed, with 95 % interval (bootstrap "
        "of patients) and DeLong's p, not corrected for the number of comparisons:",
        "",
        f"| compared | seed | clean | under attack, ε = {fraction(eps)} |",
        "|---|---|---|---|",
    ]
    for (regime_a, branch_a), (regime_b, branch_b) in COMPARED:
        for one, other in zip(folders[regime_a], folders[regime_b], strict=True):
            cells = [
                difference((one, branch_a), (other, branch_b), attack, radius)
                for attack, radius in (("", 0.0), ("pgd", eps))
            ]
            name = f"{regime_a} {branch_a} − {regime_b} {branch_b}"
            lines.append(f"| {name} | {one.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def difference(a: tuple[Path, str], b: tuple[Path, str], attack: str, eps: float) -> str:
    first, second = (
        read_predictions(run / "predictions" / f"{value(run, branch, attack, eps)['stem']}.csv")
        for run, branch in (a, b)
    )
    table = open_store(load_config(a[0] / "config.yaml").data.store).table
    row = paired_comparison(first.frame, second.frame, table).iloc[0]  # of the one finding
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), " + (
        "p < 0.001" if row["p_delong"] < 0.001 else f"p = {row['p_delong']:.3f}"
    )


def cost_table(folders: dict[str, list[Path]]) -> str:
    lines = ["| model | seconds of training (median of seeds) | selected epochs |", "|---|---|---|"]
    for regime, paths in folders.items():
        seconds = np.median([provenance(path)["seconds"] for path in paths])
        epochs = [
            str(json.loads((path / "checkpoints" / "best.json").read_text())["epoch"])
            for path in paths
        ]
        lines.append(f"| {regime} | {seconds:.0f} | {', '.join(epochs)} |")
    return "\n".join(lines)


def value(
    run: Path, branch: str, attack: str, eps: float | None, attacked: str | None = None
) -> dict[str, Any]:
    """The macro AUROC of one condition, its interval and the stem of its predictions."""
    rows = read_metrics(run / "metrics.csv")
    wanted = (
        (rows["store"] == provenance(run)["store"]["name"])
        & (rows["checkpoint"] == "best")
        & (rows["split"] == "test")
        & (rows["branch"] == branch)
        & (rows["attack"] == attack)
        & (rows["finding"] == "macro")
        & (rows["metric"] == "auroc")
        & (rows["interval"] == "bootstrap")
    )
    if attack == "pgd":
        wanted &= (rows["attacked_branch"] == (attacked or branch)) & np.isclose(rows["eps"], eps)
    (row,) = rows[wanted].to_dict("records")
    return {
        "value": row["value"],
        "low": row["low"],
        "high": row["high"],
        "stem": row["predictions"],
    }


def draw(data: str, folders: dict[str, list[Path]], out: Path) -> None:
    """AUROC against ε: the mean over seeds, and every seed as a thin line."""
    radii = load_config(folders["dual"][0] / "config.yaml").evaluated_eps
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.text(255 * radii[-1], 0.51, "chance", ha="right", va="bottom", color="#777777")
    places = [0.0, *(255 * eps for eps in radii)]
    for model in MODELS:
        curves = [
            [value(path, model[1], "" if eps == 0 else "pgd", eps)["value"] for eps in (0, *radii)]
            for path in folders[model[0]]
        ]
        for curve in curves:
            axes.plot(places, curve, color=COLOURS[model], linewidth=0.6, alpha=0.5)
        mean = np.mean(curves, axis=0)
        axes.plot(places, mean, color=COLOURS[model], marker="o", label=" ".join(model))
    axes.set(xlabel="radius ε of the attack, in 1/255", ylabel="test AUROC", ylim=(0, 1.02))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, metadata={"Date": None})


def provenance(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "provenance.json").read_text()))


def fraction(eps: float) -> str:
    return f"{255 * eps:g}/255"


if __name__ == "__main__":
    main()
