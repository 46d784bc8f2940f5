"""Tables that several calls write together."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medrobust.files import write_csv


def replace_rows(path: Path, table: pd.DataFrame, keys: Sequence[str]) -> None:
    """Write a table; rows of an older one stay where no new row has the same `keys`."""
    if path.is_file() and len(table):
        older = pd.read_csv(path, dtype="str", keep_default_na=False)  # numbers stay as written
        new = set(map(tuple, table[list(keys)].astype(str).to_numpy()))
        kept = [tuple(row) not in new for row in older[list(keys)].to_numpy()]
        table = pd.concat([older[kept], table], ignore_index=True)
    write_csv(path, table)
