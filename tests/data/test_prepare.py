import errno
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from medrobust.data import journal, writer
from medrobust.data.prepare import prepare
from medrobust.data.source import Box, Card, Mask, Picture, Task
from medrobust.data.store import verify_checksum
from medrobust.data.window import parse_window
from medrobust.datasets.arrays import Arrays
from medrobust.errors import MedrobustError
from medrobust.files import resumable_folder


def refusal(source, out: Path, **settings) -> str:
    """Return the error's text; nothing may be left beside `out`."""
    before = sorted(path.name for path in out.parent.iterdir())
    with pytest.raises(MedrobustError) as caught:
        prepare(source, out, **({"size": None} | settings))
    assert sorted(path.name for path in out.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_store_has_what_the_source_has(tiny, out: Path) -> None:
    store = prepare(tiny(), out, size=None)
    assert store.images[:, 0, 0, 0].tolist() == [round(2.55 * number) for number in range(40)]
    assert list(store.table.columns) == [
        *("image_id", "patient_id", "split", "source", "file", "view"),
        *("native_low", "native_high", "spacing_y", "spacing_x"),
        *("scale_y", "scale_x", "offset_y", "offset_x", "label:odd"),
    ]
    assert store.table["spacing_y"].isna().all()
    info = store.info
    assert (info.name, info.licence, info.task) == ("tiny", "MIT", "multilabel")
    assert (info.channels, info.size, info.bits, info.window) == (1, (6, 4), 8, (0, 100))
    assert info.patients == "known"
    assert info.counts == {
        **{"images": 40, "patients": 20, "train": 20, "val": 10, "test": 10},
        **{"rejects": 0, "duplicate_groups": 0, "near_duplicate_pairs": 0},
    }
    assert info.warnings == []
    assert info.settings["splits"] == [0.7, 0.1, 0.2]
    assert sorted(path.name for path in out.iterdir()) == [
        *("duplicates.csv", "images.npy", "near_duplicates.csv", "rejects.csv"),
        *("store.json", "table.csv"),
    ]
    verify_checksum(store)


def test_the_same_data_give_the_same_checksum(tiny, tmp_path: Path) -> None:
    one, two = (prepare(tiny(), tmp_path / name, size=3) for name in "ab")
    assert one.checksum == two.checksum
    assert one.checksum != prepare(tiny(), tmp_path / "c", size=4).checksum


def test_size_spacing_masks_and_boxes_go_through_one_geometry(tiny, out: Path) -> None:
    mark = np.zeros((6, 4), bool)
    mark[2:4, :2] = True
    picture = Picture(
        *(100 * mark[None].astype(np.uint8), 0, 100, (0.25, 0.25)),
        masks=(Mask("odd", "finding", mark),),
        boxes=(Box("odd", (2, 0), (2, 2)),),
    )
    store = prepare(tiny(pictures={1: picture}), out, size=12, keep_aspect=True)
    row = store.table.loc[1]
    assert (row["scale_y"], row["scale_x"]) == (0.5, 0.5)
    assert (row["offset_y"], row["offset_x"]) == (0, -1)
    assert (row["spacing_y"], row["spacing_x"]) == (0.125, 0.125)
    truth = np.zeros((12, 12), bool)
    truth[4:8, 2:6] = True
    assert np.array_equal(store.truth("odd")[1], truth)
    assert np.array_equal(store.pixels([1])[0, 0] > 127, truth)
    assert store.boxes is not None
    assert store.boxes.loc[0, ["x", "y", "w", "h"]].tolist() == [2, 4, 4, 4]


def test_volumes(tiny, out: Path) -> None:
    ramp = np.arange(8 * 4 * 4, dtype=np.float64).reshape(1, 8, 4, 4)
    mark = ramp[0] < 4
    volume = Picture(ramp, 0, 127, (3, 1, 1), (Mask("odd", "finding", mark),))
    source = tiny(pictures=dict.fromkeys(range(40), volume))
    store = prepare(source, out, size=4, bits=16)
    assert store.images.shape == (40, 1, 4, 4, 4)
    assert store.images.dtype == np.uint16
    assert (np.diff(store.images[0, 0, :, 0, 0].astype(int)) > 0).all()
    assert store.table.loc[0, ["spacing_z", "spacing_y", "scale_z"]].tolist() == [6, 1, 2]
    assert store.truth("odd")[0].shape == (4, 4, 4)
    assert store.info.size == (4, 4, 4)


def test_windows_that_differ_stand_in_the_table(tiny, out: Path) -> None:
    wide = Picture(np.full((1, 6, 4), 500, np.int16), -1000, 1000)
    store = prepare(tiny(pictures={2: wide}), out, size=None)
    assert store.info.window is None
    assert store.table.loc[2, ["native_low", "native_high"]].tolist() == [-1000, 1000]
    assert store.images[2, 0, 0, 0] == round(255 * 0.75)


def test_without_patients_every_image_is_its_own(tiny, out: Path) -> None:
    source = tiny(change=lambda table: table.drop(columns="patient_id"))
    store = prepare(source, out, size=None)
    assert store.info.patients == "unknown"
    assert (store.table["patient_id"] == store.table["image_id"]).all()
    assert store.info.warnings == ["patients are unknown: every image counts as its own patient"]


def test_some_patients_missing(tiny, out: Path) -> None:
    def forget(table: pd.DataFrame) -> None:
        table.loc[[8, 9], "patient_id"] = None

    store = prepare(tiny(change=forget), out, size=None)
    assert store.info.patients == "known"
    assert store.table["patient_id"][8] == "008"
    assert store.info.warnings == ["2 images without a patient count as their own patient"]


def test_without_a_split_patients_are_divided(tiny, tmp_path: Path) -> None:
    source = tiny(count=200, change=lambda table: table.drop(columns="split"))
    store = prepare(source, tmp_path / "a", size=None, splits=(0.5, 0.2, 0.3), seed=1)
    assert (store.table.groupby("patient_id")["split"].nunique() == 1).all()
    text = "split by patient with seed 1: the data set names no split"
    assert store.info.warnings[0] == text
    external = prepare(source, tmp_path / "b", size=None, splits=(0, 0, 1))
    assert external.info.counts["test"] == 200


def test_rejects_are_listed_and_counted(tiny, out: Path) -> None:
    store = prepare(tiny(broken=(4,)), out, size=None, max_rejects=0.1)
    assert (out / "rejects.csv").read_text() == "file,reason\n4.bin,it is torn\n"
    assert store.info.counts["rejects"] == 1
    assert len(store.images) == 39
    assert store.table["image_id"][4] == "005"
    assert store.images[4, 0, 0, 0] == round(2.55 * 5)
    assert store.info.warnings == ["1 images could not be used (rejects.csv)"]


def test_too_many_rejects_end_it_with_their_reasons(tiny, out: Path) -> None:
    assert refusal(tiny(broken=(4, 6)), out, max_rejects=0.03) == (
        "2 of 40 images cannot be used, more than 3.00%: it is torn (4.bin, 6.bin); "
        "--max-rejects allows more"
    )


def test_rejects_may_empty_a_split(tiny, out: Path) -> None:
    val = (4, 5, 12, 13, 20, 21, 28, 29, 36, 37)
    assert refusal(tiny(broken=val), out, max_rejects=0.5) == (
        "1 problem in the table of images: split val has no images"
    )


def test_rejects_may_leave_a_split_without_a_class(tiny, out: Path) -> None:
    negatives = (4, 12, 20, 28, 36)
    store = prepare(tiny(broken=negatives), out, size=None, max_rejects=0.5)
    assert store.info.warnings[0] == "odd has no negative image in val"


def test_no_image_at_all(tiny, out: Path) -> None:
    text = refusal(tiny(broken=tuple(range(40))), out, max_rejects=1)
    assert text.startswith("none of the 40 images can be used: it is torn (0.bin, 1.bin, ")


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (
            Picture(np.zeros((1, 6, 5), np.uint8), 0, 1),
            "expected 6x4 pixels like the first image, got 6x5: give a size to which all are",
        ),
        (
            Picture(np.zeros((3, 6, 4), np.uint8), 0, 1),
            "expected 1 channels of 2 axes like the first image, got 3 of 2",
        ),
        (Picture(np.full((1, 6, 4), np.nan), 0, 1), "some pixels are not finite"),
        (Picture(np.zeros((1, 6, 4)), 1, 1), r"the window \[1, 1\] is empty"),
        (Picture(np.zeros((6, 4)), 0, 1), r"expected \(C, H, W\) or \(C, D, H, W\), got \(6, 4\)"),
        (Picture(np.zeros((1, 0, 4)), 0, 1), r"expected \(C, H, W\) or .*, got \(1, 0, 4\)"),
    ],
)
def test_pictures_that_do_not_fit(tiny, out: Path, picture: Picture, reason: str) -> None:
    with pytest.raises(MedrobustError, match=reason):
        prepare(tiny(pictures={5: picture}), out, size=None)
    assert not out.exists()


def test_an_image_of_another_size_is_resized_on_request(tiny, out: Path) -> None:
    wide = Picture(np.full((1, 6, 40), 50, np.uint8), 0, 100)
    assert prepare(tiny(pictures={5: wide}), out, size=8).images.shape == (40, 1, 8, 8)


@pytest.mark.parametrize(
    ("column", "row", "value", "text"),
    [
        ("label:odd", 3, 7.0, "label:odd must be 0, 1 or empty (unknown), found 7.0 at 003"),
        ("image_id", 3, "000", "image_id is not unique: 000"),
        (
            "split",
            3,
            "test",
            "1 patients are in more than one split, such as that of rows 3, 4 (--own",
        ),
        ("split", 3, "dev", "split must be train, val or test, found dev"),
    ],
)
def test_a_bad_table_ends_it_before_any_image(tiny, out, column, row, value, text) -> None:
    def spoil(table: pd.DataFrame) -> None:
        table.loc[row, column] = value

    source = tiny(change=spoil, broken=tuple(range(40)))
    assert text in refusal(source, out)


def test_nothing_to_learn_from(tiny, out: Path) -> None:
    source = tiny(change=lambda table: table.assign(**{"label:odd": 1.0}))
    assert "no finding has both a positive and a negative image in train" in refusal(source, out)


def test_copies_are_found(tiny, tmp_path: Path) -> None:
    same = Picture(np.full((1, 6, 4), 77, np.uint8), 0, 100)
    source = tiny(pictures=dict.fromkeys((0, 2, 4, 9, 11), same))
    store = prepare(source, tmp_path / "a", size=2)
    assert (tmp_path / "a" / "duplicates.csv").read_text() == (
        "group,image_id,patient_id,split,dropped,label:odd\n"
        "0,000,00,train,0,0.0\n0,002,01,train,0,0.0\n0,004,02,val,0,0.0\n"
        "0,009,04,train,0,1.0\n0,011,05,train,0,1.0\n"
    )
    assert store.info.counts["duplicate_groups"] == 1
    assert store.info.warnings == [
        "1 groups of identical images lie in more than one split (duplicates.csv)",
        "1 groups of identical images have different labels (duplicates.csv)",
    ]


def test_copies_across_splits_stop_where_the_split_is_ours_or_on_request(tiny, out: Path) -> None:
    same = Picture(np.full((1, 6, 4), 77, np.uint8), 0, 100)
    pictures = dict.fromkeys(range(20), same)
    text = (
        "1 groups of identical images lie in more than one split, which would test on what was "
        "trained on: leave them out (--duplicates drop-from-train), or keep and report them "
        "(--duplicates report)"
    )
    with pytest.raises(MedrobustError, match=f"^{re.escape(text)}$"):
        prepare(tiny(pictures=pictures), out, size=None, duplicates="stop")
    seen: list[tuple[int, int]] = []
    again = {"duplicates": "report", "progress": lambda *step: seen.append(step)}
    prepare(tiny(pictures=pictures), out, size=None, overwrite=True, **again)
    assert seen == []  # the images were read already
    ours = tiny(pictures=pictures, change=lambda table: table.drop(columns="split"))
    with pytest.raises(MedrobustError, match=f"^{re.escape(text)}$"):
        prepare(ours, out, size=None, overwrite=True)
    assert prepare(ours, out, size=None, overwrite=True, duplicates="report").info.warnings[1:] == [
        "1 groups of identical images lie in more than one split (duplicates.csv)",
        "1 groups of identical images have different labels (duplicates.csv)",
    ]


def test_copies_may_be_left_out_of_the_earlier_split(tiny, out: Path) -> None:
    same = Picture(np.full((1, 6, 4), 77, np.uint8), 0, 100, masks=(_dot("odd"), _dot("lung")))
    plain = Picture(np.zeros((1, 6, 4), np.uint8), 0, 100, masks=(_dot("odd"),))
    pictures = dict.fromkeys((0, 4, 6), same) | {1: plain}
    store = prepare(tiny(pictures=pictures), out, size=None, duplicates="drop-from-train")
    # 0 is in train and 4 in val; 6 is in test and stays
    assert store.table["image_id"].tolist() == [f"{n:03d}" for n in range(40) if n not in (0, 4)]
    assert len(store.images) == 38
    assert store.images[:, 0, 0, 0].tolist()[4] == round(2.55 * 77)
    copies = pd.read_csv(out / "duplicates.csv", dtype=str)
    assert copies["dropped"].tolist() == ["1", "1", "0"]
    assert (out / "masks.csv").read_text() == (
        "mask,image_id,name,kind\n0,001,odd,finding\n1,006,odd,finding\n2,006,lung,finding\n"
    )
    assert np.load(out / "masks.npy").shape == (3, 6, 4)
    assert store.info.warnings == [
        "2 images were left out, since copies of them lie in a later split (duplicates.csv)"
    ]
    verify_checksum(store)


def _dot(name: str) -> Mask:
    pixels = np.zeros((6, 4), bool)
    pixels[1, 1] = True
    return Mask(name, "finding", pixels)


def test_rows_known_to_be_unusable_are_rejects_before_any_image_is_read(tiny, out: Path) -> None:
    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        problem = ["there is no such file" if number in (3, 7) else "" for number in range(40)]
        return table.assign(problem=problem)

    store = prepare(tiny(change=spoil, broken=(3, 7, 9)), out, size=None, max_rejects=0.1)
    assert (out / "rejects.csv").read_text() == (
        "file,reason\n3.bin,there is no such file\n7.bin,there is no such file\n9.bin,it is torn\n"
    )
    assert "problem" not in store.table
    unread = tiny(change=spoil, broken=tuple(range(40)))
    assert refusal(unread, out.with_name("b"), max_rejects=0.03) == (
        "2 of 40 images cannot be used, more than 3.00%: there is no such file (3.bin, 7.bin); "
        "--max-rejects allows more"
    )


def test_what_a_source_notes_is_a_warning(tiny, out: Path) -> None:
    source = tiny()
    source.notes = ["5 labels have no file"]
    assert prepare(source, out, size=None).info.warnings == ["5 labels have no file"]


def test_dark_may_be_high(tiny, out: Path) -> None:
    inverted = Picture(np.full((1, 6, 4), 25, np.uint8), 100, 0)
    store = prepare(tiny(pictures={5: inverted}), out, size=None)
    assert store.images[5, 0, 0, 0] == round(255 * 0.75)
    assert store.table.loc[5, ["native_low", "native_high"]].tolist() == [100, 0]


def test_notes_and_dark_images_are_warnings(tiny, out: Path) -> None:
    noted = Picture(np.full((1, 6, 4), 9, np.uint8), 0, 100, note="it was blue")
    dark = Picture(np.full((1, 6, 4), 9, np.uint8), 0, 65535)
    source = tiny(pictures=dict.fromkeys(range(40), dark) | {1: noted, 2: noted})
    assert prepare(source, out, size=None).info.warnings[:2] == [
        "2 images: it was blue",
        "no pixel is brighter than x = 0.090: the images use little of the window",
    ]


def test_progress_counts_every_image(tiny, out: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = tiny(broken=(3,))
    prepare(source, out, size=None, max_rejects=1, progress=lambda *step: seen.append(step))
    assert seen == [(number, 40) for number in range(1, 41)]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"size": 0}, "size must be at least 1 pixel, got 0"),
        ({"max_rejects": 2}, r"max_rejects must be in [0, 1], got 2"),
        ({"splits": (1, 1, 1)}, "expected three fractions for train, val and test that sum to 1"),
    ],
)
def test_settings_out_of_range(tiny, out: Path, settings, text: str) -> None:
    assert text in refusal(tiny(), out, **settings)


def test_an_older_store_is_replaced_only_on_request_and_when_the_new_one_is_whole(
    tiny, out: Path
) -> None:
    old = prepare(tiny(), out, size=None)
    assert "exists already: choose another place, remove it, or overwrite it" in refusal(
        tiny(), out
    )
    refusal(tiny(broken=(4,)), out, overwrite=True)
    verify_checksum(old)
    assert prepare(tiny(), out, size=2, overwrite=True).info.size == (2, 2)


def test_what_is_not_a_store_is_never_replaced(tiny, out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "is not a store and is not overwritten" in refusal(tiny(), out, overwrite=True)
    assert (out / "thesis.tex").exists()


def test_a_data_set_that_cannot_be_read_is_no_reject(tiny, out: Path, monkeypatch) -> None:
    def fail(self, row):
        raise OSError("the disk is gone")

    monkeypatch.setattr(tiny, "read", fail)
    assert refusal(tiny(), out, max_rejects=1) == "0.bin cannot be read: the disk is gone"


def test_a_full_disk_costs_nothing_that_was_done(tiny, out: Path, monkeypatch, contents) -> None:
    whole = contents(prepare(tiny(), out.with_name("whole"), size=None).path)
    append = writer.ArrayWriter.append

    def fail(self, array):
        if self.length == 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, array)

    monkeypatch.setattr(journal, "ROWS", 8)
    with monkeypatch.context() as full:
        full.setattr(writer.ArrayWriter, "append", fail)
        with pytest.raises(MedrobustError) as caught:
            prepare(tiny(), out, size=None)
    assert str(caught.value).endswith(
        "store: No space left on device; free some space or choose another disk "
        "(the same command will go on from here (kept in .store.partial))"
    )
    assert not out.exists()
    seen: list[tuple[int, int]] = []
    prepare(tiny(), out, size=None, progress=lambda *step: seen.append(step))
    assert seen[0] == (25, 40)  # 24 rows, three times 8, were on the disk
    assert contents(out) == whole
    assert sorted(path.name for path in out.parent.iterdir()) == ["store", "whole"]


def test_a_file_that_really_cannot_grow_is_an_error_of_one_line(out: Path) -> None:
    pytest.importorskip("resource")
    code = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import Tiny
from medrobust.data.prepare import prepare
from medrobust.errors import MedrobustError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    prepare(Tiny(), Path(sys.argv[2]), size=100)
except MedrobustError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "store: File too large; free some space or choose another disk" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in out.parent.iterdir()] == [".store.partial"]


@pytest.mark.parametrize(
    ("moment", "read"),
    [("images", 16), ("journal", 24), ("table", 0), ("store.json", 0), ("drop", 40)],
)
def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    tmp_path: Path, contents, moment: str, read: int
) -> None:
    duplicates = "drop-from-train" if moment == "drop" else "report"
    options = {"size": 12, "max_rejects": 0.1, "duplicates": duplicates}
    whole = contents(prepare(Marked(), tmp_path / "whole", **options).path)
    code = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from medrobust.data import journal, prepare as module, writer
from test_prepare import Marked
moment, calls = sys.argv[3], []
journal.ROWS = 4

def killing(function, at):
    def wrapped(*arguments):
        calls.append(0)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return wrapped

if moment == "images":
    writer.ArrayWriter.append = killing(writer.ArrayWriter.append, 40)
if moment == "journal":
    flush = journal.flush
    def torn(file):
        calls.append(0)
        if len(calls) == 4:
            file.write(b'["torn')
            flush(file)
            os.kill(os.getpid(), signal.SIGKILL)
        flush(file)
    journal.flush = torn
if moment == "table":
    module.write_csv = killing(module.write_csv, 2)
if moment == "store.json":
    module.write_json = killing(module.write_json, 1)
if moment == "drop":
    module.without = killing(module.without, 2)
module.prepare(
    Marked(), Path(sys.argv[2]), size=12, max_rejects=0.1, duplicates=sys.argv[4]
)
"""
    out = tmp_path / "store"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(out), moment, duplicates]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert not out.exists()
    seen: list[tuple[int, int]] = []
    prepare(Marked(), out, **options, progress=lambda *step: seen.append(step))
    assert contents(out) == whole
    assert len(seen) == read  # the others were on the disk
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "whole"]


def test_other_settings_start_anew(tiny, out: Path, monkeypatch) -> None:
    monkeypatch.setattr(journal, "ROWS", 8)
    with pytest.raises(KeyboardInterrupt):
        prepare(tiny(), out, size=None, progress=_interrupt)
    assert [path.name for path in out.parent.iterdir()] == [".store.partial"]
    seen: list[tuple[int, int]] = []
    prepare(tiny(), out, size=3, progress=lambda *step: seen.append(step))
    assert seen[0] == (1, 40)
    assert [path.name for path in out.parent.iterdir()] == ["store"]


def test_another_window_starts_anew(out: Path, tmp_path: Path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(40) % 2, split=np.arange(40) % 3)

    def source(window: str) -> Arrays:
        return Arrays(tmp_path / "a.npz", split="split", window=parse_window(window))

    monkeypatch.setattr(journal, "ROWS", 8)
    with pytest.raises(KeyboardInterrupt):
        prepare(source("0:100"), out, size=None, progress=_interrupt)
    store = prepare(source("0:200"), out, size=None)
    assert store.info.window == (0, 200)
    seen: list[tuple[int, int]] = []
    with pytest.raises(KeyboardInterrupt):
        prepare(source("0:100"), out, size=None, progress=_interrupt, overwrite=True)
    progress = lambda *step: seen.append(step)  # noqa: E731
    prepare(source("0:100"), out, size=None, progress=progress, overwrite=True)
    assert seen[0] == (21, 40)


def _interrupt(done: int, total: int) -> None:
    if done == 20:
        raise KeyboardInterrupt


def test_two_at_the_same_work(tiny, out: Path) -> None:
    pytest.importorskip("fcntl")
    with resumable_folder(out, "plan") as work:
        (work / "result" / "x").write_text("")
        text = f"another process is at work in {work}: let it finish"
        with pytest.raises(MedrobustError, match=re.escape(text)):
            prepare(tiny(), out, size=None)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_no_byte(tmp_path: Path, contents, workers: int) -> None:
    options = {"size": 12, "max_rejects": 0.1}
    one = prepare(Marked(), tmp_path / "a", **options)
    two = prepare(Marked(), tmp_path / "b", **options, workers=workers)
    assert contents(one.path) == contents(two.path)


CARD = Card("marked", "Marked", "made up", "MIT", "nobody")


@dataclass(frozen=True)
class Marked:
    """A picklable data set of 40 images with masks and boxes, copies and a broken image."""

    card: ClassVar[Card] = CARD
    task: ClassVar[Task] = "multilabel"

    def index(self) -> pd.DataFrame:
        numbers = np.arange(40)
        names = [f"{number:03d}" for number in numbers]
        return pd.DataFrame(
            {
                **{"image_id": names, "patient_id": names, "source": "made", "file": names},
                **{"split": np.array(["train", "val", "test"])[numbers % 3]},
                **{"label:odd": numbers % 2.0},
            }
        )

    def read(self, row: Mapping[str, Any]) -> Picture:
        number = int(row["image_id"])
        if number == 5:
            raise MedrobustError("it is torn")
        seed = {1: 0, 20: 7}.get(number, number)
        pixels = np.random.default_rng(seed).integers(0, 256, (1, 9, 7), dtype=np.uint8)
        mask = Mask("odd", "finding", pixels[0] > 128)
        return Picture(
            pixels, 0, 255, masks=(mask,) * (number % 2), boxes=(Box("odd", (1, 2), (3, 4)),)
        )


def test_memory_does_not_grow_with_the_number_of_images(tiny, out: Path) -> None:
    class Large(tiny):
        def read(self, row) -> Picture:
            number = int(row["image_id"])
            return Picture(np.full((1, 256, 256), number, np.uint16), 0, 2000)

    tracemalloc.start()
    prepare(Large(count=200), out, size=None, bits=16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (out / "images.npy").stat().st_size > 26_000_000
    assert peak < 6_000_000
