"""How long it takes to open a store of 200,000 rows, and to verify it.

python benchmarks/open_store.py [--rows 200000] [--json FILE]
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from measure import interleaved, report
from medrobust.data.prepare import prepare
from medrobust.data.source import Card, Picture
from medrobust.data.store import open_store, verify_checksum

FINDINGS = 14


class Many:
    """Images of 8 x 8 pixels with metadata and fourteen findings, one of them unknown."""

    card = Card("many", "Many", "generated", "MIT", "none")
    task = "multilabel"

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def index(self) -> pd.DataFrame:
        """One row per image."""
        rng, number = np.random.default_rng(0), np.arange(self.rows)
        ids = [f"{n:08d}_000" for n in number]
        labels = rng.integers(0, 2, (self.rows, FINDINGS)).astype(float)
        labels[:, -1] = np.nan
        table = pd.DataFrame(
            {
                "image_id": ids,
                "patient_id": [f"{n // 3:07d}" for n in number],
                "split": np.array(["train", "train", "val", "test"])[number // 3 % 4],
                "source": "many",
                "file": [f"images_001/images/{name}.png" for name in ids],
                "age": rng.integers(20, 90, self.rows).astype(float),
                "sex": rng.choice(["F", "M"], self.rows),
                "view": rng.choice(["PA", "AP"], self.rows),
            }
        )
        names = [f"label:finding {number}" for number in range(FINDINGS)]
        return pd.concat([table, pd.DataFrame(labels, columns=names)], axis=1)

    def read(self, row: dict[str, object]) -> Picture:
        """Noise."""
        number = int(str(row["image_id"])[:8])
        pixels = np.random.default_rng(number).integers(0, 256, (1, 8, 8), dtype=np.uint8)
        return Picture(pixels, 0, 255, (1.0, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(Many(given.rows), Path(folder) / "store", size=None, duplicates="report")
        jobs = {
            "open": lambda: open_store(store.path).table["split"].iloc[-1],
            "verify checksums": lambda: verify_checksum(store),
        }
        seconds = interleaved(jobs, given.repeats)
    rows = [{"what": name, "seconds": median(values)} for name, values in seconds.items()]
    report(f"A store of {given.rows:,} rows and {FINDINGS} findings", rows, given.json)


if __name__ == "__main__":
    main()
