import json
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.data.prepare import prepare
from medrobust.data.source import Box, Mask, Picture
from medrobust.data.store import Store, combined_checksum, open_store, verify_checksum
from medrobust.errors import MedrobustError
from medrobust.files import sha256_of, write_csv, write_json


@pytest.fixture
def store(tiny, out: Path) -> Store:
    mark = np.zeros((6, 4), bool)
    mark[1, 2] = True
    masks = (
        Mask("odd", "finding", mark),
        Mask("odd", "finding", mark.T.reshape(6, 4)),
        Mask("lung", "anatomy", ~mark),
    )
    pixels = np.full((1, 6, 4), 3, np.uint8)
    marked = Picture(pixels, 0, 100, masks=masks, boxes=(Box("odd", (1, 2), (1, 1)),))
    return prepare(tiny(pictures={3: marked}), out, size=None)


def rewrite(out: Path, **changes) -> None:
    info = json.loads((out / "store.json").read_text())
    write_json(out / "store.json", info | changes)


def refresh(out: Path, name: str) -> None:
    """Let store.json believe a changed file, so that what comes after hashes is tested."""
    checksums = json.loads((out / "store.json").read_text())["checksums"]
    rewrite(out, checksums=checksums | {name: sha256_of(out / name)})


def refusal(out: Path) -> str:
    with pytest.raises(MedrobustError) as caught:
        open_store(out)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_written_is_read(store: Store, out: Path) -> None:
    again = open_store(out)
    assert again.info == store.info
    assert again.table.equals(store.table)
    assert again.findings == ["odd"]
    assert again.table["patient_id"][:4].tolist() == ["00", "00", "01", "01"]
    assert again.images.shape == (40, 1, 6, 4)
    assert isinstance(again.images, np.memmap)
    assert not again.images.flags.writeable
    assert again.labels.dtype == np.float32
    assert again.labels[:, 0].tolist() == [0, 1] * 20
    verify_checksum(again)


def test_verifying_tells_how_far_it_is(store: Store, out: Path) -> None:
    told: list[tuple[int, int]] = []
    verify_checksum(store, lambda done, total: told.append((done, total)))
    size = sum((out / name).stat().st_size for name in store.info.checksums)
    assert told[-1] == (size, size)
    assert told == sorted(told)


def test_rows_of_a_split(store: Store) -> None:
    assert store.rows("val").tolist() == [4, 5, 12, 13, 20, 21, 28, 29, 36, 37]
    assert store.rows("val").dtype == np.int64
    with pytest.raises(
        MedrobustError,
        match=r"^store tiny has no images in split 'dev': it has train, val, test$",
    ):
        store.rows("dev")


def test_pixels_are_a_copy_in_the_order_asked_for(store: Store) -> None:
    pixels = store.pixels([7, 2])
    assert pixels.shape == (2, 1, 6, 4)
    assert pixels[:, 0, 0, 0].tolist() == [round(7 * 2.55), round(2 * 2.55)]
    pixels[:] = 0
    assert store.images[7].any()


def test_masks_of_one_name_are_united(store: Store) -> None:
    truth = store.truth("odd")
    assert list(truth) == [3]
    assert np.argwhere(truth[3]).tolist() == [[1, 2], [3, 1]]
    assert store.truth("lung", "anatomy")[3].sum() == 23
    assert store.truth("lung") == {}


def test_boxes(store: Store) -> None:
    assert store.boxes is not None
    assert store.boxes.to_dict("records") == [
        {"image_id": "003", "finding": "odd", "x": 2, "y": 1, "w": 1, "h": 1}
    ]


def test_without_masks_and_boxes(tiny, out: Path) -> None:
    store = prepare(tiny(), out, size=None)
    assert store.truth("odd") == {}
    assert store.boxes is None


def test_another_process_opens_the_files_itself(store: Store) -> None:
    sent = pickle.dumps(store)
    assert len(sent) < 500
    assert np.array_equal(pickle.loads(sent).images, store.images)


def test_no_store(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x").endswith(
        "x, found no such folder: give the folder `medrobust prepare` wrote"
    )
    assert "found a folder without store.json: give" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["images.npy", "table.csv", "masks.npy", "rejects.csv"])
def test_half_a_store(store: Store, out: Path, name: str) -> None:
    (out / name).unlink()
    assert refusal(out).endswith(f"is incomplete, {name} is missing: run `medrobust prepare` again")


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_broken_store_json(store: Store, out: Path, text: str) -> None:
    (out / "store.json").write_text(text)
    assert "store.json is not a JSON object" in refusal(out)


def test_another_version(store: Store, out: Path) -> None:
    rewrite(out, version=2)
    assert "store.json is of format version 2, expected version 1: run" in refusal(out)


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"task": "ranking"}, "task: Input should be 'multilabel' or"), ({"x": 1}, "x: Extra")],
)
def test_a_wrong_field(store: Store, out: Path, change, expected: str) -> None:
    rewrite(out, **change)
    assert f"store.json: {expected}" in refusal(out)


def test_a_table_changed_by_hand_is_found_at_once(store: Store, out: Path) -> None:
    path = out / "table.csv"
    path.write_text(path.read_text().replace("PA", "AP", 1))
    assert "table.csv was changed after the store was made (its SHA-256 differs)" in refusal(out)


def test_images_that_do_not_match_the_table(store: Store, out: Path) -> None:
    np.save(out / "images.npy", np.zeros((39, 1, 6, 4), np.uint8))
    assert (
        "images.npy: expected uint8 of shape (40, 1, 6, 4), got uint8 of shape (39, 1, 6, 4)"
        in refusal(out)
    )
    np.save(out / "images.npy", np.zeros((40, 1, 6, 4), np.uint16))
    assert "expected uint8 of shape (40, 1, 6, 4), got uint16" in refusal(out)


def test_masks_that_do_not_match_their_table(store: Store, out: Path) -> None:
    write_csv(out / "masks.csv", pd.read_csv(out / "masks.csv").iloc[:1])
    refresh(out, "masks.csv")
    assert "masks.npy: expected bool of shape (1, 6, 4), got bool" in refusal(out)


def test_truncated_images(store: Store, out: Path) -> None:
    content = (out / "images.npy").read_bytes()
    (out / "images.npy").write_bytes(content[:-1])
    assert "images.npy cannot be read (mmap length is greater than file size)" in refusal(out)


def test_images_are_never_unpickled(store: Store, out: Path) -> None:
    np.save(out / "images.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "images.npy cannot be read (Array can't be memory-mapped" in refusal(out)


def test_a_changed_pixel_changes_the_checksum(store: Store, out: Path) -> None:
    content = bytearray((out / "images.npy").read_bytes())
    content[-1] ^= 1
    (out / "images.npy").write_bytes(content)
    changed = open_store(out)
    with pytest.raises(MedrobustError, match=r"images\.npy was changed after the store was made"):
        verify_checksum(changed)


def test_a_changed_combined_checksum(store: Store, out: Path) -> None:
    rewrite(out, checksum="0" * 64)
    with pytest.raises(MedrobustError, match=r"store\.json was changed by hand"):
        verify_checksum(open_store(out))


def test_the_combined_checksum_is_of_names_and_hashes() -> None:
    one = combined_checksum({"a": "1", "b": "2"})
    assert one == combined_checksum({"b": "2", "a": "1"})
    assert one != combined_checksum({"a": "2", "b": "1"})


@pytest.mark.slow
def test_a_large_store_opens_in_a_second(tiny, out: Path) -> None:
    def enlarge(table: pd.DataFrame) -> pd.DataFrame:
        large = table.loc[np.resize(table.index, 200_000)].reset_index(drop=True)
        large["image_id"] = [f"{number:06d}" for number in range(len(large))]
        for finding in range(13):
            large[f"label:{finding}"] = large["label:odd"]
        return large

    prepare(tiny(change=enlarge), out, size=None)
    start = time.perf_counter()
    assert len(open_store(out).table) == 200_000
    assert time.perf_counter() - start < 1
