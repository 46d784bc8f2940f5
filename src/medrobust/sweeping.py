"""One sweep of a suite, written as predictions, attacked images, flips and receipts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from medrobust.adversarial import Adversarial, count_adversarial, write_adversarial
from medrobust.assault import Assault
from medrobust.attacked import Attacked, Subsets, attack_all, batches_folder, forget
from medrobust.conditions import Sweep
from medrobust.data.cases import gallery_rows, stratified_rows
from medrobust.errors import MedrobustError
from medrobust.files import write_csv
from medrobust.job import Job
from medrobust.parallel.group import ALONE, Group
from medrobust.predictions import write_predictions
from medrobust.progress import Count
from medrobust.receipts import Cost, has_receipt, write_receipt

Track = Callable[[int, str], Count]
"""(number of images, title) -> what is called with the number of images done."""


@dataclass(frozen=True)
class Sortie:
    """A sweep, and what its attacks must know."""

    job: Job
    sweep: Sweep
    cuts: Mapping[str, Tensor]
    """Of every network: the thresholds as scores."""

    def sidecar(self, network: str, radius: float) -> dict[str, Any]:
        """What made one file of predictions."""
        job, what = self.job, self.job.what
        findings = job.store.findings
        attack = self.sweep.settings(radius) | job.aim() | {"norm": job.norm_name(self.sweep)}
        attack |= {"unit": what.unit, "square_images": what.square_images}
        attack |= {"seed": job.config.seed}
        attack |= {"cuts": dict(zip(findings, self.cuts[network].tolist(), strict=True))}
        return job.identity(what.split, network) | {"attack": attack}

    def path(self, network: str, radius: float, name: str = "") -> Path:
        """Its place; `name` stands for the suite's own."""
        condition = self.sweep.condition(radius, name)
        return self.job.path(
            self.job.what.split, network, condition, self.job.norm_name(self.sweep)
        )

    @property
    def kept(self) -> NDArray[np.int64]:
        """Rows of which attacked images are kept: a few to look at, or all to save."""
        split = self.job.what.split
        if self.job.what.save is not None:
            return self.job.store.rows(split)
        return gallery_rows(self.job.store, split)


def carry_out(sortie: Sortie, track: Track, group: Group = ALONE) -> None:
    """Attack, and write what came out, unless it is there already.

    Of several processes all attack, and the first writes.
    """
    job, sweep = sortie.job, sortie.sweep
    networks = job.seeing(sweep.condition(sweep.radii[0]))
    wanted = {(n, r): sortie.sidecar(n, r) for n in networks for r in sweep.radii}
    if group.on_first(lambda: all(_is_there(sortie, *w, sidecar) for w, sidecar in wanted.items())):
        return
    cases, plan = job.cases(job.what.split), {"wanted": list(wanted.values())}
    plan |= {"kept": [sortie.kept.tolist()]}
    batches = batches_folder(job.run.predictions / ".batches", plan, cases)
    found = attack_all(
        _assault(sortie, networks),
        cases,
        Subsets(sortie.kept, _checked(job)),
        batches,
        _ranges(job),
        track(
            len(job.store.rows(job.what.split)),
            f"{job.run.path}: {sweep.suite} on {sweep.attacked}",
        ),
        group,
    )
    if found is None:
        return
    cost = Cost(found.seconds, found.passes)
    _write_flips(sortie, found)  # before the predictions, which are what an interruption asks for
    for number, radius in enumerate(sweep.radii):
        for network in networks:
            _write(sortie, network, number, found, wanted[network, radius], cost)
    forget(batches)


def _assault(sortie: Sortie, networks: tuple[str, ...]) -> Assault:
    job, sweep = sortie.job, sortie.sweep
    return Assault(
        members=sweep.members,
        attacked=sweep.attacked,
        deployed={name: job.networks[name] for name in networks},
        cuts={name: sortie.cuts[name] for name in networks},
        radii=sweep.radii,
        norm=sweep.norm,
        task=job.store.info.task,
    )


def _is_there(sortie: Sortie, network: str, radius: float, sidecar: Mapping[str, Any]) -> bool:
    job, path = sortie.job, sortie.path(network, radius)
    if not (_is_as_good(path, sidecar) and has_receipt(job, path)):
        return False
    if job.what.save is None or network != sortie.sweep.attacked:
        return True
    return count_adversarial(job.run.adversarial / f"{path.stem}.npz") == len(sortie.kept)


def _is_as_good(path: Path, sidecar: Mapping[str, Any]) -> bool:
    """Whether predictions of these settings are there; more radii may have been carried forward."""
    try:
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        carried = set(found["attack"].pop("carried"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    attack = dict(sidecar["attack"])
    enough = carried >= set(attack.pop("carried"))
    return path.is_file() and enough and bool(found == dict(sidecar) | {"attack": attack})


def _write(
    sortie: Sortie,
    network: str,
    number: int,
    found: Attacked,
    sidecar: Mapping[str, Any],
    cost: Cost,
) -> None:
    job, sweep = sortie.job, sortie.sweep
    path = sortie.path(network, sweep.radii[number])
    rows = job.store.rows(job.what.split)
    scores, margins = found.scores[network][number], found.margins[network][number]
    frame = job.frame(rows, network, scores, margins)
    if network == sweep.attacked and len(found.rows):
        _write_images(job, path.stem, found, number, scores[np.searchsorted(rows, found.rows)])
    write_predictions(path, frame, sidecar)
    write_receipt(job, path, frame, sidecar, cost)


def _write_images(
    job: Job, stem: str, found: Attacked, number: int, scores: NDArray[np.float64]
) -> None:
    """The kept images; to look at is that of the finding that was fooled most."""
    ids = job.store.table["image_id"].iloc[found.rows].astype(str).tolist()
    images, labels = found.images[number], job.store.labels[found.rows]
    if job.store.info.task == "exclusive":
        shown = np.full(len(ids), images.shape[1] - 1)
    else:
        margins = np.where(np.isnan(labels), np.inf, (2 * labels - 1) * scores)
        shown = margins.argmin(axis=1)
    write_adversarial(job.run.adversarial / f"{stem}.npz", Adversarial(ids, images), shown)


def _write_flips(sortie: Sortie, found: Attacked) -> None:
    """`flips/<stem of the largest radius>.csv`: the smallest radius that flips each finding.

    0 where the unchanged image is decided wrongly, empty where no radius does it.
    """
    job, sweep, network = sortie.job, sortie.sweep, sortie.sweep.attacked
    rows = job.store.rows(job.what.split)
    labels, cuts = job.store.labels[rows], sortie.cuts[network].cpu().numpy()
    scores = np.concatenate([found.clean[network][None], found.scores[network]])
    wrong = ((scores >= cuts) != (labels == 1)) & ~np.isnan(labels)
    radii = np.array([0.0, *sweep.radii])
    smallest = np.where(wrong.any(axis=0), radii[wrong.argmax(axis=0)], np.nan)
    table = job.store.table[["image_id", "patient_id"]].iloc[rows].reset_index(drop=True)
    flips = pd.DataFrame(smallest, columns=job.store.findings)
    path = job.run.flips / f"{sortie.path(network, sweep.radii[-1]).stem}.csv"
    write_csv(path, pd.concat([table, flips], axis=1))


def _checked(job: Job) -> NDArray[np.int64] | None:
    """The images that Square is shown."""
    if job.what.square_images is None:
        return None
    return stratified_rows(job.store, job.what.split, job.what.square_images)


def _ranges(job: Job) -> NDArray[np.float64]:
    """(rows,) what a radius is divided by: 1, or the native range of an image.

    Raises:
        MedrobustError: radii are native and an image's range is not known.
    """
    table = job.store.table
    if job.what.unit == "image":
        return np.ones(len(table))
    ranges = (table["native_high"] - table["native_low"]).abs().to_numpy(float)
    rows = job.store.rows(job.what.split)
    unknown = ~(np.isfinite(ranges) & (ranges > 0))[rows]
    if unknown.any():
        raise MedrobustError(
            f"{job.store.path}: expected native_low and native_high of every image for radii in "
            f"native units, found {int(unknown.sum())} images without; give eps in image units"
        )
    return ranges
