"""What is left of an attack once its images are saved: write them, read them again, score them."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from medrobust.adversarial import read_adversarial
from medrobust.attacks.gradient import frozen, full_precision
from medrobust.attacks.worst import class_margin
from medrobust.conditions import Condition
from medrobust.data.batches import load_images
from medrobust.data.store import Store
from medrobust.job import Job
from medrobust.losses import rank_scores
from medrobust.predictions import write_predictions
from medrobust.quantised import (
    Depth,
    Native,
    check_images,
    levels_of,
    read_images,
    write_images,
)
from medrobust.receipts import Cost, has_receipt, write_receipt
from medrobust.sweeping import Sortie, Track


def rescored_name(suite: str, depth: Depth) -> str:
    """What tables call it: `fast/8bit`, `strong/stored`."""
    return f"{suite}/{depth if depth == 'stored' else f'{depth}bit'}"


def check_saveable(job: Job) -> None:
    """Raise MedrobustError if attacked images can't be saved as wanted: before any attack."""
    depth, rows = job.what.save, job.store.rows(job.what.split)
    if depth is not None:
        check_images(load_images(job.store, rows[:1], "cpu"), depth)
        ids = job.store.table["image_id"].iloc[rows].astype(str).tolist()
        levels_of(depth, _native(job.store, rows), ids)


def rescore(sortie: Sortie, depth: Depth, track: Track) -> list[Condition]:
    """Predictions of every radius's images as PNG files give them back; see the module.

    The files stay in `adversarial/<stem>/<depth>/<slot>/`, a slot per finding.
    """
    job, sweep = sortie.job, sortie.sweep
    name, done = rescored_name(sweep.suite, depth), []
    for radius in sweep.radii:
        target = sortie.path(sweep.attacked, radius, name)
        sidecar = sortie.sidecar(sweep.attacked, radius)
        sidecar["attack"] |= {"name": name}
        done.append(sweep.condition(radius, name))
        if job.is_there(target, sidecar) and has_receipt(job, target):
            continue
        count = track(len(job.store.rows(job.what.split)), f"{job.run.path}: {target.stem}")
        frame, slots = _read_again(sortie, sortie.path(sweep.attacked, radius).stem, depth)
        write_predictions(target, frame, sidecar)
        write_receipt(job, target, frame, sidecar, Cost(0.0, len(frame) * slots))
        count(len(frame))
    return done


def _read_again(sortie: Sortie, stem: str, depth: Depth) -> tuple[pd.DataFrame, int]:
    """Predictions of the files, and how many images each case has."""
    job, network = sortie.job, sortie.sweep.attacked
    saved = read_adversarial(job.run.adversarial / f"{stem}.npz")
    index = pd.Index(job.store.table["image_id"].astype(str))
    rows = index.get_indexer(pd.Index(saved.image_id)).astype(np.int64)
    native = _native(job.store, rows) if depth == "stored" else None
    columns: list[Tensor] = []
    margin: Any = None
    for slot in range(saved.images.shape[1]):
        folder = job.run.adversarial / stem / depth / str(slot)
        shown = torch.from_numpy(saved.images[:, slot])
        write_images(folder, saved.image_id, shown, depth, native, overwrite=True)
        logits = _logits(sortie, read_images(folder)[1])
        if slot < len(job.store.findings):
            columns.append(rank_scores(logits, job.store.info.task)[:, slot])
        else:  # of exclusive classes one more, that of the class
            margin = class_margin(logits, torch.from_numpy(job.store.labels[rows]))
    frame = job.frame(rows, network, torch.stack(columns, dim=1), margin)
    return frame, saved.images.shape[1]


def _native(store: Store, rows: NDArray[np.int64]) -> Native:
    table = store.table.iloc[rows]
    return Native(table["native_low"].to_numpy(float), table["native_high"].to_numpy(float))


def _logits(sortie: Sortie, images: Tensor) -> Tensor:
    """(N, K) of the attacked network, in batches, on the CPU."""
    job = sortie.job
    network, size = job.networks[sortie.sweep.attacked], job.cases(job.what.split).batch_size
    with frozen(network):
        parts = [
            full_precision(network(images[first : first + size].to(job.device))).cpu()
            for first in range(0, len(images), size)
        ]
    return torch.cat(parts)
