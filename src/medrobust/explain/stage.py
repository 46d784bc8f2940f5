"""The explain stage: maps of a run's model for a store, and their scores against the truth."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from medrobust.data.batches import load_images
from medrobust.data.cases import gallery_rows
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.evaluate import Track, choose_device
from medrobust.explain.localisation import SCORES, centre_prior
from medrobust.explain.saliency import gradient
from medrobust.files import file_name, write_atomically, write_csv
from medrobust.models import fit_model, untrained_like
from medrobust.progress import Count
from medrobust.rundir import RunDir, store_name

COLUMNS = ["store", "split", "branch", "method", "finding", "image_id", "score", "value"]
METHOD = "gradient"

Maps = NDArray[np.float32]
Rows = NDArray[np.int64]


def explain(
    run: RunDir,
    store: Store | None = None,
    *,
    split: str = "test",
    checkpoint: str = "best",
    findings: Sequence[str] | None = None,
    batch_size: int = 64,
    device: str = "auto",
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write `explain/maps/...` and `explain/scores.csv` of a run; return what to be warned of.

    Mapped are, per finding, all positive images that have a mask of it, and the gallery's.
    Scores stand next to a centre prior and to the same network with fresh weights.

    Raises:
        MedrobustError: unknown finding, empty split, or a store that does not fit the model.
    """
    store = store or run.training_store()
    fitted = fit_model(run, store, checkpoint)
    model, store = fitted.model, fitted.aligned.store
    where = choose_device(device)
    networks = {branch: model.branch(branch).to(where) for branch in model.branches}
    fresh = untrained_like(networks[model.branches[0]], run.config(), store).to(where)
    job = _Job(run, store, store_name(run, store), split, where, batch_size, checkpoint)
    tables, chosen = [], _chosen(store, fitted.aligned.missing, findings)
    for finding in chosen:
        rows, truth = mapped_rows(store, split, finding), store.truth(finding)
        scored = [int(row) for row in rows if row in truth]
        total = len(rows) * len(networks) + len(scored)
        done = track(total, f"{run.path}: maps of {finding}")
        for branch, network in networks.items():
            maps = job.maps(network, rows, finding, done)
            job.write_maps(maps, rows, branch, finding)
            tables.append(
                job.scores(_pick(maps, rows, scored), truth, scored, branch, METHOD, finding)
            )
        for method, maps in (
            ("centre", _centre(store, len(scored))),
            ("untrained", job.maps(fresh, np.array(scored, np.int64), finding, done)),
        ):
            for branch in networks:
                tables.append(job.scores(maps, truth, scored, branch, method, finding))
    scores = pd.concat(tables, ignore_index=True)
    _merge_scores(job.folder / "scores.csv", scores, chosen, job)
    return [f"{store.path}: {note}" for note in fitted.aligned.notes]


def mapped_rows(store: Store, split: str, finding: str) -> Rows:
    """The images that get a map: positives with a mask of the finding, and the gallery's."""
    inside = store.rows(split)
    positive = store.table[f"label:{finding}"].to_numpy()[inside] == 1
    masked = np.isin(inside, list(store.truth(finding)))
    shown = np.isin(inside, gallery_rows(store, split))
    chosen: Rows = inside[(positive & masked) | shown]
    return chosen


@dataclass(frozen=True)
class _Job:
    run: RunDir
    store: Store
    name: str
    """The store's, in paths and tables."""
    split: str
    device: torch.device
    batch_size: int
    checkpoint: str

    @property
    def folder(self) -> Path:
        """`explain`, which reports show; other checkpoints than the best have their own."""
        explain = self.run.explain
        return (
            explain
            if self.checkpoint == "best"
            else explain.with_name(f"explain-{self.checkpoint}")
        )

    def maps(self, network: nn.Module, rows: Rows, finding: str, done: Count) -> Maps:
        """(n, H, W) or (n, D, H, W) gradient maps of these rows."""
        column = self.store.findings.index(finding)
        parts = [np.zeros((0, *self.store.images.shape[2:]), np.float32)]
        for first in range(0, len(rows), self.batch_size):
            batch = rows[first : first + self.batch_size]
            images = load_images(self.store, batch, self.device)
            parts.append(gradient(network, images, column).cpu().numpy())
            done(len(batch))
        return np.concatenate(parts)

    def write_maps(self, maps: Maps, rows: Rows, branch: str, finding: str) -> None:
        """One file per finding, each map divided by its own largest |value|."""
        folder = self.folder / "maps" / self.name / branch / METHOD
        axes = tuple(range(1, maps.ndim))
        scale = np.abs(maps).max(axis=axes).astype(np.float32)
        divisor = np.where(scale > 0, scale, 1).reshape(-1, *[1] * len(axes))
        with write_atomically(folder / f"{file_name(finding)}.npz") as temporary:
            np.savez_compressed(
                temporary,
                image_id=self.store.table["image_id"].iloc[rows].to_numpy(str),
                map=(maps / divisor).astype(np.float16),
                scale=scale,
            )

    def scores(
        self,
        maps: Maps,
        truth: Mapping[int, NDArray[np.bool_]],
        rows: Iterable[int],
        branch: str,
        method: str,
        finding: str,
    ) -> pd.DataFrame:
        """Every score of every map against the image's mask; empty where not scorable."""
        ids = self.store.table["image_id"]
        found = [
            (self.name, self.split, branch, method, finding, ids.iloc[row], name, value)
            for row, saliency in zip(rows, maps, strict=True)
            for name, value in _scored(saliency, truth[row])
        ]
        return pd.DataFrame(found, columns=COLUMNS)


def _scored(saliency: Maps, mask: NDArray[np.bool_]) -> Iterator[tuple[str, float]]:
    for name, score in SCORES.items():
        yield name, score(saliency, mask)


def _chosen(store: Store, missing: Collection[str], findings: Sequence[str] | None) -> list[str]:
    labelled = [finding for finding in store.findings if finding not in missing]
    unknown = sorted(set(findings or ()) - set(labelled))
    if unknown:
        raise MedrobustError(
            f"finding: expected some of {', '.join(labelled)}, found {unknown[0]!r}"
        )
    return list(findings or labelled)


def _pick(maps: Maps, rows: Rows, scored: Sequence[int]) -> Maps:
    return maps[np.isin(rows, list(scored))]


def _centre(store: Store, count: int) -> Maps:
    prior = centre_prior(store.images.shape[2:]).astype(np.float32)
    return np.broadcast_to(prior, (count, *prior.shape))


def _merge_scores(path: Path, scores: pd.DataFrame, findings: list[str], job: _Job) -> None:
    """Replace the scores of this store, split and these findings; keep the others."""
    if path.is_file():
        older = pd.read_csv(path, dtype="str", keep_default_na=False)  # numbers stay as written
        same = (older["store"] == job.name) & (older["split"] == job.split)
        same &= older["finding"].isin(findings)
        scores = pd.concat([older[~same], scores], ignore_index=True)
    write_csv(path, scores)
