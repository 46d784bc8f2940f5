"""Do the maps find the lesion? Trains, explains and writes the tables of docs/results.md.

    python benchmarks/map_results.py prepare --data DIR     (the stores, from the raw files)
    python benchmarks/map_results.py run [--sets covid patches nih marked] [--workers 2]
    python benchmarks/map_results.py check      (sanity of the maps of the generated radiographs)
    python benchmarks/map_results.py write [--sets ... | sanity audit]

`DIR` has kermany_pneumonia_224, covid_cxr_lesion_masks, luna16_candidate_patches_50 and
nih_chestxray14_subset. Finished work is kept.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from medrobust.data.store import open_store
from medrobust.explain.sanity.table import read_sanity
from medrobust.explain.summary import against_baselines, between_models, summarise
from medrobust.rundir import RunDir, store_name
from results import LABELS, MODELS, PAGE, provenance, replace_part

SANITY, AUDIT = "sanity", "audit"
CONTROLS = {
    "shuffled": ("data.shuffle_labels=true",),
    "seed": ("seed=1",),
    "network": ("network.width=24",),
}
"""Trainings that maps are held against, by what is different."""
REGIMES = ("standard", "adversarial", "dual")
SCORES = ("hit_rate", "mass_accuracy", "rank_accuracy", "auprc", "iou")
BASELINES = ("area", "centre", "edge", "random")
METHODS = ("gradient", "smooth-grad", "integrated-gradients", "grad-cam", "occlusion")
HEADS = {
    "hit_rate": "hit rate",
    "mass_accuracy": "mass",
    "rank_accuracy": "rank",
    "auprc": "average precision",
    "iou": "IoU",
}


@dataclass(frozen=True)
class Set:
    """Maps of which models are scored on which images."""

    title: str
    runs: str
    """The runs' name without the regime."""
    home: str
    """The store they are trained on."""
    images: str
    """The store they are explained on."""
    settings: tuple[str, ...] = ()
    explain: tuple[str, ...] = ()


SETS = {
    "covid": Set(
        "Radiologists' masks of lesions (adults), models trained on Kermany's children, 64 × 64",
        *("kermany", "kermany", "covid"),
        explain=("--inside", "left_lung,right_lung"),
    ),
    "patches": Set(
        "Lung nodules on CT, patches of 36 × 36 cut so that the nodule may be anywhere",
        *("patches", "patches", "patches"),
        settings=("network.stem_stride=1", "train.epochs=8", "augment.rotation=0"),
    ),
    "nih": Set(
        "Boxes of NIH ChestX-ray14, models trained on 488 of its images, 64 × 64",
        *("nih", "nih", "nih"),
        settings=("train.epochs=30",),
    ),
    "marked": Set(
        "Generated radiographs with a marker that gives consolidation away in training, 64 × 64",
        *("marked", "marked", "marked"),
        settings=("train.epochs=20", "attack.eps=0.005"),  # of 4/255 nothing would be learnt
        explain=("--audit", "marker"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("prepare", "run", "check", "write"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=(*SETS, SANITY, AUDIT), default=list(SETS))
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.what == "prepare":
        prepare(given.data)
    elif given.what == "run":
        with ThreadPoolExecutor(given.workers) as pool:
            jobs = product(given.sets, REGIMES)
            sys.exit(max(pool.map(lambda job: run(SETS[job[0]], job[1]), jobs)))
    elif given.what == "check":
        sys.exit(check(given.workers))
    else:
        others = {SANITY: sanity_section, AUDIT: audit_section}
        for name in given.sets:
            lines = others[name]() if name in others else section(SETS[name])
            replace_part(PAGE, f"maps {name}", "\n".join(lines))


def prepare(data: Path) -> None:
    """All stores, each unless it is there."""
    kermany, nih = data / "kermany_pneumonia_224", data / "nih_chestxray14_subset"
    patches = data / "luna16_candidate_patches_50" / "luna16_patches_50.npz"
    commands: dict[str, tuple[object, ...]] = {
        "kermany": (
            *("images", "--root", kermany / "images", "--table", kermany / "labels.csv"),
            *("--size", 64, "--patient-column", "patient_group", "--split-column", "split"),
            *("--label", "pneumonia=label"),
        ),
        "covid": (
            *("custom", "localisation_data:CovidLesions"),
            *("--root", data / "covid_cxr_lesion_masks", "--size", 64),
            *("--own-split", "--splits", "0.05,0.25,0.7"),
        ),
        "patches": ("custom", "localisation_data:OffCentrePatches", "--root", patches),
        "nih": ("nih", "--root", nih, "--size", 64),
        "marked": (
            *("phantom", "--images", 2000, "--shortcut", "consolidation"),
            *("--finding", "consolidation", "--finding", "nodule"),
        ),
    }
    for name, command in commands.items():
        if not Path("stores", name).exists():
            medrobust("prepare", *command, "--out", f"stores/{name}", "--workers", 0)


def run(one: Set, regime: str) -> int:
    """Train, evaluate and explain; 0 if it went well."""
    folder = Path("runs") / f"{one.runs}-{regime}" / "0"
    settings = [f"name={one.runs}-{regime}", f"data.store=stores/{one.home}", *one.settings]
    steps = {
        "DONE": ("train", f"configs/kermany-{regime}.yaml", *settings),
        "metrics.csv": ("evaluate", folder, "--groups", "none"),
    }
    for result, command in steps.items():
        if not (folder / result).is_file() and medrobust(*command):
            return 1
    how = ["--store", f"stores/{one.images}", "--methods", ",".join(METHODS), *one.explain]
    return medrobust("explain", folder, *how)


def check(workers: int) -> int:
    """Sanity of standard training's maps, with other trainings and shuffled labels; 0 if well."""
    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(train_control, CONTROLS))
    others = [word for name in ("seed", "network") for word in ("--other", control(name))]
    methods = ("--methods", ",".join(METHODS))
    settled = ("explain", "runs/marked-standard/0", "--sanity", *methods, *others)
    return max(*outcomes, medrobust(*settled, "--shuffled", control("shuffled")))


def train_control(name: str) -> int:
    """Another training of the same data."""
    if (control(name) / "DONE").is_file():
        return 0
    own = SETS["marked"]
    settings = ("data.store=stores/marked", *own.settings, *CONTROLS[name])
    return medrobust("train", "configs/kermany-standard.yaml", f"name=marked-{name}", *settings)


def control(name: str) -> Path:
    return Path("runs") / f"marked-{name}" / ("1" if name == "seed" else "0")


def sanity_section() -> list[str]:
    """The table of the checks."""
    found = read_sanity(folder(SETS["marked"], "standard") / "explain" / "sanity.csv")
    found = found[found["verdict"] != ""]
    checks = list(dict.fromkeys(found["check"]))
    lines = [
        "Checks of the maps of standard training on these radiographs (`--sanity`): rank "
        "correlation of absolute values, or the gain over pixels in random order, with 95 % "
        "intervals. ✓ passes, ✗ fails, – can't be checked.",
        "",
        "| map | finding | " + " | ".join(checks) + " |",
        "|---" * (2 + len(checks)) + "|",
    ]
    for (method, finding), rows in found.groupby(["method", "finding"], sort=False):
        cells = [verdict(rows[rows["check"] == name]) for name in checks]
        lines.append(f"| {method} | {finding} | {' | '.join(cells)} |")
    return lines


def audit_section() -> list[str]:
    """What the marker does to each model, and how much of its maps lies on it."""
    changes = ("as it is", "removed", "moved")
    lines = [
        "Test images, whose marker speaks against its rule in training: AUROC for consolidation "
        "with the marker as it is, painted over and moved (95 % interval by patient), and how many "
        "times its share of the image's area it has of the maps of consolidation.",
        "",
        "| model | " + " | ".join([*(f"AUROC, {change}" for change in changes), *METHODS]) + " |",
        "|---" * (1 + len(changes) + len(METHODS)) + "|",
    ]
    for regime, branch in MODELS:
        table = pd.read_csv(folder(SETS["marked"], regime) / "explain" / "audit.csv")
        table = table[(table["finding"] == "consolidation") & (table["branch"] == branch)]
        found = table.set_index("measure")[["value", "low", "high"]]
        aurocs = ["{:.3f} ({:.3f}–{:.3f})".format(*found.loc[f"auroc {c}"]) for c in changes]
        area = found.loc["area", "value"]
        shares = [f"{found.loc[f'share:{method}', 'value'] / area:.1f}" for method in METHODS]
        lines.append(f"| {LABELS[regime, branch]} | {' | '.join([*aurocs, *shares])} |")
    return lines


def verdict(rows: pd.DataFrame) -> str:
    if rows.empty or rows["value"].isna().all():
        return "–"
    value, low, high = rows.iloc[0][["value", "low", "high"]]
    sign = {"pass": "✓", "fail": "✗"}.get(rows.iloc[0]["verdict"], "–")
    return f"{sign} {value:.2f} ({low:.2f}–{high:.2f})"


def medrobust(*words: object) -> int:
    """Run a command in a process of one thread; its exit code."""
    command = [sys.executable, "-m", "medrobust", *map(str, words)]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(command, env=environment, check=False).returncode


def section(one: Set) -> list[str]:
    """The tables of a data set."""
    store = open_store(Path("stores", one.images))
    ids = store.table["image_id"].astype(str)
    patients = dict(zip(ids, store.table["patient_id"].astype(str), strict=True))
    tables = {regime: scores_of(one, regime) for regime in REGIMES}
    count = tables["standard"]["image_id"].nunique()
    commits = sorted({str(provenance(folder(one, r))["commit"])[:10] for r in REGIMES})
    lines = [
        f"{one.title}. {count} test images with truth; seed 0; trained at commit "
        f"{', '.join(commits)}. Mean (95 % interval by patient); **bold**: better than every "
        "baseline, Holm's p ≤ 0.05 (sign flips by patient).",
        "",
    ]
    names = [name for name in SCORES if (tables["standard"]["score"] == name).any()]
    names += sorted(set(tables["standard"]["score"]) - set(SCORES))
    heads = [HEADS.get(name, f"share {name.replace(':', ' ')}") for name in names]
    lines += ["| map | model | " + " | ".join(heads) + " |", "|---" * (2 + len(names)) + "|"]
    whole = {regime: pooled(table, patients) for regime, table in tables.items()}
    for method in (*METHODS, *(f"untrained:{name}" for name in METHODS), *BASELINES):
        lines += rows(method, whole, names)
    return [*lines, "", *against_standard(tables, patients, names)]


def against_standard(
    tables: dict[str, pd.DataFrame], patients: dict[str, str], names: Sequence[str]
) -> list[str]:
    """What each model's maps score above those of standard training on the same images."""
    standard, owners = joined(tables["standard"], patients)
    standard = standard[standard["branch"] == "single"]
    heads = [HEADS.get(name, f"share {name.replace(':', ' ')}") for name in names]
    lines = [
        "Minus standard training, on the same images (95 % interval; **bold**: Holm's p ≤ 0.05 "
        "over the scores of a map and model, sign flips by patient).",
        "",
        "| map | model | " + " | ".join(heads) + " |",
        "|---" * (2 + len(names)) + "|",
    ]
    found = {}
    for regime, branch in MODELS[1:]:
        own, more = joined(tables[regime], patients)
        found[regime, branch] = between_models(
            own[own["branch"] == branch], standard, owners | more
        )
    for method, model in product(METHODS, found):
        rows_of_method = found[model][found[model]["method"] == method]
        cells = [gap(rows_of_method[rows_of_method["score"] == name]) for name in names]
        lines.append(f"| {method} | {LABELS[model]} | {' | '.join(cells)} |")
    return lines


def joined(scores: pd.DataFrame, patients: dict[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """All findings as one, and the patient of each case of image and finding."""
    cases = scores["image_id"] + "|" + scores["finding"]
    owners = {case: patients[case.partition("|")[0]] for case in cases}
    return scores.assign(image_id=cases, finding="all"), owners


def gap(row: pd.DataFrame) -> str:
    if row.empty or row["difference"].isna().all():
        return "–"
    value, low, high, p = row.iloc[0][["difference", "low", "high", "p_holm"]]
    number = f"**{value:+.3f}**" if p <= 0.05 else f"{value:+.3f}"
    return f"{number} ({low:+.3f} to {high:+.3f})"


def folder(one: Set, regime: str) -> Path:
    """Where a run is."""
    return Path("runs") / f"{one.runs}-{regime}" / "0"


def scores_of(one: Set, regime: str) -> pd.DataFrame:
    """The scores of a run on the set's images."""
    path = folder(one, regime)
    name = store_name(RunDir(path), open_store(Path("stores", one.images)))
    table = pd.read_csv(path / "explain" / "scores.csv", dtype={"image_id": str})
    return table[(table["store"] == name) & (table["split"] == "test")]


def pooled(scores: pd.DataFrame, patients: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary and comparison with baselines, all findings together."""
    together, owners = joined(scores, patients)
    return summarise(together, owners), against_baselines(together, owners)


def rows(
    method: str,
    whole: dict[str, tuple[pd.DataFrame, pd.DataFrame]],
    names: Sequence[str],
) -> list[str]:
    """One row a model; baselines that see no network have one."""
    alone = method in BASELINES
    lines = []
    for regime, branch in MODELS[:1] if alone else MODELS:
        summary, against = whole[regime]
        baseline = method.startswith("untrained")
        if baseline and (regime, branch) != MODELS[0]:
            continue
        wanted = "" if alone or baseline else branch
        found = summary[(summary["branch"] == wanted) & (summary["method"] == method)]
        if found.empty:
            continue
        wins = against[(against["branch"] == wanted) & (against["method"] == method)]
        cells = [cell(found, wins, name) for name in names]
        model = "–" if alone else "fresh weights" if baseline else LABELS[regime, branch]
        lines.append(f"| {method.partition(':')[2] or method} | {model} | {' | '.join(cells)} |")
    return lines


def cell(found: pd.DataFrame, wins: pd.DataFrame, name: str) -> str:
    row = found[found["score"] == name]
    if row.empty or row["value"].isna().all():
        return "–"
    value, low, high = row.iloc[0][["value", "low", "high"]]
    best = bool((wins[wins["score"] == name]["wins"] == 1).any())
    number = f"**{value:.3f}**" if best else f"{value:.3f}"
    return f"{number} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
