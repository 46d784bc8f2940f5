"""A small store and finished runs with made-up but plausible numbers, written as the stages do."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import save_file

from medrobust.data.prepare import prepare
from medrobust.data.source import Card, Mask, Picture
from medrobust.data.store import Store
from medrobust.files import file_name
from medrobust.metrics import (
    choose_thresholds,
    score_predictions,
    threshold_rows,
    write_metrics,
)
from medrobust.predictions import write_predictions

AWKWARD = "Mass <b>&co"
FINDINGS = ("Effusion", "Nodule", AWKWARD)
EPS = 4 / 255
RADII = (2 / 255, EPS, 8 / 255)
BRANCHES = {"standard": ["single"], "adversarial": ["single"], "dual": ["clean", "adv"]}
# How far apart the classes' scores lie: clean, then how fast the attack takes that away.
SKILL = {
    ("standard", "single"): (2.3, 2.6),
    ("adversarial", "single"): (1.7, 0.5),
    ("dual", "clean"): (2.2, 1.8),
    ("dual", "adv"): (1.75, 0.55),
}
STRENGTH = {"pgd": 1.0, "fast": 1.05, "strong": 1.1}
"""Of attacks, as a multiple of PGD's effect."""
FOCUS = {"single": 0.5, "clean": 0.6, "adv": 1.6}
SCORES = ("hit_rate", "mass_accuracy")
METHODS = {"gradient": 1.0, "grad-cam": 0.8}
"""Of maps, with their share of the focus."""
BASELINES = {"centre": 0.3, "untrained:gradient": 0.1, "untrained:grad-cam": 0.12}


@dataclass(frozen=True)
class Workplace:
    """A store and four runs: standard, adversarial, and two seeds of dual."""

    store: Store
    runs: Path

    @property
    def paths(self) -> list[Path]:
        return [self.runs / name for name in ("standard", "adversarial", "dual")]


@dataclass(frozen=True)
class Blobs:
    """Grey noise; each finding is a brighter disc at a place of its own."""

    findings: tuple[str, ...]
    images: int
    side: int
    channels: int = 1
    depth: int | None = None
    patients: Literal["known", "unknown"] = "known"
    task: Literal["multilabel", "exclusive"] = "multilabel"

    @property
    def card(self) -> Card:
        return Card(
            name="blobs",
            title="Blobs & noise",
            source="made up by a test",
            licence="CC0",
            citation="none needed",
            caveats="Not a picture of anything.",
        )

    def index(self) -> pd.DataFrame:
        generator = np.random.default_rng(5)
        n = np.arange(self.images)
        table = pd.DataFrame({"image_id": [f"img{i:04d}" for i in n], "source": "blobs"})
        table["file"] = table["image_id"] + ".png"
        if self.patients == "known":
            table["patient_id"] = [f"patient{i // 2:04d}" for i in n]
            table["split"] = np.array(["train", "train", "val", "test", "test"])[n // 2 % 5]
        table["age"] = generator.normal(58, 14, self.images).round()
        table["sex"] = generator.choice(["F", "M"], self.images)
        table["view"] = generator.choice(["PA", "AP", None], self.images, p=[0.7, 0.25, 0.05])
        for finding in self.findings:
            label = (generator.random(self.images) < 0.35).astype(float)
            label[generator.random(self.images) < 0.04] = np.nan
            table[f"label:{finding}"] = label
        return table

    def read(self, row: Mapping[str, Any]) -> Picture:
        number = int(str(row["image_id"])[3:])
        generator = np.random.default_rng(number)
        shape = (self.side, self.side) if self.depth is None else (self.depth, self.side, self.side)
        y, x = np.mgrid[0 : self.side, 0 : self.side] / self.side
        base = 0.45 - 0.5 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
        pixels = np.repeat((base + 0 * np.zeros(shape))[None], self.channels, 0)
        pixels = pixels + generator.normal(0, 0.02, pixels.shape)
        masks = []
        for place, finding in enumerate(self.findings):
            if row[f"label:{finding}"] == 1:
                disc = np.broadcast_to(self.disc(number, place), shape)
                pixels += 0.25 * disc
                masks.append(Mask(finding, "finding", np.array(disc)))
        return Picture(np.clip(pixels, 0, 1) * 255, 0, 255, masks=tuple(masks))

    def disc(self, number: int, place: int) -> np.ndarray:
        generator = np.random.default_rng([number, place])
        angle = 2 * np.pi * place / len(self.findings) + generator.normal(0, 0.2)
        y, x = np.mgrid[0 : self.side, 0 : self.side] / self.side
        centre = 0.5 + 0.27 * np.array([np.sin(angle), np.cos(angle)])
        return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < generator.uniform(0.08, 0.13) ** 2


def write_store(folder: Path, blobs: Blobs) -> Store:
    size = None if blobs.depth else blobs.side
    return prepare(blobs, folder, size=size)


def write_run(root: Path, store: Store, regime: str, seed: int = 0, redraws: int = 200) -> Path:
    """`root/<regime>/<seed>` with everything that train, evaluate and explain leave behind."""
    run = root / regime / str(seed)
    run.mkdir(parents=True)
    _write_training(run, store, regime, seed)
    rows = []
    for branch in BRANCHES[regime]:
        rows += _write_predictions(run, store, regime, branch, seed, redraws)
    write_metrics(run / "metrics.csv", pd.concat(rows, ignore_index=True))
    _write_explanations(run, store, regime, seed)
    (run / "DONE").write_text("done\n")
    return run


def _write_training(run: Path, store: Store, regime: str, seed: int) -> None:
    config = {
        "name": regime,
        "regime": regime,
        "seed": seed,
        "data": {"store": str(store.path)},
        "network": {"name": "resnet18", "width": 16},
        "attack": {"name": "pgd", "norm": "linf", "eps": EPS, "steps": 5, "step_size": None},
        "train": {"epochs": 12, "batch_size": 64, "optimiser": "adamw", "lr": 0.005},
        "evaluate": {"eps": None, "steps": 20, "restarts": 1},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    provenance = {
        "medrobust": "0.1.0",
        "commit": "0123456789abcdef",
        "dirty": False,
        "packages": {"torch": "2.13.0", "numpy": "2.4.0"},
        "python": "3.11.9",
        "platform": "Linux",
        "device": "cpu",
        "threads": 1,
        "store": {"name": store.info.name, "path": str(store.path), "checksum": store.checksum},
        "command": ["medrobust", "train", f"configs/blobs-{regime}.yaml", f"seed={seed}"],
        "started": "2025-01-01T10:00:00+00:00",
        "finished": "2025-01-01T10:03:20+00:00",
        "seconds": 200.4,
    }
    (run / "provenance.json").write_text(json.dumps(provenance))
    (run / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in _epochs(regime, seed)))
    weights = {"conv.weight": np.zeros((16, 1, 3, 3), np.float32), "bn.weight": np.ones(16, "f4")}
    weights["bn.running_mean"] = np.zeros(16, np.float32)
    (run / "checkpoints").mkdir()
    save_file(weights, run / "checkpoints" / "best.safetensors")


def _epochs(regime: str, seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng([seed, len(regime)])
    best, lines = 0.0, []
    for epoch in range(1, 13):
        progress = 1 - np.exp(-epoch / 4)
        clean = {b: 0.5 + 0.4 * progress + generator.normal(0, 0.01) for b in BRANCHES[regime]}
        pgd = {
            b: 0.5 + (0.3 if b == "adv" or regime == "adversarial" else -0.3) * progress
            for b in BRANCHES[regime]
        }
        score = float(np.mean([*clean.values()]))
        lines.append(
            {
                "epoch": epoch,
                "step": 74 * epoch,
                "learning_rate": 0.005 * (1 - epoch / 13),
                "train_loss": float(0.7 * np.exp(-epoch / 6) + generator.normal(0, 0.01)),
                "seconds": 16.0,
                "validation": {"clean": clean, "pgd": pgd},
                "score": score,
                "best": score > best,
            }
        )
        best = max(best, score)
    return lines


def _write_predictions(
    run: Path, store: Store, regime: str, branch: str, seed: int, redraws: int
) -> list[pd.DataFrame]:
    frame = predict(store, "val", regime, branch, "", 0.0, seed)
    stem = f"{store.info.name}-val-best-{branch}-clean"
    sidecar = sidecar_of(store, "val", branch, "", 0.0)
    write_predictions(run / "predictions" / f"{stem}.csv", frame, sidecar)
    thresholds = choose_thresholds(frame, store.table)
    rows = [threshold_rows(thresholds, frame, sidecar, store.table, stem)]
    conditions = [("", 0.0), ("noise-control", EPS), *(("pgd", eps) for eps in RADII)]
    for attack, eps in conditions:
        frame = predict(store, "test", regime, branch, attack, eps, seed)
        tail = f"{attack}-linf-{eps:.6f}-on-{branch}" if attack else "clean"
        stem = f"{store.info.name}-test-best-{branch}-{tail}"
        sidecar = sidecar_of(store, "test", branch, attack, eps)
        write_predictions(run / "predictions" / f"{stem}.csv", frame, sidecar)
        scores = score_predictions(frame, sidecar, store.table, thresholds, stem, redraws=redraws)
        rows.append(scores.rows)
        if attack == "pgd" and eps == EPS:
            write_attacked(run / "adversarial" / f"{stem}.npz", store, seed)
    return rows


def predict(
    store: Store, split: str, regime: str, branch: str, attack: str, eps: float, seed: int
) -> pd.DataFrame:
    rows = store.rows(split)
    skill, slope = SKILL[regime, branch]
    strength = STRENGTH.get(attack, 0.0)
    skill -= slope * (strength * eps / EPS if strength else 0.03 if attack else 0.0)
    table = store.table.iloc[rows]
    frame = table[["image_id", "patient_id"]].reset_index(drop=True)
    frame.insert(2, "branch", branch)
    logits = {}
    for place, finding in enumerate(store.findings):
        noise = np.random.default_rng([place, 1]).normal(size=len(rows))
        noise += 0.45 * np.random.default_rng([place, seed, len(regime), len(branch)]).normal(
            size=len(rows)
        )
        truth = np.nan_to_num(store.labels[rows, place])
        logits[finding] = skill * (truth - 0.5) * (1 + 0.12 * place) + noise
    for finding, logit in logits.items():
        frame[finding] = 1 / (1 + np.exp(-logit))
    for finding, logit in logits.items():
        frame[f"logit:{finding}"] = logit
    return frame


def sidecar_of(store: Store, split: str, branch: str, attack: str, eps: float) -> dict[str, Any]:
    return {
        "store": store.info.name,
        "store_checksum": store.checksum,
        "split": split,
        "checkpoint": "best",
        "branch": branch,
        "attack": {
            "name": attack,
            "goal": "total" if attack in STRENGTH else "",
            "norm": "linf" if attack else "",
            "eps": eps,
            "steps": 20,
            "restarts": 1,
            "attacked_branch": branch if attack else "",
            "seed": 0,
        },
        "weights": hashlib.sha256(branch.encode()).hexdigest(),
        "task": store.info.task,
    }


def write_attacked(file: Path, store: Store, seed: int) -> None:
    rows = store.rows("test")
    clean = store.pixels(rows) / np.iinfo(store.images.dtype).max
    signs = np.sign(np.random.default_rng(seed).normal(size=clean.shape))
    file.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        file,
        image_id=store.table["image_id"].iloc[rows].to_numpy(str),
        image=np.clip(clean + EPS * signs, 0, 1).astype(np.float32),
    )


def _write_explanations(run: Path, store: Store, regime: str, seed: int) -> None:
    rows = set(store.rows("test"))
    lines: list[dict[str, Any]] = []
    for finding in store.findings:
        names = store.table["image_id"].astype(str)
        truth = {names.iloc[r]: m for r, m in store.truth(finding).items() if r in rows}
        areas = {name: float(mask.mean()) for name, mask in truth.items()}
        lines += [
            _score(store, "area", finding, name, s, a) for name, a in areas.items() for s in SCORES
        ]
        for method, skill in BASELINES.items():
            lines += _scores(store, method, finding, areas, skill, seed)
        for branch in BRANCHES[regime]:
            focus = FOCUS[branch] + (1.0 if regime == "adversarial" else 0)
            for method, share in METHODS.items():
                generator = np.random.default_rng([seed, len(finding), len(branch)])
                maps = [generator.normal(size=m.shape) + 2 * focus * m for m in truth.values()]
                folder = run / "explain" / "maps" / store.info.name / "test" / branch / method
                write_maps(folder / f"{file_name(finding)}.npz", list(truth), np.stack(maps))
                scores = _scores(store, method, finding, areas, share * focus, seed)
                lines += [line | {"branch": branch} for line in scores]
    pd.DataFrame(lines).to_csv(run / "explain" / "scores.csv", index=False)


def _scores(
    store: Store, method: str, finding: str, areas: Mapping[str, float], skill: float, seed: int
) -> list[dict[str, Any]]:
    generator = np.random.default_rng([seed, len(finding), int(100 * skill)])
    lines = []
    for name, area in areas.items():
        hit = float(generator.random() < area + (1 - area) * min(0.95, skill / 2.5))
        mass = float(np.clip(area * (1 + 2 * skill) + generator.normal(0, 0.02), 0, 1))
        for score, value in zip(SCORES, (hit, mass), strict=True):
            lines.append(_score(store, method, finding, name, score, value))
    return lines


def _score(
    store: Store, method: str, finding: str, name: str, score: str, value: float
) -> dict[str, Any]:
    head = {"store": store.info.name, "split": "test", "branch": "", "method": method}
    return head | {"finding": finding, "image_id": name, "score": score, "value": value}


def write_maps(file: Path, names: list[str], maps: np.ndarray) -> None:
    """As `explain` does: float16 of at most 1, and what they were divided by."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scale = np.abs(maps).reshape(len(maps), -1).max(axis=1)
    shaped = scale.reshape(-1, *[1] * (maps.ndim - 1))
    np.savez_compressed(
        file,
        image_id=np.array(names, dtype=str),
        map=(maps / shaped).astype(np.float16),
        scale=(0.02 * scale).astype(np.float32),
    )
