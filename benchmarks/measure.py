"""How the benchmarks measure: interleaved repeats in one run, medians, and what machine it was."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Seconds = dict[str, list[float]]


def interleaved(jobs: Mapping[str, Callable[[], object]], repeats: int) -> Seconds:
    """Seconds of each job in each repeat; every repeat runs all of them, one after the other."""
    seconds: Seconds = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            begun = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def ratio(seconds: Seconds, one: str, other: str) -> float:
    """Median of one job's seconds by another's in each repeat: a busy machine spoils it least."""
    pairs = zip(seconds[one], seconds[other], strict=True)
    return statistics.median(first / second for first, second in pairs)


def report(title: str, rows: list[dict[str, Any]], out: Path | None) -> None:
    """Print a small table; write it as JSON with machine and commit where asked."""
    print(f"\n{title}")
    widths = {name: max(len(name), *(len(_shown(row[name])) for row in rows)) for name in rows[0]}
    print("  ".join(name.ljust(width) for name, width in widths.items()))
    for row in rows:
        print("  ".join(_shown(row[name]).ljust(width) for name, width in widths.items()))
    if out is not None:
        record = {"title": title, **machine(), "rows": rows}
        out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Processor, cores, versions and commit."""
    import numpy
    import torch

    source = Path(__file__).parents[1]
    command = ["git", "-C", str(source), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "torch": torch.__version__,
        "commit": commit,
    }


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
