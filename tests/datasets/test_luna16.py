"""LUNA16 in small trees of its layout, on a real volume, and its full tables."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medrobust.data.prepare import prepare
from medrobust.data.window import parse_window
from medrobust.datasets.luna16 import LUNA16
from medrobust.datasets.luna16_labels import judged, read_malignancy, read_nodules
from medrobust.errors import MedrobustError

sitk = pytest.importorskip("SimpleITK")

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
REAL, TABLES = SHARED / "ct_volume_mhd", SHARED / "label_tables"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real volume is not here")
tables = pytest.mark.skipif(not TABLES.is_dir(), reason="the label tables are not here")
SPACING, ORIGIN = (1.0, 1.0, 2.0), (-40.0, -30.0, 100.0)
HEADER = "seriesuid,coordX,coordY,coordZ,"
NODULE, OTHER = (30, 22, 8), (12, 40, 14)
"""Voxels (x, y, z) of a bright ball and of nothing."""


def volume(series: int) -> np.ndarray:
    """(20, 50, 60) of lung with a ball of 6 mm at NODULE."""
    z, y, x = np.indices((20, 50, 60))
    ball = (
        (np.stack([x, y, z]) - np.reshape(NODULE, (3, 1, 1, 1))) * np.reshape(SPACING, (3, 1, 1, 1))
    ) ** 2
    noise = np.random.default_rng(series).integers(-20, 20, (20, 50, 60))
    return (np.where(ball.sum(axis=0) <= 9, 50, -800) + noise).astype(np.int16)


def world(voxel: tuple[int, ...], direction=(1, 1, 1), origin=ORIGIN) -> tuple[float, ...]:
    return tuple(np.multiply(np.multiply(voxel, SPACING), direction) + origin)


def tree(root: Path, count: int = 9) -> Path:
    """`count` series in three subsets, every third one with a flipped direction."""
    candidates, annotations = [HEADER + "class"], [HEADER + "diameter_mm"]
    for number in range(count):
        flip = (-1, -1, 1) if number % 3 == 2 else (1, 1, 1)
        image = sitk.GetImageFromArray(volume(number))
        image.SetSpacing(SPACING)
        image.SetOrigin(ORIGIN)
        image.SetDirection(np.diag(np.array(flip, float)).ravel().tolist())
        folder = root / f"subset{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(folder / f"1.2.{number}.mhd"))
        for voxel, kind in ((NODULE, 1), (OTHER, 0)):
            x, y, z = world(voxel, flip)
            candidates.append(f"1.2.{number},{x},{y},{z},{kind}")
            if kind:
                annotations.append(f"1.2.{number},{x},{y},{z},6.0")
    (root / "candidates.csv").write_text("\n".join(candidates))
    (root / "annotations.csv").write_text("\n".join(annotations))
    return root


def test_from_the_parent_folder_to_a_store(tmp_path: Path) -> None:
    tree(tmp_path / "raw" / "LUNA16")
    source = LUNA16(tmp_path / "raw", patch_mm=20, pixels=20)
    index = source.index()
    assert len(index) == 18
    assert index["subset"].unique().tolist() == ["subset0", "subset1", "subset2"]
    store = prepare(source, tmp_path / "store", size=40, bits=16, splits=(0.5, 0.2, 0.3))
    assert store.findings == ["nodule"]
    assert store.table["spacing_y"].eq(0.5).all()
    assert store.info.window == (-1000, 400)
    assert store.boxes is not None
    assert len(store.boxes) == 9
    # the ball of 6 mm fills its box, in the middle of 20 mm: 40 pixels
    boxes = store.boxes[["x", "y", "w", "h"]].to_numpy()
    assert np.allclose(boxes, [14, 14, 12, 12], atol=1e-6)
    for row in np.flatnonzero(store.table["label:nodule"] == 1):
        bright = np.argwhere(store.images[row, 0] > 65535 * 0.5)
        assert np.allclose(bright.mean(axis=0) + 0.5, 20, atol=0.6)
        assert np.allclose(np.ptp(bright, axis=0) + 1, 12, atol=2)


def test_a_flipped_scan_gives_the_same_patch(tmp_path: Path) -> None:
    """Voxels stored in another order are the same body."""
    root = tree(tmp_path / "LUNA16", 3)
    path = root / "subset0" / "1.2.0.mhd"
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image)[:, ::-1, ::-1]
    turned = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    turned.SetSpacing(SPACING)
    turned.SetOrigin(world((59, 49, 0)))
    turned.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    source = LUNA16(root, patch_mm=20, pixels=32)
    row = source.index().iloc[0].to_dict()
    before = source.read(row).pixels
    sitk.WriteImage(turned, str(path))
    assert np.allclose(source.read(row).pixels, before, atol=1e-3)


def test_segmentations_of_the_same_names_are_no_scans(tmp_path: Path) -> None:
    root = tree(tmp_path / "LUNA16", 3)
    (root / "seg-lungs-LUNA16").mkdir()
    for path in root.glob("subset*/*"):
        shutil.copy(path, root / "seg-lungs-LUNA16")
    (root / "subset1" / "1.2.1.mhd").unlink()
    index = LUNA16(root).index()
    assert index["file"].unique().tolist() == [
        "subset0/1.2.0.mhd",
        "1.2.1.mhd",
        "subset2/1.2.2.mhd",
    ]
    assert index.query("patient_id == '1.2.1'")["problem"].eq("there is no such file").all()
    for path in root.glob("subset*/*"):
        path.rename(root / path.name)
    files = LUNA16(root).index()["file"].unique().tolist()
    assert files == ["1.2.0.mhd", "1.2.1.mhd", "1.2.2.mhd"]


def test_tables_in_a_folder_beside_the_subsets(tmp_path: Path) -> None:
    root = tree(tmp_path / "LUNA16", 3)
    expected = LUNA16(root).index()
    (root / "CSVFILES").mkdir()
    for name in ("annotations.csv", "candidates.csv"):
        (root / name).rename(root / "CSVFILES" / name)
    source = LUNA16(tmp_path)
    pd.testing.assert_frame_equal(source.index(), expected)
    assert len(source.read(expected.iloc[0].to_dict()).boxes) == 1
    assert source.notes == []
    (root / "CSVFILES" / "annotations.csv").unlink()
    source = LUNA16(root)
    assert source.read(source.index().iloc[0].to_dict()).boxes == ()
    assert source.notes == ["no annotations.csv: the nodules have no boxes"]


def test_a_slice_beside_the_centre_cuts_a_smaller_disc(tmp_path: Path) -> None:
    source = LUNA16(tree(tmp_path / "LUNA16", 3), patch_mm=20, pixels=40)
    row = source.index().iloc[0].to_dict()
    (box,) = source.read(row | {"world_z": row["world_z"] + 1.8}).boxes
    assert np.allclose(box.extent, 2 * 2 * np.sqrt(3**2 - 1.8**2))
    assert np.allclose(np.add(box.origin, np.divide(box.extent, 2)), 20)
    assert source.read(row | {"world_z": row["world_z"] + 3.1}).boxes == ()


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("candidates.csv", ",1\n", ",2\n", "'class', data row 1: expected 0 or 1, found '2'"),
        ("candidates.csv", "1.2.0,-", "1.2.0,nan", "'coordX', data row 1: expected a number"),
        ("annotations.csv", ",6.0", ",0", "'diameter_mm', data row 1: expected a number above 0"),
        ("annotations.csv", "diameter_mm", "size", "there is no column 'diameter_mm'"),
    ],
)
def test_a_table_with_a_mistake(tmp_path: Path, name: str, old: str, new: str, text: str) -> None:
    root = tree(tmp_path / "LUNA16", 3)
    content = (root / name).read_text()
    assert old in content
    (root / name).write_text(content.replace(old, new, 1))
    with pytest.raises(MedrobustError) as caught:
        LUNA16(root).index()
    assert text in str(caught.value)


def test_neighbouring_slices_and_cubes(tmp_path: Path) -> None:
    root = tree(tmp_path / "LUNA16", 3)
    flat = LUNA16(root, patch_mm=20, pixels=20)
    row = flat.index().iloc[0].to_dict()
    half = LUNA16(root, patch_mm=20, pixels=20, dims="2.5d", slices=3, slice_mm=2)
    three = half.read(row)
    assert three.pixels.shape == (3, 20, 20)
    assert three.spacing == (1, 1)
    assert np.array_equal(three.pixels[1], flat.read(row).pixels[0])
    up = row | {"world_z": row["world_z"] + 2}
    assert np.array_equal(three.pixels[2], flat.read(up).pixels[0])
    cube = LUNA16(root, patch_mm=20, pixels=20, dims="3d").read(row)
    assert cube.pixels.shape == (1, 20, 20, 20)
    assert cube.spacing == (1, 1, 1)
    assert cube.boxes[0].origin == (7, 7, 7)
    assert cube.boxes[0].extent == (6, 6, 6)
    inside = cube.pixels[0, 7:13, 7:13, 7:13]
    assert inside.mean() > cube.pixels.mean() + 300


def test_malignancy_by_the_policy(tmp_path: Path) -> None:
    root = tree(tmp_path / "LUNA16", 3)
    marks = ["[4, 5, 4]", "[1, 2, 3]", "[3, 4]"]
    lines = (root / "annotations.csv").read_text().splitlines()
    rows = [f'{line},"{mark}"' for line, mark in zip(lines[1:], marks, strict=True)]
    (tmp_path / "marks.csv").write_text("\n".join([f"{lines[0]},mal_details", *rows]))
    source = LUNA16(root, label="malignancy", malignancy_table=tmp_path / "marks.csv")
    index = source.index()
    assert index["label:malignancy"].tolist()[:2] == [1, 0]
    assert np.isnan(index["label:malignancy"][2])
    assert source.notes == ["1 nodules are neither clearly malignant nor benign, or unmarked"]
    (root / "annotations.csv").unlink()  # the table of marks has the diameters
    assert len(source.read(index.iloc[0].to_dict()).boxes) == 1
    assert source.read(index.iloc[1].to_dict()).boxes == ()


def test_malignancy_from_the_outlines_of_lidc(tmp_path: Path) -> None:
    root = tree(tmp_path / "LUNA16", 3)
    x, y, _ = NODULE
    z = world(NODULE)[2]
    names = (
        "series_instance_uid,slice_thickness,malignancy,z_min,z_max,row_min,row_max,col_min,col_max"
    )
    around = f"{z - 3},{z + 3},{y - 3},{y + 3},{x - 3},{x + 3}"
    beside = f"{z - 3},{z + 3},{y + 9},{y + 15},{x - 3},{x + 3}"
    rows = [f"1.2.0,2,5,{around}", f"1.2.0,2,4,{around}", f"1.2.0,2,1,{beside}"]
    rows += [f"1.2.2,2,2,{around}", f"9.9.9,2,5,{around}"]
    (tmp_path / "lidc.csv").write_text("\n".join([names, *rows]))
    source = LUNA16(root, label="malignancy", malignancy_table=tmp_path / "lidc.csv")
    labels = source.index()["label:malignancy"].tolist()
    assert labels[0] == 1
    assert np.isnan(labels[1])
    assert labels[2] == 0  # the flipped scan: rows and columns are voxels


def test_a_series_without_a_volume_is_a_reject(tmp_path: Path) -> None:
    root = tree(tmp_path / "LUNA16")
    (root / "subset1" / "1.2.4.mhd").unlink()
    prepare(*(LUNA16(root), tmp_path / "store"), size=None, max_rejects=0.2, splits=(0.5, 0.2, 0.3))
    assert (tmp_path / "store" / "rejects.csv").read_text() == (
        "file,reason\n" + "1.2.4.mhd,there is no such file\n" * 2
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"label": "cancer"}, "expected label nodule or malignancy and dims"),
        ({"dims": "4d"}, "expected label nodule or malignancy and dims"),
        ({"patch_mm": 0}, "expected patches of up to 500 mm"),
        ({"slices": 2}, "expected an odd number of slices, found 2"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings, text: str) -> None:
    with pytest.raises(MedrobustError, match=text):
        LUNA16(tree(tmp_path / "LUNA16", 1), **settings)


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        MedrobustError, match=r"expected LUNA16's annotations\.csv or candidates in"
    ):
        LUNA16(tmp_path)
    root = tree(tmp_path / "LUNA16", 1)
    with pytest.raises(MedrobustError, match="malignancy needs a table of the readers' marks"):
        LUNA16(root, label="malignancy").index()
    (root / "candidates.csv").unlink()
    with pytest.raises(MedrobustError, match=r"expected candidates_V2\.csv or candidates\.csv in"):
        LUNA16(root).index()


@real
def test_a_real_scan_with_annotations_at_known_voxels(tmp_path: Path) -> None:
    root = tmp_path / "LUNA16"
    shutil.copytree(REAL, root / "subset0")
    header = next((root / "subset0").glob("*.mhd"))
    image = sitk.ReadImage(str(header))
    voxels = sitk.GetArrayFromImage(image).astype(int)
    chosen = [(64, 64, 50), (30, 70, 20), (90, 40, 80), (70, 100, 60)]  # x, y, z
    lines = [HEADER + "class"]
    for number, voxel in enumerate(chosen):
        x, y, z = image.TransformIndexToPhysicalPoint(voxel)
        lines.append(f"{header.stem},{x},{y},{z},{number % 2}")
    (root / "candidates.csv").write_text("\n".join(lines))
    side = 11 * image.GetSpacing()[0]  # 11 voxels of the scan: centres fall on centres
    source = LUNA16(root, patch_mm=side, pixels=11)
    for row, (x, y, z) in zip(source.index().to_dict("records"), chosen, strict=True):
        patch = source.read(row).pixels[0]
        native = voxels[z, y - 5 : y + 6, x - 5 : x + 6]
        assert np.abs(patch - native).max() < 0.05
    windowed = LUNA16(root, window=parse_window("-160:240")).read(row)
    assert (windowed.low, windowed.high) == (-160, 240)


@real
def test_a_real_scan_stored_in_another_order(tmp_path: Path) -> None:
    """The header is written by hand: negative axes, and the far corner as the offset."""
    header = next(REAL.glob("*.mhd"))
    image = sitk.ReadImage(str(header))
    voxels = sitk.GetArrayFromImage(image)
    brightest = np.unravel_index(np.argmax(voxels), voxels.shape)[::-1]
    x, y, z = image.TransformIndexToPhysicalPoint([int(side) for side in brightest])
    far = image.TransformIndexToPhysicalPoint([side - 1 for side in image.GetSize()])
    root = tmp_path / "LUNA16"
    (root / "subset0").mkdir(parents=True)
    (root / "candidates.csv").write_text(f"{HEADER}class\n{header.stem},{x},{y},{z},1\n")
    shutil.copy(header, root / "subset0")
    shutil.copy(header.with_suffix(".raw"), root / "subset0")
    source = LUNA16(root, dims="3d", pixels=16, patch_mm=40)
    before = source.read(source.index().iloc[0].to_dict()).pixels
    assert before[0, 7:9, 7:9, 7:9].max() > 0.5 * voxels.max()
    copy = root / "subset0" / header.name
    text = re.sub(r"Offset = .*", f"Offset = {far[0]} {far[1]} {far[2]}", copy.read_text())
    copy.write_text(re.sub(r"(TransformMatrix = ).*", r"\g<1>-1 0 0 0 -1 0 0 0 -1", text))
    voxels[::-1, ::-1, ::-1].tofile(copy.with_suffix(".raw"))
    after = source.read(source.index().iloc[0].to_dict()).pixels
    assert np.abs(after - before).max() < 0.05


@tables
def test_the_full_tables() -> None:
    nodules = read_nodules(TABLES / "luna16" / "annotations.csv")
    assert (len(nodules), nodules["seriesuid"].nunique()) == (1186, 601)
    marks = read_malignancy(TABLES / "luna16" / "annotations_with_malignancy.csv", {})
    assert len(marks) == 1182
    labels = judged(marks["malignancy"])
    counts = {1.0: int((labels == 1).sum()), 0.0: int((labels == 0).sum())}
    assert counts == {1.0: 199, 0.0: 186}
    table = pd.read_csv(TABLES / "luna16" / "annotations_with_malignancy.csv")
    means = table["mal_details"].map(lambda text: np.mean([int(c) for c in text if c.isdigit()]))
    assert counts == {1.0: int((means >= 4).sum()), 0.0: int((means <= 2).sum())}
    assert sum(counts.values()) < 1182
