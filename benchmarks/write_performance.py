"""Write the measured tables of docs/explanation/performance.md from `medrobust bench`'s JSON.

    medrobust bench --threads 2 --json runs/bench-64.json
    medrobust bench attack step --batch 32 --threads 2 --json runs/bench-batch-32.json
    medrobust bench step --batch 4 --size 256 --threads 2 --json runs/bench-256.json
    medrobust bench attack step --network small --batch 64 --size 32 --channels 1 --outputs 1 \\
        --threads 1 --json runs/bench-small.json
    OMP_NUM_THREADS=2 python benchmarks/ddp_speed.py --json runs/ddp-resnet50.json
    OMP_NUM_THREADS=2 python benchmarks/ddp_speed.py --batch 32 --json runs/ddp-batch-32.json
    OMP_NUM_THREADS=2 python benchmarks/ddp_speed.py --network small --batch 64 --size 32 \\
        --steps 3 --json runs/ddp-small.json
    python benchmarks/circles_speed.py RUN --images 32 --steps 50 100 --json runs/circles.json
    python benchmarks/write_performance.py runs/{bench,ddp}-*.json runs/circles.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from results import replace_part

PAGE = Path("docs/explanation/performance.md")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    told = [json.loads(file.read_text(encoding="utf-8")) for file in given.files]
    lines = [line for one in told for line in section(one)]
    replace_part(PAGE, "bench", "\n".join(lines))


def section(told: dict[str, Any]) -> list[str]:
    """The tables of one call."""
    where = (
        f"Commit {str(told['commit'])[:10]}, torch {told['packages']['torch']}, "
        f"{told['cores']} cores, {told['threads']} threads ({told['processor']})."
    )
    lines = [where, ""]
    for part in told.get("results", [told]):
        names = list(dict.fromkeys(name for row in part["rows"] for name in row))
        lines += [f"| {part['title']} | " + " | ".join(names[1:]) + " |"]
        lines += ["|---" * len(names) + "|"]
        lines += [
            "| " + " | ".join(shown(row.get(name, "–")) for name in names) + " |"
            for row in part["rows"]
        ]
        lines += ["", *(f"{note}." for note in part.get("notes", ())), ""]
    return lines


def shown(value: Any) -> str:
    """Three digits that count."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    main()
