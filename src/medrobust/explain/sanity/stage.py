"""The sanity stage: every check of every method on a run's branches, written to `sanity.csv`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import nn

from medrobust.attacks.ball import Ball
from medrobust.data.cases import first_cases
from medrobust.explain.landscape import check_radius
from medrobust.explain.sanity.checks import (
    Trial,
    check_attack,
    check_curves,
    check_noise,
    check_randomisation,
)
from medrobust.explain.sanity.methods import Method
from medrobust.explain.sanity.peers import Peers
from medrobust.explain.sanity.reference import edge
from medrobust.explain.sanity.scene import Scene
from medrobust.explain.sanity.table import COLUMNS, Outcome, merge_sanity
from medrobust.explain.sanity.verdicts import FEWEST, unchecked
from medrobust.explain.subject import Rows, Subject
from medrobust.randomness import image_keys, key, numbers_of
from medrobust.sweeping import Track

REFERENCE = "edge"
"""The method that knows no network, always there so that the checks can be seen to catch it."""
CHECKS = (
    *("randomisation", "labels", "repeatability", "reproducibility"),
    *("noise", "attack", "deletion", "insertion"),
)


def check_maps(
    subject: Subject,
    methods: Mapping[str, Method],
    findings: Sequence[str],
    *,
    others: Sequence[Subject] = (),
    shuffled: Subject | None = None,
    eps: float,
    images: int = 64,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write what the checks find to `sanity.csv` in the subject's folder; return warnings.

    Checked are maps of up to `images` positives of each finding, chosen by a hash of their ids.
    What cannot be checked has a row that says why; it replaces nothing that was measured before.

    Args:
        subject: the run, its branches and the images.
        methods: by name; an edge detector, `edge`, is checked with them and should fail.
        findings: to be explained, of the subject's.
        others: further trainings, for repeatability (same network) and reproducibility (another).
        shuffled: a training on shuffled labels, at its last checkpoint: the best one is chosen
            by true labels, and may have learnt nothing.
        eps: radius of the l∞ ball in which maps are attacked, whatever the norm of the training:
            the largest change of a pixel, in units of the image's range [0, 1].
        images: how many, at most.
        track: makes a progress callback.

    Raises:
        MedrobustError: eps not above 0, an unknown finding, or a control on true labels.
    """
    check_radius(eps)
    ball = Ball("linf", eps)
    findings = subject.chosen(findings)
    methods = {**methods, REFERENCE: edge}
    done = track(
        len(findings) * len(subject.networks) * len(methods), subject.title("sanity of maps")
    )
    rows, fresh, peers = [], subject.untrained(), Peers(subject, others, shuffled)
    for finding in findings:
        chosen = checked_rows(subject, finding, images)
        for branch, network in subject.networks.items():
            scene = _scene(subject, network, fresh, finding, chosen, ball)
            for name, method in methods.items():
                head = (subject.name, subject.split, branch, name, finding)
                trial = Trial(name, method, scene)
                rows += [(*head, *outcome) for outcome in _outcomes(trial, peers, branch, finding)]
                done(1)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    merge_sanity(subject.folder / "sanity.csv", table)
    return _warnings(subject, table)


def checked_rows(subject: Subject, finding: str, count: int) -> Rows:
    """Positives of a finding, at most `count`, in the order of a hash of their ids."""
    inside = subject.store.rows(subject.split)
    positive = subject.store.table[f"label:{finding}"].to_numpy()[inside] == 1
    chosen = first_cases(subject.store, inside[positive], count)
    return np.array(chosen, dtype=np.int64)


def _outcomes(trial: Trial, peers: Peers, branch: str, finding: str) -> list[Outcome]:
    patients = len(set(trial.scene.patients))
    if patients < FEWEST:
        reason = f"expected positives of at least {FEWEST} patients in the split, found {patients}"
        return [unchecked(check, "", reason) for check in CHECKS]
    return [
        *check_randomisation(trial),
        *peers.label_check(trial, branch, finding),
        *peers.agreement(trial, branch, finding),
        *check_noise(trial),
        *check_attack(trial),
        *check_curves(trial),
    ]


def _scene(
    subject: Subject,
    network: nn.Module,
    fresh: nn.Module,
    finding: str,
    rows: Rows,
    ball: Ball,
) -> Scene:
    keys = image_keys(key(subject.seed, "sanity"), numbers_of(subject.ids(rows)))
    return Scene(
        network=network,
        fresh=fresh,
        column=subject.column(finding),
        images=subject.images(rows),
        keys=keys.to(subject.device),
        patients=[str(name) for name in subject.store.table["patient_id"].iloc[rows]],
        task=subject.store.info.task,
        ball=ball,
        batch_size=subject.batch_size,
        seed=subject.seed,
    )


def _warnings(subject: Subject, table: pd.DataFrame) -> list[str]:
    """Methods whose maps do not need the trained weights; and a planted failure that passed."""
    judged = table[(table["check"] == "randomisation") & table["verdict"].isin(["pass", "fail"])]
    planted = judged["method"] == REFERENCE
    found = []
    if (judged["verdict"][planted] == "pass").any():
        found.append(
            f"{subject.run.path}: the edge detector passes the parameter randomisation; "
            "do not trust the other verdicts"
        )
    failed = judged[~planted & (judged["verdict"] == "fail")]
    for method, rows in failed.groupby("method", sort=False):
        where = ", ".join(dict.fromkeys(rows["finding"]))
        found.append(
            f"{subject.run.path}: {method} maps of {where} stay alike when all weights are drawn "
            "anew: they show the image, not what was learnt"
        )
    return found
