"""Class averages: where a model looks for a finding, over many images that have it or lack it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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
    map divided by its own largest |value| before, and `n_with`, `n_without`, the maps behind them.
    """
    chosen = {finding: _rows(subject, finding) for finding in findings}
    total = sum(len(rows) for both in chosen.values() for rows in both.values())
    done = track(total * len(methods) * len(subject.networks), subject.title("average maps"))
    for finding, both in chosen.items():
        for branch in subject.networks:
            for name, method in methods.items():
                _write(subject, (branch, name, finding), method, both, done)
    return list(subject.notes)


def _rows(subject: Subject, finding: str) -> dict[str, Rows]:
    inside = subject.store.rows(subject.split)
    labels = subject.store.labels[inside, subject.column(finding)]
    return {
        name: subject.first_rows(inside[labels == label], MOST) for name, label in CLASSES.items()
    }


def _write(
    subject: Subject,
    names: tuple[str, str, str],
    method: Method,
    both: Mapping[str, Rows],
    done: Count,
) -> None:
    branch, name, finding = names
    network, column = subject.networks[branch], subject.column(finding)
    arrays: dict[str, Any] = {}
    for which, rows in both.items():
        mean, count = class_average(subject.maps(network, method, rows, column, done))
        empty = np.zeros(subject.store.images.shape[2:])
        arrays[which] = (empty if mean is None else mean).astype(np.float32)
        arrays[f"n_{which}"] = np.array(count)
    folder = subject.folder / "averages" / subject.name / subject.split / branch / name
    with write_atomically(folder / f"{file_name(finding)}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
