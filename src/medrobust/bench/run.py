"""Run comparisons and put them into rows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

import torch

from medrobust.bench.case import Case, waiting
from medrobust.bench.comparisons import FLOORS, PLAIN, Comparison, attack, loader, step, sweep
from medrobust.bench.measure import Seconds, interleaved, ratio
from medrobust.bench.memory import peaks
from medrobust.bench.subject import Subject
from medrobust.errors import MedrobustError
from medrobust.progress import Count

Track = Callable[[int, str], Count]
"""Called with (total, title); what it returns counts."""


def check(case: Case) -> None:
    """Raise MedrobustError for a device that is not there or a network nobody knows."""
    try:
        torch.zeros(1, device=case.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MedrobustError(
            f"bench: expected a device of this machine, found {case.device} ({reason}); try cpu"
        ) from error


def bench(
    subjects: Sequence[Subject], case: Case, repeats: int, threads: int, track: Track
) -> Iterator[tuple[str, list[dict[str, Any]], tuple[str, ...]]]:
    """Title, rows and notes of each subject in turn.

    Times are medians of interleaved repeats; `times faster` is the median ratio of the plain
    reference's time to the job's in the same repeat.
    """
    torch.set_num_threads(threads)
    with ExitStack() as stack:
        makers: dict[Subject, Callable[[], Comparison]] = {
            Subject.ATTACK: lambda: attack(case),
            Subject.STEP: lambda: step(case),
            Subject.SWEEP: lambda: sweep(case),
            Subject.LOADER: lambda: loader(stack, size=case.size),
        }
        for subject in subjects:
            if subject is Subject.MEMORY:
                yield f"peak memory of training: {case.title}", _peaks(case), ()
                continue
            comparison = makers[subject]()
            yield comparison.title, _timed(comparison, case, repeats, track), comparison.notes


def _timed(comparison: Comparison, case: Case, repeats: int, track: Track) -> list[dict[str, Any]]:
    jobs = {name: _whole(job, case) for name, job in comparison.jobs.items()}
    interleaved(jobs, 1)  # the first time is another
    count = track(repeats * len(jobs), comparison.title)
    measured = interleaved(jobs, repeats, count)
    seconds = {
        name: [value / comparison.share.get(name, 1) for value in values]
        for name, values in measured.items()
    }
    return [_row(name, seconds) for name in seconds]


def _row(name: str, seconds: Seconds) -> dict[str, Any]:
    row: dict[str, Any] = {
        "what": name,
        "ms": 1000 * median(seconds[name]),
        "times faster": ratio(seconds, PLAIN, name),
    }
    if floors := [floor for floor in FLOORS if floor in seconds]:
        row["of the floor"] = min(ratio(seconds, floor, name) for floor in floors)
    return row


def _peaks(case: Case) -> list[dict[str, Any]]:
    found = peaks(case)
    return [
        {"what": name, "MiB": mib, "of the plain reference": mib / found[PLAIN]}
        for name, mib in found.items()
    ]


def _whole(job: Callable[[], object], case: Case) -> Callable[[], None]:
    """The job until its last kernel has ended."""

    def run() -> None:
        job()
        waiting(case)

    return run
