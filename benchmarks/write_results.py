"""Write the tables and figures of docs/results.md from finished runs.

    python benchmarks/write_results.py [--data pneumoniamnist] [--runs runs]

Only what stands between the markers of docs/results.md is replaced; the words around it are
people's.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medrobust import statistics
from medrobust.comparison import paired_comparison
from medrobust.config import Config, load_config
from medrobust.data.store import open_store
from medrobust.predictions import labels_of, read_predictions
from medrobust.statistics import bootstrap_non_inferiority
from medrobust.trust_table import read_trust
from results import (
    COLOURS,
    LABELS,
    MODELS,
    PAGE,
    difference,
    fraction,
    macro_auroc,
    over_seeds,
    provenance,
    receipt,
    replace_part,
    rows_of,
)

DEPLOYED = ("clean", "adv", "mean", "router")
COMPARED = (
    (("dual", "clean"), ("standard", "single")),
    (("dual", "adv"), ("standard", "single")),
    (("dual", "adv"), ("adversarial", "single")),
)
MARGIN = 0.02
"""Of non-inferiority, in AUROC."""
POINTS = 20
Folders = dict[str, list[Path]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["pneumoniamnist"])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    for data in given.data:
        folders = {regime: seeds(given.runs, data, regime) for regime in dict(MODELS)}
        draw(data, folders, PAGE.parent / "pictures" / f"{data}-eps.svg")
        replace_part(PAGE, data, section(data, folders))


def seeds(runs: Path, data: str, regime: str) -> list[Path]:
    """The finished and evaluated runs of one configuration."""
    found = [path.parent for path in (runs / f"{data}-{regime}").glob("*/metrics.csv")]
    if not found:
        raise SystemExit(
            f"no evaluated run of {data}-{regime}; benchmarks/train_results.py makes it"
        )
    return sorted(found, key=lambda path: int(path.name))


def section(data: str, folders: Folders) -> str:
    config = load_config(folders["dual"][0] / "config.yaml")
    eps = config.attack.eps
    parts = [
        setting(config, folders),
        auroc_table(folders, eps),
        f"![AUROC against the attack's radius](pictures/{data}-eps.svg)",
        *(matrix_table(folders, factor * eps) for factor in (1, 2)),
        differences_table(folders, eps),
        non_inferiority_table(folders),
        flags_table(folders, eps),
        cost_table(folders, eps),
    ]
    return "\n\n".join(parts)


def setting(config: Config, folders: Folders) -> str:
    numbers = ", ".join(path.name for path in folders["dual"])
    record = provenance(folders["dual"][0])
    commits = sorted({str(provenance(p)["commit"])[:10] for ps in folders.values() for p in ps})
    stem = macro_auroc(folders["dual"][0], "adv", "fast", eps=config.attack.eps)["predictions"]
    evaluated = receipt(folders["dual"][0], stem)["software"]["commit"]
    return (
        f"Configurations `configs/{config.name.rpartition('-')[0]}-*.yaml`; seeds {numbers}; "
        f"training attack PGD-{config.attack.steps}, ε = {fraction(config.attack.eps)}; "
        f"{config.train.epochs} epochs. `fast`: APGD on the margin, 20 steps. `strong`: the worst "
        "of APGD-100 on the margin and on the cross-entropy, and Square (5,000 queries, on 128 "
        f"images). Trained at commit {', '.join(commits)}, evaluated at {str(evaluated)[:10]}; "
        f"{record['device']}, {record['threads']} thread, torch {record['packages']['torch']}."
    )


def auroc_table(folders: Folders, eps: float) -> str:
    columns = [("clean", "", None), ("noise", "noise-control", None)]
    columns += [(f"`fast` {fraction(f * eps)}", "fast", f * eps) for f in (0.5, 1, 1.5, 2)]
    columns += [(f"`strong` {fraction(f * eps)}", "strong", f * eps) for f in (1, 2)]
    lines = [
        "Test AUROC of each deployed branch, attacked itself: mean ± SD over seeds, and seed 0 "
        "with its 95 % interval (bootstrap of patients).",
        "",
        "| deployed | " + " | ".join(name for name, *_ in columns) + " |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for model in MODELS:
        cells = []
        for _, attack, radius in columns:
            wanted = {} if radius is None else {"eps": radius}
            rows = [macro_auroc(p, model[1], attack, **wanted) for p in folders[model[0]]]
            cells.append(over_seeds(rows))
        lines.append(f"| {LABELS[model]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def matrix_table(folders: Folders, eps: float) -> str:
    lines = [
        f"The dual network under `strong` at ε = {fraction(eps)}, attacked as one thing and "
        "deployed as another (mean over seeds). The worst of a row is what its deployer must "
        "expect.",
        "",
        "| deployed as | clean images | "
        + " | ".join(f"attacked: {a}" for a in DEPLOYED)
        + " | worst |",
        "|---" * (3 + len(DEPLOYED)) + "|",
    ]
    for deployed in DEPLOYED:
        clean = np.mean([macro_auroc(p, deployed)["value"] for p in folders["dual"]])
        values = [
            np.mean([cross(p, deployed, attacked, eps) for p in folders["dual"]])
            for attacked in DEPLOYED
        ]
        cells = [f"{value:.3f}" for value in (clean, *values, min(values))]
        lines.append(f"| {deployed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cross(run: Path, deployed: str, attacked: str, eps: float) -> float:
    """AUROC of one network on the images made for another."""
    return float(macro_auroc(run, deployed, "strong", eps=eps, attacked_branch=attacked)["value"])


def differences_table(folders: Folders, eps: float) -> str:
    conditions = (("clean", "", {}), (f"`strong`, ε = {fraction(eps)}", "strong", {"eps": eps}))
    lines = [
        "Differences in AUROC on the same test images, per seed, with 95 % interval (bootstrap of "
        "patients) and DeLong's p; in brackets p after Holm's correction for the column's "
        f"{len(COMPARED) * len(folders['dual'])} comparisons.",
        "",
        "| compared | seed | " + " | ".join(name for name, *_ in conditions) + " |",
        "|---|---|---|---|",
    ]
    table = store_table(folders)
    jobs = list(product(COMPARED, range(len(folders["dual"]))))
    columns = []
    for _, attack, wanted in conditions:
        cells, values = [], []
        for pair, seed in jobs:
            runs = tuple(folders[model[0]][seed] for model in pair)
            rows = tuple(
                macro_auroc(run, model[1], attack, **wanted)
                for run, model in zip(runs, pair, strict=True)
            )
            text, p = difference(runs, rows, table)
            cells.append(text)
            values.append(p)
        adjusted = statistics.holm(values)
        columns.append(
            [
                f"{c} ({'< 0.001' if p < 0.001 else f'{p:.3f}'})"
                for c, p in zip(cells, adjusted, strict=True)
            ]
        )
    for ((first, second), seed), *cells in zip(jobs, *columns, strict=True):
        name = f"{LABELS[first]} − {LABELS[second]}"
        lines.append(f"| {name} | {folders['dual'][seed].name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def non_inferiority_table(folders: Folders) -> str:
    lines = [
        f"Not worse than standard training on clean images, by a margin of {MARGIN} AUROC? (lower "
        "one-sided 97.5 % limit of the difference, bootstrap of patients)",
        "",
        "| branch | seed | difference | lower limit | p | not inferior |",
        "|---|---|---|---|---|---|",
    ]
    table = store_table(folders)
    for branch, seed in product(("clean", "adv"), range(len(folders["dual"]))):
        runs = folders["dual"][seed], folders["standard"][seed]
        frames = [
            read_predictions(
                run / "predictions" / f"{macro_auroc(run, b)['predictions']}.csv"
            ).frame
            for run, b in zip(runs, (branch, "single"), strict=True)
        ]
        found = not_inferior(*frames, table)
        cells = [f"{found.difference:+.3f}", f"{found.low:+.3f}", f"{found.p:.4f}"]
        verdict = "yes" if found.not_inferior else "no"
        lines.append(
            f"| {LABELS['dual', branch]} | {runs[0].name} | " + " | ".join([*cells, verdict]) + " |"
        )
    return "\n".join(lines)


def not_inferior(
    first: pd.DataFrame, second: pd.DataFrame, table: pd.DataFrame
) -> statistics.NonInferiority:
    labels = labels_of(first, table)
    finding = labels.columns[0]
    both = [
        statistics.weighted_auroc(labels[finding], frame[f"logit:{finding}"])
        for frame in (first, second)
    ]
    redrawn = statistics.bootstrap(both, first["patient_id"])
    value = paired_comparison(first, second, table, redraws=100).iloc[0]["difference"]
    return bootstrap_non_inferiority(value, redrawn[:, 0] - redrawn[:, 1], MARGIN)


def flags_table(folders: Folders, eps: float) -> str:
    lines = [
        f"Checks of `trust.csv` at ε = {fraction(eps)}, 64 test images: how many seeds pass.",
        "",
        "| check | " + " | ".join(LABELS.values()) + " |",
        "|---" * (1 + len(MODELS)) + "|",
    ]
    tables = {m: [own_trust(p, m[1]) for p in folders[m[0]]] for m in MODELS}
    for check in tables[MODELS[0]][0].index:
        cells = []
        for model in MODELS:
            verdicts = [table.loc[check, "verdict"] for table in tables[model]]
            checked = [v for v in verdicts if v != "not checked"]
            cells.append(f"{checked.count('pass')} of {len(checked)}" if checked else "not checked")
        lines.append(f"| {check} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def own_trust(run: Path, branch: str) -> pd.DataFrame:
    table = read_trust(run / "trust.csv")
    return table[table["branch"] == branch].set_index("check")


def cost_table(folders: Folders, eps: float) -> str:
    lines = [
        "| model | seconds of training | selected epochs | seconds of `fast`, 20 radii | "
        "seconds of `strong`, 2 radii, all routes |",
        "|---|---|---|---|---|",
    ]
    for regime, paths in folders.items():
        epochs = [
            str(json.loads((path / "checkpoints" / "best.json").read_text())["epoch"])
            for path in paths
        ]
        seconds = np.median([provenance(path)["seconds"] for path in paths])
        fast, strong = (
            np.median([spent(path, a, eps) for path in paths]) for a in ("fast", "strong")
        )
        lines.append(
            f"| {regime} | {seconds:.0f} | {', '.join(epochs)} | {fast:.0f} | {strong:.0f} |"
        )
    note = "Medians of seeds, measured while other work ran on the same machine: upper bounds."
    return "\n".join([*lines, "", note])


def spent(run: Path, attack: str, eps: float) -> float:
    """Seconds of all sweeps of a suite."""
    rows = rows_of(run, attack=attack, metric="auroc", finding="macro", group="all", eps=eps)
    stems = rows[rows["branch"] == rows["attacked_branch"]]["predictions"]
    return sum(receipt(run, stem)["seconds"] for stem in stems)


def store_table(folders: Folders) -> pd.DataFrame:
    return open_store(load_config(folders["dual"][0] / "config.yaml").data.store).table


def draw(data: str, folders: Folders, out: Path) -> None:
    """AUROC against ε: the mean over seeds, every seed as a thin line, strong as crosses."""
    eps = load_config(folders["dual"][0] / "config.yaml").attack.eps
    radii = [2 * eps * step / POINTS for step in range(1, POINTS + 1)]
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.text(255 * radii[-1], 0.51, "chance", ha="right", va="bottom", color="#777777")
    for model in MODELS:
        curves = [
            [macro_auroc(path, model[1])["value"]]
            + [macro_auroc(path, model[1], "fast", eps=radius)["value"] for radius in radii]
            for path in folders[model[0]]
        ]
        for curve in curves:
            axes.plot(
                [0, *(255 * r for r in radii)], curve, color=COLOURS[model], lw=0.6, alpha=0.5
            )
        mean = np.mean(curves, axis=0)
        axes.plot([0, *(255 * r for r in radii)], mean, color=COLOURS[model], label=LABELS[model])
        strong = [
            np.mean(
                [
                    macro_auroc(p, model[1], "strong", eps=f * eps)["value"]
                    for p in folders[model[0]]
                ]
            )
            for f in (1, 2)
        ]
        axes.plot([255 * eps, 510 * eps], strong, color=COLOURS[model], marker="x", linestyle="")
    axes.set(xlabel="radius ε of the attack, in 1/255", ylabel="test AUROC", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, title="lines: fast; crosses: strong")
    axes.spines[["top", "right"]].set_visible(False)
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()
