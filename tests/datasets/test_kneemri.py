"""kneeMRI as it is downloaded, in a small tree of the same layout."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.data.prepare import prepare
from medrobust.data.window import parse_window
from medrobust.datasets.kneemri import GRADES, KneeMRI
from medrobust.errors import MedrobustError

HEADER = (
    "examId,seriesNo,aclDiagnosis,kneeLR,roiX,roiY,roiZ,roiHeight,roiWidth,roiDepth,volumeFilename"
)


def volume(exam: int) -> np.ndarray:
    """(6, 20, 16) of 12 bits, with a bright mark in the middle of its region."""
    pixels = np.random.default_rng(exam).integers(0, 1000, (6, 20, 16)).astype(np.int16)
    pixels[3, 8:11, 6:8] = 4000
    return pixels


def tree(root: Path, count: int = 12, protocol: int = 2) -> Path:
    """`count` exams in two folders; the first exam has both knees."""
    lines = [HEADER]
    for number in [0, *range(count)]:
        series = 7 if len(lines) == 1 else 4
        name = f"{1000 + number}-{series}.pck"
        lines.append(f"{1000 + number},{series},{number % 3},{number % 2},4,5,2,9,7,3,{name}")
        folder = root / f"vol{1 + number % 2:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(volume(number), protocol))
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def edit(root: Path, old: str, new: str) -> None:
    text = (root / "metadata.csv").read_text()
    assert old in text
    (root / "metadata.csv").write_text(text.replace(old, new))


def test_each_slice_of_the_region_is_an_image(tmp_path: Path) -> None:
    source = KneeMRI(tree(tmp_path / "kneeMRI"))
    index = source.index()
    assert len(index) == 13 * 3
    assert index["image_id"].tolist()[:4] == ["1000-7-02", "1000-7-03", "1000-7-04", "1000-4-02"]
    assert index["patient_id"].tolist()[:6] == ["1000"] * 6
    assert index.filter(like="label:").columns.tolist() == [f"label:{grade}" for grade in GRADES]
    assert (index.filter(like="label:").sum(axis=1) == 1).all()
    picture = source.read(index.iloc[1].to_dict())
    assert np.array_equal(picture.pixels[0], volume(0)[3, 5:14, 4:11])
    # the window is the volume's, so that it is one for all its slices
    assert (picture.low, picture.high) == tuple(np.percentile(volume(0), [0.5, 99.5]))


def test_whole_slices_blocks_and_whole_volumes(tmp_path: Path) -> None:
    root = tree(tmp_path / "kneeMRI")
    whole = KneeMRI(root, region="whole")
    assert np.array_equal(whole.read(whole.index().iloc[1].to_dict()).pixels[0], volume(0)[3])
    block = KneeMRI(root, volume=True)
    assert len(block.index()) == 13
    row = block.index().iloc[0].to_dict()
    assert np.array_equal(block.read(row).pixels[0], volume(0)[2:5, 5:14, 4:11])
    assert KneeMRI(root, volume=True, region="whole").read(row).pixels.shape == (1, 6, 20, 16)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_from_the_parent_folder_to_a_store(tmp_path: Path, protocol: int) -> None:
    tree(tmp_path / "raw" / "kneeMRI", protocol=protocol)
    store = prepare(
        KneeMRI(tmp_path / "raw", window=parse_window("0:4095")),
        *(tmp_path / "store",),
        size=None,
        bits=16,
        splits=(0.4, 0.3, 0.3),
    )
    assert store.info.task == "exclusive"
    assert store.images.shape == (39, 1, 9, 7)
    assert store.info.counts["patients"] == 12
    native = np.rint(store.images[1, 0] / 65535 * 4095)
    assert np.array_equal(native, volume(0)[3, 5:14, 4:11])
    assert (store.table.groupby("patient_id")["split"].nunique() == 1).all()


def test_a_block_of_chosen_size(tmp_path: Path) -> None:
    source = KneeMRI(tree(tmp_path / "kneeMRI"), volume=True)
    store = prepare(source, tmp_path / "store", size=(4, 8, 8), splits=(0.4, 0.3, 0.3))
    assert store.images.shape == (13, 1, 4, 8, 8)
    # the mark: slice 1 of 3, rows 3..6 of 9, columns 2..4 of 7 of the block
    bright = np.argwhere(store.images[0, 0] > 200).mean(axis=0) + 0.5
    assert np.allclose(bright, [1.5 * 4 / 3, 4.5 * 8 / 9, 3 * 8 / 7], atol=0.7)


@pytest.mark.parametrize("region", ["4,5,2,0,7,3", ",,,,,", "-1,5,2,9,7,3"])
def test_a_volume_without_a_region_is_a_reject(tmp_path: Path, region: str) -> None:
    root = tree(tmp_path / "kneeMRI")
    edit(root, "1005,4,2,1,4,5,2,9,7,3", f"1005,4,2,1,{region}")
    prepare(KneeMRI(root), tmp_path / "store", size=8, max_rejects=0.1, splits=(0.4, 0.3, 0.3))
    rejects = pd.read_csv(tmp_path / "store" / "rejects.csv")
    assert rejects.to_numpy().tolist() == [
        ["vol02/1005-4.pck", "the table gives no region of interest"]
    ]
    assert len(KneeMRI(root, volume=True, region="whole").index().query("problem == ''")) == 13


def test_a_region_that_leaves_its_volume_and_a_missing_file(tmp_path: Path) -> None:
    root = tree(tmp_path / "kneeMRI")
    edit(root, "1005,4,2,1,4,5,2,9,7,3", "1005,4,2,1,4,15,2,9,7,1")
    (root / "vol01" / "1006-4.pck").unlink()
    prepare(KneeMRI(root), tmp_path / "store", size=8, max_rejects=0.1, splits=(0.4, 0.3, 0.3))
    assert (tmp_path / "store" / "rejects.csv").read_text() == (
        "file,reason\n1006-4.pck,there is no such file\n"
        "vol02/1005-4.pck,its region of interest leaves the volume\n"
    )


def test_two_volumes_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    root = tree(tmp_path / "kneeMRI")
    (root / "copy").mkdir()
    (root / "copy" / "1005-4.pck").write_bytes(pickle.dumps(volume(99)))
    problems = KneeMRI(root).index().query("problem != ''")
    assert problems["file"].tolist() == ["copy/1005-4.pck"]
    assert problems["problem"].tolist() == ["several folders have a volume of this name"]


def test_rows_are_read_in_any_order_and_after_pickling(tmp_path: Path) -> None:
    source = KneeMRI(tree(tmp_path / "kneeMRI", 3))
    index = source.index()
    pd.testing.assert_frame_equal(index, source.index())
    rows = index.to_dict("records")
    forward = [source.read(row).pixels for row in rows]
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 2000  # without the volume at hand
    backward = [again.read(row).pixels for row in rows[::-1]][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_malicious_pickle_runs_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path / "kneeMRI")
    trap = tmp_path / "trap"
    (root / "vol02" / "1005-4.pck").write_bytes(pickle.dumps(Trap(trap)))
    prepare(KneeMRI(root), tmp_path / "store", size=8, max_rejects=0.1, splits=(0.4, 0.3, 0.3))
    assert not trap.exists()
    rejects = pd.read_csv(tmp_path / "store" / "rejects.csv")
    assert rejects["reason"].tolist() == ["not a pickled array of numbers"] * 3


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("1005,4,2,", "1005,4,3,", "column 'aclDiagnosis', data row 7: expected 0, 1 or 2, found"),
        ("1005,4,2,", ",4,2,", "column 'examId', data row 7: expected a number, found ''"),
        ("aclDiagnosis", "acl", "there is no column 'aclDiagnosis'"),
        ("4,5,2,9,7,3,1005", "4,5,x,9,7,3,1005", "column 'roiZ', data row 7: expected a whole num"),
    ],
)
def test_a_table_with_a_mistake(tmp_path: Path, old: str, new: str, text: str) -> None:
    root = tree(tmp_path / "kneeMRI")
    edit(root, old, new)
    with pytest.raises(MedrobustError) as caught:
        KneeMRI(root).index()
    assert text in str(caught.value)


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(
        MedrobustError, match=r"expected metadata\.csv of kneeMRI in .*, found none"
    ):
        KneeMRI(tmp_path)
    root = tree(tmp_path / "kneeMRI", 1)
    with pytest.raises(MedrobustError, match="region: expected roi or whole, found 'knee'"):
        KneeMRI(root, region="knee")
    with pytest.raises(MedrobustError, match="expected a window of values or percentiles"):
        KneeMRI(root, window=parse_window("file"))
