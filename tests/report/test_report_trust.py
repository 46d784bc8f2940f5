import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from fake_runs import Workplace

from medrobust.data.store import Store, open_store
from medrobust.files import sha256_of
from medrobust.report.trust import trust, trust_table


@pytest.fixture
def store(workplace: Workplace, tmp_path: Path) -> Store:
    """A copy whose duplicates, near duplicates and counts are made up."""
    folder = Path(shutil.copytree(workplace.store.path, tmp_path / "store"))
    groups = [
        ("0", "img0000", "train", 0, 1),
        ("0", "img0001", "test", 0, 0),
        ("1", "img0002", "train", 1, 1),
        ("1", "img0003", "test", 0, 1),
        ("2", "img0004", "train", 0, None),
        ("2", "img0005", "train", 0, None),
    ]
    columns = ["group", "image_id", "split", "dropped", "label:Nodule"]
    near = pd.DataFrame(
        [["img0008", "img0009", "train", "test", 0.995], ["a", "b", "val", "val", 0.99]],
        columns=["image_id", "other_image_id", "split", "other_split", "correlation"],
    )
    pd.DataFrame(groups, columns=columns).to_csv(folder / "duplicates.csv", index=False)
    near.to_csv(folder / "near_duplicates.csv", index=False)
    info = json.loads((folder / "store.json").read_text())
    for name in ("duplicates.csv", "near_duplicates.csv"):
        info["checksums"][name] = sha256_of(folder / name)
    info["counts"] |= {"rejects": 4, "duplicate_groups": 3, "near_duplicate_pairs": 2}
    info["left_out"] = {"lateral": 7, "too young": 2}
    (folder / "store.json").write_text(json.dumps(info))
    return open_store(folder)


def test_counts(store: Store) -> None:
    found = trust(store)
    assert (found.rejects, found.left_out) == (4, 9)
    assert (found.groups, found.copies, found.dropped) == (3, 6, 1)
    assert found.crossing == 1  # in the other one the copy in train was dropped
    assert found.differing == 1  # unknown and unknown are the same
    assert (found.near, found.near_crossing) == (2, 1)


def test_the_table_has_a_column_per_store(store: Store, workplace: Workplace) -> None:
    table = trust_table([store, workplace.store], ["gone-1234"])
    assert table is not None
    assert table.columns == ["", "blobs", "blobs", "gone-1234"]
    rows = {row.head: [cell.main for cell in row.cells] for row in table.groups[0].rows}
    assert rows == {
        "Images": ["200", "200", "–"],
        "Files that could not be used": ["4", "0", "–"],
        "Left out by the selection": ["9", "0", "–"],
        "Groups of identical images": ["3", "0", "–"],
        "of these, in several splits": ["1", "0", "–"],
        "Pairs of near duplicates": ["2", "0", "–"],
    }
    notes = [row.cells[0].note for row in table.groups[0].rows]
    assert notes[3] == "1 with differing labels, 1 image dropped"
    assert notes[5] == "1 across splits"


def test_no_store_no_table() -> None:
    assert trust_table([], ["gone"]) is None


def test_a_store_without_these_files(store: Store) -> None:
    for name in ("duplicates.csv", "near_duplicates.csv"):
        (store.path / name).unlink()
    found = trust(store)
    assert (found.groups, found.near, found.near_crossing) == (0, 2, 0)
