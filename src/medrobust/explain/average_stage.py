"""Class averages: where a model looks for a finding, over many images that have it or lack it."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.evaluate import Track
from medrobust.explain.class_average import class_average
from medrobust.explain.methods import Method
from medrobust.explain.subject import Rows, Subject
from medrobust.files import file_name, write_atomically
from medrobust.progress import Count

MOST = 512
"""Images of each class, the first by a hash of their ids."""
CLASSES = {"with": 1.0, "without": 0.0}


def write_averages(
    subject: Subject,
    methods: Mapping[str, Method],
    findings: Sequence[str],
    *,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write the mean map of each finding; return what to be warned of.

    `explain/averages/<store>/<split>/<branch>/<method>/<finding>.npz` has `with` and `without`, the
    means over images that have the finding and that lack it (zeros where there are none), each
    map divided by its own largest |value| before, `n_with`, `n_without`, the maps behind them, and
    `image_with`, `image_without` (C, ...), the means of the images themselves.
    """
    chosen = {finding: _rows(subject, finding) for finding in findings}
    total = sum(len(rows) for both in chosen.values() for rows in both.values())
    done = track(total * len(methods) * len(subject.networks), subject.title("average maps"))
    for finding, both in chosen.items():
        images = {f"image_{which}": _mean_image(subject, rows) for which, rows in both.items()}
        for branch, (name, method) in product(subject.networks, methods.items()):
            maps = _mean_maps(subject, (branch, finding), method, both, done)
            _write(subject, (branch, name, finding), {**maps, **images})
    return list(subject.notes)


def _rows(subject: Subject, finding: str) -> dict[str, Rows]:
    inside = subject.store.rows(subject.split)
    labels = subject.store.labels[inside, subject.column(finding)]
    return {
        name: subject.first_rows(inside[labels == label], MOST) for name, label in CLASSES.items()
    }


def _mean_image(subject: Subject, rows: Rows) -> NDArray[np.float32]:
    """(C, ...) in [0, 1]; zeros where there are no images."""
    total = np.zeros(subject.store.images.shape[1:])
    for first in range(0, len(rows), subject.batch_size):
        batch = subject.images(rows[first : first + subject.batch_size])
        total += batch.cpu().double().sum(0).numpy()
    return (total / max(1, len(rows))).astype(np.float32)


def _mean_maps(
    subject: Subject, what: tuple[str, str], method: Method, both: Mapping[str, Rows], done: Count
) -> dict[str, NDArray[Any]]:
    """`with`, `without` and how many maps are behind them; `what` is (branch, finding)."""
    branch, finding = what
    network, column = subject.networks[branch], subject.column(finding)
    arrays: dict[str, NDArray[Any]] = {}
    for which, rows in both.items():
        mean, count = class_average(subject.maps(network, method, rows, column, done))
        empty = np.zeros(subject.store.images.shape[2:])
        arrays[which] = (empty if mean is None else mean).astype(np.float32)
        arrays[f"n_{which}"] = np.array(count)
    return arrays


def _write(subject: Subject, names: tuple[str, str, str], arrays: Mapping[str, Any]) -> None:
    branch, method, finding = names
    folder = subject.folder / "averages" / subject.name / subject.split / branch / method
    with write_atomically(folder / f"{file_name(finding)}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
