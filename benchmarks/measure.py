"""How the benchmarks measure and tell: as `medrobust bench` does."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medrobust.bench.measure import Seconds, interleaved, machine, ratio, table

__all__ = ["Seconds", "interleaved", "machine", "ratio", "report"]


def report(title: str, rows: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Print a small table; write it as JSON with machine and commit where asked."""
    print(table(title, rows))
    if out is not None:
        record = {"title": title, **machine(), "rows": list(rows)}
        out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
