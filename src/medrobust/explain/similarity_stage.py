"""How alike a run's branches are, layer by layer, to each other or to another run: `cka.csv`."""

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, product

import numpy as np
import pandas as pd
from torch import Tensor

from medrobust.errors import MedrobustError
from medrobust.evaluate import Track
from medrobust.explain.similarity import Alignment, cka
from medrobust.explain.subject import Rows, Subject
from medrobust.explain.tables import replace_rows
from medrobust.progress import Count

CKA = [
    *("store", "split", "branch", "other_run", "other_branch", "layer", "other_layer"),
    *("images", "value"),
]


def write_cka(
    subject: Subject,
    other: Subject | None = None,
    *,
    layers: Sequence[str] | None = None,
    images: int = 512,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write `cka.csv`: debiased linear CKA of every layer with every other, on the same images.

    Compared are the run's branches with themselves and each other or, if `other` is given, with
    the branches of that run. `other_run` is `<name>/<seed>`, empty for the run itself. Rows of the
    same runs and branches are replaced. Returned is what to be warned of.

    Args:
        subject: whose file it is, and which images.
        other: another run, opened with the same store.
        layers: names of submodules; all convolutions and linear layers if not given.
        images: how many, the first by a hash of their ids; in batches of at most the subject's.
        track: makes a progress callback.

    Raises:
        MedrobustError: another store, unknown layer, or fewer than 4 images in a batch.
    """
    networks, who = dict(subject.networks), {branch: ("", branch) for branch in subject.networks}
    pairs = list(combinations_with_replacement(subject.networks, 2))
    if other is not None:
        _check_same_store(subject, other)
        run = "/".join(other.run.path.resolve().parts[-2:])
        theirs = {f"{run} {branch}": branch for branch in other.networks}
        networks |= {name: other.networks[branch] for name, branch in theirs.items()}
        who |= {name: (run, branch) for name, branch in theirs.items()}
        pairs = list(product(subject.networks, theirs))
    rows = subject.first_rows(subject.store.rows(subject.split), images)
    done = track(len(rows), subject.title("CKA"))
    found = cka(networks, _even_batches(subject, rows, done), layers)
    lines = [
        (subject.name, subject.split, one, *who[two], layer, other_layer, len(rows), value)
        for one, two in pairs
        for layer, other_layer, value in _block(found, one, two)
    ]
    replace_rows(subject.folder / "cka.csv", pd.DataFrame(lines, columns=CKA), CKA[:5])
    return [*subject.notes, *_dead(found)]


def _block(found: Alignment, one: str, two: str) -> Iterator[tuple[str, str, float]]:
    """The layers of one network with those of another."""
    for i, (name, layer) in enumerate(found.layers):
        for j, (other, other_layer) in enumerate(found.layers):
            if (name, other) == (one, two):
                yield layer, other_layer, float(found.values[i, j])


def _even_batches(subject: Subject, rows: Rows, done: Count) -> Iterator[Tensor]:
    """Batches of nearly the same size, so that none is too small."""
    for some in np.array_split(rows, -(-len(rows) // subject.batch_size)):
        yield subject.images(some)
        done(len(some))


def _dead(found: Alignment) -> list[str]:
    """What to say of layers whose similarity is not defined."""
    dead = [
        f"{network}: {layer}"
        for place, (network, layer) in enumerate(found.layers)
        if found.values[place, place].isnan()
    ]
    several = f" and {len(dead) - 1} more" if len(dead) > 1 else ""
    return [f"CKA of {dead[0]}{several} is not defined: its output never changes"] if dead else []


def _check_same_store(subject: Subject, other: Subject) -> None:
    if subject.store.checksum != other.store.checksum:
        raise MedrobustError(
            f"CKA: expected both runs to be shown the same store, found {subject.store.path} and "
            f"{other.store.path}; name one for both with --store"
        )
