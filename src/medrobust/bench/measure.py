"""How speed is measured: interleaved repeats in one run, medians, and on what machine."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medrobust.aligned import aligned
from medrobust.progress import Count
from medrobust.software import software

Seconds = dict[str, list[float]]


def interleaved(
    jobs: Mapping[str, Callable[[], object]], repeats: int, count: Count = lambda done: None
) -> Seconds:
    """Seconds of each job in each repeat; every repeat runs all of them, one after the other."""
    seconds: Seconds = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            begun = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - begun)
            count(1)
    return seconds


def ratio(seconds: Seconds, one: str, other: str) -> float:
    """Median of one job's seconds by another's in each repeat: a busy machine spoils it least."""
    pairs = zip(seconds[one], seconds[other], strict=True)
    return statistics.median(first / second for first, second in pairs)


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same or fewer columns than the first as text."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_shown(row.get(name, "")) for name in names] for row in rows)]
    return "\n".join(["", title, *aligned(cells)])


def machine() -> dict[str, Any]:
    """Processor, cores, versions and commit."""
    return {
        "cores": os.cpu_count(),
        "processor": f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}",
        **software(),
    }


def _processor() -> str:
    """Its name, where the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
