"""What a full evaluation adds to a fake run: sweep, routes, corruptions, groups, checks, flips."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import fake_runs
import numpy as np
import pandas as pd
from fake_runs import BRANCHES, EPS, SKILL, STRENGTH

from medrobust.data.store import Store
from medrobust.metrics import COLUMNS, EMPTY, read_metrics, score_predictions, write_metrics
from medrobust.predictions import read_predictions, write_predictions
from medrobust.subgroups import subgroup_rows
from medrobust.trust_table import Check, trust_rows, write_trust

NETWORKS = {
    "standard": ["single"],
    "adversarial": ["single"],
    "dual": [*BRANCHES["dual"], "mean", "router"],
}
COMBINED = {"mean": (2.1, 1.1), "router": (2.15, 1.3)}
TRANSFER = 0.35
"""The share of an attack's effect on other networks than the attacked one."""
RULES = ("sensitivity=0.95", "specificity=0.95")


@dataclass(frozen=True)
class Extent:
    """How much is made up."""

    points: int = 4
    """Radii of the sweep, up to twice the training radius."""
    corruptions: tuple[str, ...] = ("blur", "gaussian noise")
    checkpoints: tuple[int, ...] = (4, 8, 12)
    flagged: tuple[tuple[str, str], ...] = (("standard", "single"),)
    """Regimes and branches of which a check failed."""
    unchecked: tuple[tuple[str, str], ...] = (("adversarial", "single"),)


def enrich(run: Path, store: Store, extent: Extent | None = None) -> None:
    """Add to a run of `write_run`; its PGD numbers stay."""
    extent = extent or Extent()
    regime, seed = run.parent.name, int(run.name)
    rows = [read_metrics(run / "metrics.csv")]
    for branch in BRANCHES[regime]:
        rows += _predicted(run, store, regime, branch, seed)
    rows.append(_frame([*_made_up(store, regime, extent), *_thresholds(store, regime)]))
    write_metrics(run / "metrics.csv", pd.concat(rows, ignore_index=True))
    _write_flips(run, store, regime, extent)
    _write_trust(run, store, regime, extent)


def _predicted(
    run: Path, store: Store, regime: str, branch: str, seed: int
) -> Iterator[pd.DataFrame]:
    """The strong attack at the training radius with predictions, and groups of images."""
    name = store.info.name
    rows = read_metrics(run / "metrics.csv")
    chosen = rows[(rows["metric"] == "threshold") & (rows["branch"] == branch)]
    thresholds = dict(zip(chosen["finding"], chosen["value"], strict=True))
    clean = read_predictions(run / "predictions" / f"{name}-test-best-{branch}-clean.csv")
    stem = f"{name}-test-best-{branch}-clean"
    groups = (store.table, thresholds, stem, ("sex", "age"), 40)
    yield subgroup_rows(clean.frame, clean.sidecar, *groups).rows
    frame = fake_runs.predict(store, "test", regime, branch, "strong", EPS, seed)
    stem = _stem(name, "best", branch, "strong", EPS)
    sidecar = fake_runs.sidecar_of(store, "test", branch, "strong", EPS)
    sidecar["attack"] |= {"members": ["margin-apgd"], "unit": "image", "passes": 96_000}
    write_predictions(run / "predictions" / f"{stem}.csv", frame, sidecar)
    yield score_predictions(frame, sidecar, store.table, thresholds, stem, redraws=40).rows
    yield subgroup_rows(frame, sidecar, store.table, thresholds, stem, ("sex", "age"), 40).rows
    fake_runs.write_attacked(run / "adversarial" / f"{stem}.npz", store, seed)
    (run / "receipts").mkdir(exist_ok=True)
    receipt = {"predictions": stem, "seconds": 340.0}
    (run / "receipts" / f"{stem}.json").write_text(json.dumps(receipt))


def _made_up(store: Store, regime: str, extent: Extent) -> Iterator[dict[str, Any]]:
    """Rows by formula, without predictions."""
    name = store.info.name
    for network in NETWORKS[regime]:
        if network in COMBINED:
            yield _row(name, network, value=_auroc(regime, network))
        yield from _attacked(name, regime, network, extent)
        for saved, share in (("8bit", 0.9), ("16bit", 1.0), ("stored", 0.9)):
            value = _auroc(regime, network, 1.05 * share)
            yield _row(name, network, f"fast/{saved}", EPS, network, value)
        for corruption in extent.corruptions:
            for severity in range(1, 6):
                value = _auroc(regime, network, 0.0, lost=0.22 * severity)
                yield _row(name, network, f"corruption:{corruption}", severity, "", value)
    for epoch in extent.checkpoints:
        yield from _learning(name, regime, epoch)


def _attacked(name: str, regime: str, network: str, extent: Extent) -> Iterator[dict[str, Any]]:
    """Every attack on the network itself; those on others at the training radius only."""
    radii = [2 * EPS * k / extent.points for k in range(1, extent.points + 1)]
    for attack, eps in [*(("fast", r) for r in radii), ("strong", EPS), ("strong", 2 * EPS)]:
        for attacked in NETWORKS[regime]:
            own = network == attacked
            predicted = own and network not in COMBINED and (attack, eps) == ("strong", EPS)
            if not predicted and (own or eps == EPS):
                effect = STRENGTH[attack] * eps / EPS * (1 if own else TRANSFER)
                value = _auroc(regime, network, effect)
                yield _row(name, network, attack, eps, attacked, value)


def _learning(name: str, regime: str, epoch: int) -> Iterator[dict[str, Any]]:
    learnt = 1 - np.exp(-epoch / 4)
    for branch in BRANCHES[regime]:
        for attack, effect in (("", 0.0), ("fast", 1.05)):
            value = 0.5 + learnt * (_auroc(regime, branch, effect) - 0.5)
            shown = (attack, EPS if attack else 0.0, branch, value)
            yield _row(name, branch, *shown, checkpoint=f"epoch-{epoch:04d}")


def _thresholds(store: Store, regime: str) -> Iterator[dict[str, Any]]:
    """Operating points that hold a sensitivity or a specificity."""
    name = store.info.name
    for branch in BRANCHES[regime]:
        for finding in [*store.findings, "macro"]:
            for rule, pair in zip(RULES, ((0.94, 0.6), (0.55, 0.95)), strict=True):
                if finding != "macro":
                    row = _row(name, branch, value=0.3, finding=finding, metric=f"threshold@{rule}")
                    yield row | {"split": "val", "interval": ""}
                for attack, lost in (("", 0.0), ("strong", 0.2)):
                    for metric, value in zip(("sensitivity", "specificity"), pair, strict=True):
                        row = _row(
                            *(name, branch, attack, EPS if attack else 0.0, branch, value - lost),
                            metric=f"{metric}@{rule}",
                            finding=finding,
                        )
                        yield row


def _row(
    store: str,
    network: str,
    attack: str = "",
    eps: float = 0.0,
    attacked: str = "",
    value: float = 0.0,
    **more: str,
) -> dict[str, Any]:
    plain = attack in STRENGTH or "/" in attack
    checkpoint = more.get("checkpoint", "best")
    return EMPTY | {
        "store": store,
        "split": "test",
        "checkpoint": "best",
        "branch": network,
        "attack": attack,
        "goal": "total" if plain else "",
        "norm": "linf" if plain else "",
        "eps": eps,
        "attacked_branch": attacked if plain else "",
        "group": "all",
        "finding": "macro",
        "metric": "auroc",
        "value": value,
        "low": max(0.0, value - 0.05),
        "high": min(1.0, value + 0.05),
        "interval": "bootstrap",
        "n": 80,
        "n_positive": 28,
        "predictions": _stem(store, checkpoint, network, attack, eps),
        **more,
    }


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _stem(store: str, checkpoint: str, network: str, attack: str, eps: float) -> str:
    shown = f"{attack}-linf-{eps:.6g}-on-{network}" if attack else "clean"
    return f"{store}-test-{checkpoint}-{network}-{shown}"


def _auroc(regime: str, network: str, effect: float = 0.0, lost: float = 0.0) -> float:
    skill, slope = COMBINED.get(network) or SKILL[regime, network]
    return NormalDist().cdf((1.12 * skill - slope * effect - lost) / np.sqrt(2.4))


def _write_flips(run: Path, store: Store, regime: str, extent: Extent) -> None:
    rows = store.rows("test")
    radii = np.array([2 * EPS * k / extent.points for k in range(1, extent.points + 1)])
    (run / "flips").mkdir()
    for branch in BRANCHES[regime]:
        skill, slope = SKILL[regime, branch]
        table = store.table[["image_id", "patient_id"]].iloc[rows].reset_index(drop=True)
        for place, finding in enumerate(store.findings):
            spare = np.random.default_rng([place, 3]).normal(0.5 * skill, 1.0, len(rows))
            needed = EPS * spare / slope
            place_of = np.searchsorted(radii, needed)
            reached = np.append(radii, np.nan)[place_of]
            reached[needed <= 0] = 0.0
            reached[np.isnan(store.labels[rows, place])] = np.nan
            table[finding] = reached
        stem = _stem(store.info.name, "best", branch, "fast", float(radii[-1]))
        table.to_csv(run / "flips" / f"{stem}.csv", index=False)


def _write_trust(run: Path, store: Store, regime: str, extent: Extent) -> None:
    parts = []
    for branch in BRANCHES[regime]:
        if (regime, branch) in extent.unchecked:
            continue
        shared = {"store": store.info.name, "split": "test", "checkpoint": "best", "norm": "linf"}
        identity = shared | {"branch": branch, "eps": EPS, "n": 64}
        parts.append(trust_rows(_checks((regime, branch) in extent.flagged), identity))
    if parts:
        write_trust(run / "trust.csv", pd.concat(parts, ignore_index=True))


def _checks(flagged: bool) -> list[Check]:
    better = "Square with 500 queries, which uses no gradient, does better on 9.4% of the images"
    return [
        Check("steps", 0.02, 0.25, "pass", "2.0% of the rise came after step 10: fine."),
        Check("half", 0.41, 0.5, "pass", "The best AUROC of a finding is 0.410: fine."),
        Check("black-box", 0.094, 0.02, "flag", f"{better}: the gradient may be hidden.")
        if flagged
        else Check("black-box", 0.0, 0.02, "pass", "Square does better nowhere: fine."),
        Check("transfer", np.nan, np.nan, "not checked", "Not checked: there is no other network."),
    ]
