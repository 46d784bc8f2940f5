"""Evaluation: predictions of every branch, clean and attacked, and the numbers they give."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medrobust import checkpoints
from medrobust.attacks import Attack, gaussian_noise
from medrobust.attacks.worst import class_margin
from medrobust.conditions import (
    Condition,
    Evaluation,
    Sweep,
    check_own_ball,
    shown_conditions,
    sweeps_of,
)
from medrobust.config import Config
from medrobust.corruptions import corrupt
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.inference import logits_of
from medrobust.job import Job, choose_device
from medrobust.losses import rank_scores
from medrobust.metrics import read_metrics, write_metrics
from medrobust.models import ball_of
from medrobust.parallel.group import join
from medrobust.parallel.place import here
from medrobust.predictions import read_predictions, write_predictions
from medrobust.rescoring import check_saveable, rescore
from medrobust.rundir import RunDir
from medrobust.scoring import How, Record, choose, older_record, origins, score, write_record
from medrobust.shortage import telling_shortage
from medrobust.subgroups import check_columns
from medrobust.sweeping import Sortie, Track, carry_out
from medrobust.trusted import check_networks

__all__ = ["Evaluation", "Track", "choose_device", "evaluate", "evaluate_checkpoints"]


def evaluate(
    run: RunDir,
    store: Store | None = None,
    what: Evaluation | None = None,
    *,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write what an evaluation gives into the run's folder; return what to be warned of.

    These are `predictions/*`, `adversarial/*`, `flips/*`, `receipts/*`, `trust.csv`, `metrics.csv`
    and `metrics.json`. Predictions that are there already, of the same weights, store and attack,
    are kept. Called in each of several processes (see `parallel`), they share the attacks; the
    first does the rest.

    Args:
        run: a training's directory.
        store: other images than the training's; the training store if not given.
        what: which split, attacks and branches.
        track: makes a progress callback.

    Raises:
        MedrobustError: the store does not fit the model or was changed since the training, the
            split is empty or has no labels, an attack is not valid, the table lacks a column of
            groups; the memory does not suffice.
    """
    what, config = what or Evaluation(), run.config()
    job = Job.of(run, store or run.training_store(), config, what)
    task, findings = job.store.info.task, job.store.findings
    sweeps = sweeps_of(config, what, list(job.networks), task, findings)
    shown = list(shown_conditions(config, what))
    check_columns(what.groups or (), job.store.table)
    check_saveable(job)
    validation, notes = _validation(job)
    group = join(here(), torch.device("cpu"))
    with (
        group.noticing_ends(lambda: "give the same command again: attacked batches are kept"),
        telling_shortage("evaluate.batch_size", what.batch_size or config.evaluate.batch_size),
    ):
        cuts = group.on_first(lambda: _show_all(job, validation, shown, track))
        cuts = {name: cut.to(job.device) for name, cut in cuts.items()}
        for sweep in sweeps:
            carry_out(Sortie(job, sweep, cuts), track, group)
    if not group.is_first:
        return []
    scored = [_Scored(c, job.seeing(c), central=not c.name) for c in shown]
    for sweep in sweeps:
        norm = job.norm_name(sweep)
        central = _central(job, sweep)
        scored += [
            _Scored(
                sweep.condition(radius),
                job.seeing(sweep.condition(radius)),
                norm,
                radius == central,
            )
            for radius in sweep.radii
        ]
        if what.save is not None:
            again = rescore(Sortie(job, sweep, cuts), what.save, track)
            scored += [_Scored(c, (sweep.attacked,), norm) for c in again]
    rows, record, warnings = _score(job, validation, scored)
    notes += _merge_metrics(run, rows, record, job)
    flagged = check_networks(job, sweeps, cuts, track)
    return [*job.notes, *notes, *warnings, *flagged]


def evaluate_checkpoints(
    run: RunDir,
    store: Store | None = None,
    what: Evaluation | None = None,
    *,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Evaluate every kept checkpoint, clean and at the training radius only; see `evaluate`."""
    what, found = what or Evaluation(), []
    if what.eps is None:
        check_own_ball(run.config(), what)
        what = replace(what, eps=(run.config().attack.eps,))
    for name in checkpoints.names(run.checkpoints):
        groups = what.groups if name == what.checkpoint else ()
        one = replace(what, checkpoint=name, trust_images=0, groups=groups)
        found += evaluate(run, store, one, track=track)
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class _Scored:
    """A condition whose predictions are scored, and of which networks."""

    condition: Condition
    networks: tuple[str, ...]
    norm: str = ""
    central: bool = False
    """Whether subgroups and operating points are scored, too."""


def _show_all(
    job: Job, validation: Job, shown: Sequence[Condition], track: Track
) -> dict[str, Tensor]:
    """Write all predictions that need no attack; return the cuts that follow, on the CPU."""
    _show(validation, "val", Condition(), track)
    for condition in shown:
        _show(job, job.what.split, condition, track)
    return {name: validation.cuts(name, validation.store.table).cpu() for name in job.networks}


def _show(job: Job, split: str, condition: Condition, track: Track) -> None:
    """Write the predictions of a condition that needs no network, unless they are there."""
    missing = {}
    for name in job.networks:
        sidecar = job.identity(split, name) | {"attack": _settings(job, condition)}
        path = job.path(split, name, condition)
        if not (job.is_there(path, sidecar) and _is_whole(path, len(job.store.rows(split)))):
            missing[name] = sidecar
    if not missing:
        return
    cases = job.cases(split)
    title = f"{job.run.path}: {job.stem(split, 'all', condition)}"
    found = logits_of(
        {name: job.networks[name] for name in missing},
        cases,
        attack=change_of(job.config, condition),
        attacked=job.networks[next(iter(job.networks))],
        name=condition.name,
        progress=track(len(cases.rows), title),
    )
    labels = job.store.labels[cases.rows]
    for name, logits in found.items():
        scores, margin = rank_scores(logits, job.store.info.task), None
        if job.store.info.task == "exclusive":
            margin = class_margin(logits, logits.new_tensor(labels))
        frame = job.frame(cases.rows, name, scores, margin)
        write_predictions(job.path(split, name, condition), frame, missing[name])


def _is_whole(path: Path, rows: int) -> bool:
    """Whether these predictions can be read, and are of so many images."""
    try:
        return len(read_predictions(path).frame) == rows
    except MedrobustError:
        return False


def _settings(job: Job, condition: Condition) -> dict[str, Any]:
    """What a sidecar says of how the images were shown."""
    named = condition.name == "noise-control"
    return {
        "name": condition.name,
        "goal": "",
        "norm": job.config.attack.norm if named else "",
        "eps": condition.eps,
        "attacked_branch": "",
        "seed": job.config.seed,
    }


def change_of(config: Config, condition: Condition) -> Attack | None:
    """What images are shown as where that takes no network; None for clean ones."""
    if condition.name == "noise-control":
        return partial(gaussian_noise, ball=ball_of(config.attack, condition.eps))
    kind, _, name = condition.name.partition(":")
    if kind != "corruption":
        return None
    return lambda network, images, labels, keys: corrupt(name, images, int(condition.eps), keys)


def _validation(job: Job) -> tuple[Job, list[str]]:
    """The job whose validation split gives the thresholds: that of the training store."""
    if job.store.checksum == job.run.provenance()["store"]["checksum"]:
        return job, []
    try:
        home = job.run.training_store()
    except MedrobustError as error:
        if "val" not in set(job.store.table["split"]):
            raise MedrobustError(f"thresholds can't be chosen: {error}") from error
        return job, [f"thresholds come from split val of {job.store.path}, because {error}"]
    return job.home(home), []


def _score(
    job: Job, validation: Job, scored: Sequence[_Scored]
) -> tuple[pd.DataFrame, Record, list[str]]:
    """The rows of `metrics.csv` of one evaluation, how they came about, and the warnings."""
    rows, warnings, thresholds, scores = [], [], [], {}
    for network in job.networks:
        origin = validation.path("val", network, Condition())
        chosen = choose(origin, validation.store.table)
        rows.append(chosen.rows)
        thresholds.append(origin.stem)
        for one in scored:
            if network in one.networks:
                path = job.path(job.what.split, network, one.condition, one.norm)
                how = _how(job, one.central, origin.stem)
                found, told = score(path, job.store.table, job.missing, chosen, how)
                rows.append(found)
                warnings += told
                scores[path.stem] = how
    record = Record(thresholds=tuple(thresholds), scores=scores)
    return pd.concat(rows, ignore_index=True), record, _each_once(warnings)


def _how(job: Job, central: bool, thresholds: str) -> How:
    """Subgroups and operating points are scored where they matter."""
    return How(
        thresholds=thresholds,
        redraws=job.what.redraws or job.config.evaluate.redraws,
        seed=job.config.seed,
        points=central,
        groups=job.what.groups if central else (),
    )


def _central(job: Job, sweep: Sweep) -> float:
    """The radius nearest to the training's; of another norm or unit the middle one."""
    if sweep.norm != job.config.attack.norm or job.what.unit == "native":
        return sweep.radii[len(sweep.radii) // 2]
    return min(sweep.radii, key=lambda radius: abs(radius - job.config.attack.eps))


def _each_once(warnings: Sequence[str]) -> list[str]:
    """Of warnings about several predictions the first, with the number of the others."""
    places: dict[str, list[str]] = {}
    for warning in warnings:
        place, _, what = warning.partition(": ")
        places.setdefault(what, []).append(place)
    return [
        f"{first}{f' and {len(others)} more' if others else ''}: {what}"
        for what, (first, *others) in places.items()
    ]


def _merge_metrics(run: RunDir, rows: pd.DataFrame, record: Record, job: Job) -> list[str]:
    """Replace the rows of the same predictions; drop those of older weights; keep the others.

    A damaged table is made anew; a note says so.
    """
    kept, notes = Record(), list[str]()
    try:
        older = read_metrics(run.metrics) if run.metrics.is_file() else rows[:0]
    except MedrobustError:
        older = rows[:0]
        notes = [
            f"{run.metrics} could not be read and was made anew: evaluate with the other suites "
            "and radii again to have their rows, too (predictions are kept)"
        ]
    if len(older):
        older = older[~origins(older).isin(set(origins(rows)))]
        same = {stem: job.has_weights_of(stem) for stem in set(older["predictions"])}
        current = np.array([same[stem] for stem in older["predictions"]], dtype=bool)
        older = older[(older["checkpoint"] != job.what.checkpoint) | current]
        kept = older_record(run, set(origins(older)))
        rows = pd.concat([older, rows], ignore_index=True) if len(older) else rows
    write_record(run, kept.with_newer(record))
    write_metrics(run.metrics, rows)
    return notes
