"""The checks of what can be believed, for every network that was attacked: `trust.csv`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from medrobust.attacks import Ball
from medrobust.conditions import VERSION, Sweep
from medrobust.data.batches import load_images, load_labels
from medrobust.data.cases import stratified_rows
from medrobust.files import write_json
from medrobust.job import Job
from medrobust.randomness import image_keys, key, numbers_of
from medrobust.software import software
from medrobust.sweeping import Track
from medrobust.trust import CHECKS, check_trust
from medrobust.trust_table import TRUST_COLUMNS, outcomes, read_trust, trust_rows, write_trust

IDENTITY = ("store", "split", "checkpoint", "branch", "norm", "eps")


def check_networks(
    job: Job, sweeps: Sequence[Sweep], cuts: Mapping[str, Tensor], track: Track
) -> list[str]:
    """Write the rows of every attacked network to `trust.csv`; return what is flagged.

    Checks that are there already, of the same weights, images and radius, are kept. Radii in
    native units are not checked: they differ from image to image.
    """
    _drop_stale(job)
    asked = job.what.trust_images
    count = job.config.evaluate.trust_images if asked is None else asked
    if not count or job.what.unit == "native":
        return []
    flags = []
    for sweep in sweeps:
        rows = _checked(job, sweep, count, cuts, track)
        flags += [
            f"{job.run.path}: {sweep.attacked}: robustness may be overestimated: {row.note}"
            for row in rows.itertuples()
            if row.verdict == "flag"
        ]
    return flags


def _checked(
    job: Job, sweep: Sweep, count: int, cuts: Mapping[str, Tensor], track: Track
) -> pd.DataFrame:
    """The rows of one network, made or read."""
    network, radius = sweep.attacked, _radius(job, sweep)
    identity = {name: job.identity(job.what.split, network)[name] for name in IDENTITY[:4]}
    identity |= {"norm": sweep.norm, "eps": radius}
    there = read_trust(job.run.trust) if job.run.trust.is_file() else _nothing()
    own = (there[list(IDENTITY)] == pd.Series(identity)[list(IDENTITY)]).all(axis=1)
    wanted = job.identity(job.what.split, network) | {"eps": radius, "count": count}
    wanted |= {"norm": sweep.norm, "seed": job.config.seed, "version": VERSION}
    wanted |= {"cuts": cuts[network].tolist()}
    others = {name: other for name, other in job.networks.items() if name != network}
    receipt = _receipt(job, identity)
    made = _made_with(receipt)
    if own.any() and set(made.pop("others", ())) >= set(others) and made == wanted:
        return there[own]
    rows = stratified_rows(job.store, job.what.split, count)
    ids = job.store.table["image_id"].iloc[rows].astype(str).tolist()
    tell = track(len(CHECKS), f"{job.run.path}: can {network} be believed?")
    checks = check_trust(
        job.networks[network],
        load_images(job.store, rows, job.device),
        load_labels(job.store, rows, job.device),
        image_keys(key(job.config.seed, "trust"), numbers_of(ids)).to(job.device),
        ball=Ball(sweep.norm, radius),
        task=job.store.info.task,
        cuts=cuts[network],
        others=others,
        progress=tell,
    )
    found = trust_rows(checks, identity | {"n": len(rows)})
    write_trust(job.run.trust, pd.concat([there[~own], found], ignore_index=True))
    record = {
        "made_with": wanted | {"others": sorted(others)},
        "software": software(),
        "images": ids,
    }
    write_json(receipt, record | {"checks": outcomes(found)})
    return found


def _radius(job: Job, sweep: Sweep) -> float:
    """The training's, or else the middle one of the sweep."""
    if sweep.norm == job.config.attack.norm and job.config.attack.eps > 0:
        return job.config.attack.eps
    return sweep.radii[len(sweep.radii) // 2]


def _receipt(job: Job, identity: Mapping[str, Any]) -> Path:
    shown = f"{identity['norm']}-{identity['eps']:.6g}"
    start = "-".join(str(identity[name]) for name in IDENTITY[:4])
    return job.run.receipts / f"{start}-trust-{shown}.json"


def _made_with(receipt: Path) -> dict[str, Any]:
    """What the checks of a receipt were made with; empty where there is none."""
    try:
        return dict(json.loads(receipt.read_text(encoding="utf-8"))["made_with"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _drop_stale(job: Job) -> None:
    """Checks of other weights vouch for nothing: their rows and receipts are removed."""
    if not job.run.trust.is_file():
        return
    there, checkpoint = read_trust(job.run.trust), job.what.checkpoint
    stale = pd.Series(data=False, index=there.index)
    for key_of, part in there[there["checkpoint"] == checkpoint].groupby(list(IDENTITY)):
        receipt = _receipt(job, dict(zip(IDENTITY, key_of, strict=True)))
        if _made_with(receipt).get("weights") != job.weights:
            stale.loc[part.index] = True
            receipt.unlink(missing_ok=True)
    if stale.any():
        write_trust(job.run.trust, there[~stale])


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=list(TRUST_COLUMNS))
