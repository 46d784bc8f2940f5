"""The loss around a run's images, in files: surfaces, gradients and Lipschitz constants."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from medrobust.attacks import Ball
from medrobust.attacks.ball import Norm
from medrobust.attacks.goals import Goal
from medrobust.attacks.gradient import frozen
from medrobust.errors import MedrobustError
from medrobust.evaluate import Track
from medrobust.explain.landscape import AXIS, Surface, check_radius, gradient_norms, loss_surface
from medrobust.explain.lipschitz import lipschitz_lower_bound
from medrobust.explain.subject import Rows, Subject
from medrobust.explain.tables import replace_rows
from medrobust.files import file_name, write_atomically
from medrobust.losses import Loss, one_against_rest, sigmoid_loss
from medrobust.models import loss_for

ALL = "all findings"
GEOMETRY = ["store", "split", "branch", "measure", "norm", "eps", "finding", "image_id", "value"]

Floats = NDArray[np.floating]


def write_landscape(
    subject: Subject,
    finding: str | None = None,
    *,
    eps: float | None = None,
    images: int = 16,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write `landscape/<store>/<split>/<finding>.npz`, and rows of `geometry.csv`; return notes.

    The file has `image_id` (N,), `eps`, `along` and `across` in units of it, and for each branch
    `loss:<branch>` (N, A, B). The rows are, per image: the loss, how much it rises one ε along the
    gradient's sign and one ε along the random signs, and the gradient's norms.

    Args:
        subject: whose branches, and which images.
        finding: whose loss; None: that of all known labels, as in training.
        eps: the unit, a change of pixel values; that of the training if not given.
        images: how many, the first by a hash of their ids; of a finding, as many with as without.
        track: makes a progress callback.

    Raises:
        MedrobustError: unknown finding, no labelled images, ε not above 0 or of another norm.
    """
    eps = radius(subject, eps, "linf")
    rows, loss = _labelled(subject, finding, images), _loss(subject, finding)
    done = track(len(rows) * len(subject.networks) * len(AXIS), subject.title("loss surfaces"))
    losses, tables, notes = {}, [], list(subject.notes)
    for branch, network in subject.networks.items():
        parts, slopes = [], []
        for _, shown, labels, keys in subject.batches(rows, "landscape"):
            known = _goal(subject, finding).labels(labels)
            parts.append(loss_surface(network, shown, known, keys, eps=eps, loss=loss, done=done))
            slopes.append(gradient_norms(network, shown, known, loss))
        losses[branch] = _array([part.losses for part in parts])
        norms = {f"gradient_{name}": _array([s[name] for s in slopes]) for name in slopes[0]}
        measured = _rises(losses[branch]) | norms
        tables.append(_table(subject, rows, branch, finding, ("linf", eps), measured))
        notes += _notes(branch, norms["gradient_linf"], parts)
    folder = subject.folder / "landscape" / subject.name / subject.split
    with write_atomically(folder / f"{file_name(finding or ALL)}.npz") as temporary:
        arrays: dict[str, Any] = {f"loss:{b}": v.astype(np.float32) for b, v in losses.items()}
        arrays |= {"image_id": np.array(subject.ids(rows), dtype=str), "eps": np.array(eps)}
        np.savez_compressed(temporary, along=np.array(AXIS), across=np.array(AXIS), **arrays)
    _merge(subject, tables)
    return notes


def write_lipschitz(
    subject: Subject,
    finding: str | None = None,
    *,
    norm: Norm | None = None,
    eps: float | None = None,
    images: int = 64,
    steps: int = 20,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write the rows `lipschitz_lower_bound` and `change_in_spreads` of `geometry.csv`.

    The first is in logits per unit of distance, so it grows with the logits' scale. The second does
    not: it is the first times ε, divided by the standard deviation of the logit over these images
    (of all findings: by the sum of theirs).

    Args:
        subject: whose branches, and which images.
        finding: whose logit; None: the sum of the changes of all logits.
        norm: of the input; that of the training if not given.
        eps: radius of the ball; that of the training if not given.
        images: how many, the first by a hash of their ids; of a finding, as many with as without.
        steps: of each ascent.
        track: makes a progress callback.

    Raises:
        MedrobustError: unknown finding, no labelled images, ε not above 0 or of another norm.
    """
    norm = norm or subject.run.config().attack.norm
    ball = Ball(norm, radius(subject, eps, norm))
    rows = _labelled(subject, finding, images)
    column = None if finding is None else subject.column(finding)
    done = track(len(rows) * len(subject.networks), subject.title("Lipschitz constants"))
    tables = []
    for branch, network in subject.networks.items():
        bounds, logits = [], []
        for some, shown, _, keys in subject.batches(rows, "lipschitz"):
            with frozen(network):
                logits.append(network(shown))
            bounds.append(
                lipschitz_lower_bound(network, shown, keys, ball=ball, column=column, steps=steps)
            )
            done(len(some))
        bound, spreads = _array(bounds), _array(logits).std(0)
        spread = float(spreads.sum() if column is None else spreads[column])
        measured = {"lipschitz_lower_bound": bound}
        if spread > 0:
            measured["change_in_spreads"] = bound * ball.radius / spread
        tables.append(_table(subject, rows, branch, finding, (norm, ball.radius), measured))
    _merge(subject, tables)
    return list(subject.notes)


def radius(subject: Subject, eps: float | None, norm: str) -> float:
    """The radius asked for, or the training's if that is one of this norm.

    Raises:
        MedrobustError: it is not above 0, or the training's is of another norm.
    """
    settings = subject.run.config().attack
    if eps is None and settings.norm != norm:
        raise MedrobustError(
            f"eps: expected a radius in {norm}, found none; {subject.run.path} was trained in "
            f"{settings.norm}, whose radius means something else. Give one"
        )
    eps = settings.eps if eps is None else eps
    check_radius(eps)
    return eps


def _labelled(subject: Subject, finding: str | None, images: int) -> Rows:
    """Images with a known label; of a finding, half of them with it and half without."""
    inside = subject.store.rows(subject.split)
    labels = subject.store.labels[inside]
    if finding is None:
        groups = [inside[~np.isnan(labels).all(1)]]
    else:
        column = subject.column(subject.chosen([finding])[0])
        groups = [inside[labels[:, column] == value] for value in (1, 0)]
    each = -(-images // len(groups))
    rows = np.concatenate([subject.first_rows(group, each) for group in groups])
    if not len(rows):
        raise MedrobustError(
            f"{subject.store.path}: expected images with a known label of {finding or ALL} in "
            f"split {subject.split}, found none"
        )
    return np.sort(rows)


def _loss(subject: Subject, finding: str | None) -> Loss:
    task = subject.store.info.task
    if finding is not None and task == "exclusive":
        return one_against_rest(sigmoid_loss)
    return loss_for(task)


def _goal(subject: Subject, finding: str | None) -> Goal:
    return Goal() if finding is None else Goal("finding", subject.column(finding))


def _rises(losses: Floats) -> dict[str, Floats]:
    """Of surfaces (N, A, B): the loss at the image, and its rise one ε away on either axis."""
    here, one = AXIS.index(0.0), AXIS.index(1.0)
    centre = losses[:, here, here]
    return {
        "loss": centre,
        "rise_along_gradient": losses[:, one, here] - centre,
        "rise_along_random": losses[:, here, one] - centre,
    }


def _notes(branch: str, steepest: Floats, parts: Sequence[Surface]) -> list[str]:
    """What the reader of a surface must know."""
    flat, clipped = int((steepest == 0).sum()), float(_array([p.clipped for p in parts]).mean())
    notes = []
    if clipped >= 0.001:
        notes.append(
            f"landscape, branch {branch}: the box [0, 1] held back {clipped:.1%} of the pixels, "
            "which can't move out of it"
        )
    if flat:
        notes.append(
            f"landscape, branch {branch}: the loss of {flat} of {len(steepest)} images has no "
            "gradient at all, so nothing moves along it"
        )
    return notes


def _table(
    subject: Subject,
    rows: Rows,
    branch: str,
    finding: str | None,
    unit: tuple[str, float],
    measured: Mapping[str, Floats],
) -> pd.DataFrame:
    about = (finding or ALL,)
    lines = [
        (subject.name, subject.split, branch, measure, *unit, *about, image, float(value))
        for measure, values in measured.items()
        for image, value in zip(subject.ids(rows), values, strict=True)
    ]
    return pd.DataFrame(lines, columns=GEOMETRY)


def _merge(subject: Subject, tables: Sequence[pd.DataFrame]) -> None:
    table = pd.concat(tables, ignore_index=True)
    replace_rows(subject.folder / "geometry.csv", table, GEOMETRY[:-2])


def _array(parts: Sequence[Tensor]) -> Floats:
    return np.concatenate([part.cpu().numpy() for part in parts])
