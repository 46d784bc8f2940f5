"""Patches of volumes against SimpleITK's own coordinates, for any direction of a scan."""

from pathlib import Path

import numpy as np
import pytest

from medrobust.data.volume import Grid, check_header, read_patch, world_to_voxel
from medrobust.errors import MedrobustError

sitk = pytest.importorskip("SimpleITK")

TURN = np.deg2rad(30)
DIRECTIONS = {
    "upright": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "upside down": np.diag([1.0, 1.0, -1.0]),
    "permuted": np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float),
    "oblique": np.array(
        [[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]]
    ),
}
SPACING, ORIGIN = (0.7, 0.8, 2.0), (-30.0, 12.0, 200.0)


def write(path: Path, voxels: np.ndarray, direction: np.ndarray, origin=ORIGIN) -> Path:
    """Write voxels (z, y, x) as .mhd and .raw."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def world(x: float, y: float, z: float) -> float:
    """A value that is linear in the place, so that linear sampling is exact."""
    return 3 * x - 2 * y + 0.5 * z


def linear(direction: np.ndarray, shape=(40, 60, 50)) -> np.ndarray:
    z, y, x = np.indices(shape)
    places = direction @ (np.stack([x, y, z]).reshape(3, -1) * np.array(SPACING)[:, None])
    x, y, z = places + np.array(ORIGIN)[:, None]
    return world(x, y, z).reshape(shape).astype(np.float32)


def centre_of(direction: np.ndarray, voxel=(25, 30, 20)) -> np.ndarray:
    return direction @ (np.array(voxel) * SPACING) + ORIGIN


@pytest.mark.parametrize("name", DIRECTIONS)
def test_values_stand_where_they_are_in_the_world(tmp_path: Path, name: str) -> None:
    direction = DIRECTIONS[name]
    path = write(tmp_path / "x.mhd", linear(direction), direction)
    centre = centre_of(direction)
    grid = Grid(tuple(centre), (6.0, 8.0, 10.0), (4, 5, 6))
    patch = read_patch(path, grid, -1000)
    z, y, x = np.indices(grid.shape) + 0.5
    corner = centre - np.array([10.0, 8.0, 6.0]) / 2
    expected = world(corner[0] + x * 10 / 6, corner[1] + y * 8 / 5, corner[2] + z * 6 / 4)
    assert np.allclose(patch, expected, atol=1e-3)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_voxels_against_simpleitk(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "x.mhd", linear(DIRECTIONS[name]), DIRECTIONS[name])
    image = sitk.ReadImage(str(path))
    points = np.random.default_rng(0).uniform(-50, 250, (5, 3))
    expected = [image.TransformPhysicalPointToContinuousIndex(point) for point in points]
    assert np.allclose(world_to_voxel(path, points), expected)


def test_outside_is_air_and_far_outside_nothing_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mhd", np.full((10, 10, 10), 7, np.int16), np.eye(3))
    edge = read_patch(path, Grid(ORIGIN, (4.0, 4.0, 4.0), (1, 8, 8)), -1000)
    assert (edge[0, :3] == -1000).all()
    assert edge[0, -1, -1] == 7
    far = read_patch(path, Grid((900.0, 0.0, 0.0), (4.0, 4.0, 4.0), (2, 3, 4)), -1000)
    assert far.shape == (2, 3, 4)
    assert (far == -1000).all()


def test_a_coarse_grid_averages(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 100, (24, 64, 64)).astype(np.float32)
    path = write(tmp_path / "x.mhd", noise, np.eye(3))
    centre = tuple(centre_of(np.eye(3), (32, 32, 12)))
    fine = read_patch(path, Grid(centre, (8.0, 22.4, 25.6), (4, 32, 32)), 0)
    coarse = read_patch(path, Grid(centre, (8.0, 22.4, 25.6), (4, 4, 4)), 0)
    assert coarse.std() < fine.std() / 3
    assert np.isclose(coarse.mean(), fine.mean(), atol=3)


def test_a_grid_knows_where_points_lie() -> None:
    grid = Grid((10.0, 20.0, 30.0), (4.0, 8.0, 16.0), (2, 8, 8))
    assert grid.spacing == (2, 1, 2)
    assert grid.voxel((10.0, 20.0, 30.0)).tolist() == [1, 4, 4]
    assert grid.voxel((12.0, 17.0, 30.0)).tolist() == [1, 1, 5]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("x.raw", "/etc/passwd", "its header does not name a .raw or .zraw file in the same"),
        ("x.raw", "../x.raw", "its header does not name a .raw or .zraw file in the same folder"),
        ("x.raw", "LIST", "its header does not name a .raw or .zraw file in the same folder"),
        ("x.raw", "x%d.raw 1 9 1", "its header does not name a .raw or .zraw file in the same"),
        ("x.raw", "y.raw", "the volume that its header names is not there"),
        ("DimSize = 4 3 2", "DimSize = 4 3 3", "its volume is not of the size that its header"),
        ("DimSize = 4 3 2", "DimSize = 99999 99999 99999", "more than 2147483648 voxels"),
        ("DimSize = 4 3 2", "DimSize = 4 3", "its header has no size of a volume"),
        ("NDims = 3", "NDims = 2", "its header is not that of a volume of numbers"),
        ("MET_SHORT", "MET_OTHER", "its header is not that of a volume of numbers"),
        ("ObjectType = Image", "Hello", "not a MetaImage header"),
        ("NDims = 3", "NDims = 3\nElementDataFile : /etc/passwd", "not a MetaImage header"),
        ("NDims = 3", "NDims = 3\nNDims = 3", "not a MetaImage header"),
        ("NDims = 3", "NDims = 3\nHeaderSize = 8", "its header says that more than voxels is in"),
        ("NDims = 3", "NDims = 3\nElementNumberOfChannels = 2", "its header is not that of a volu"),
        ("x.raw", "x.raw\nComment = more", "its header does not end with the name of the volume"),
        ("Spacing = 0.69999999999999996", "Spacing = nan", "its header does not say where in"),
        ("Offset = -30", "Offset = nan", "its header does not say where in the world the volume"),
        ("= 1 0 0 0 1 0 0 0 1", "= 1 0 0 0 1 0 0 1 0", "its header does not say where in"),
        ("Offset = ", "Elsewhere = ", "its header does not say where in the world the volume lies"),
        ("NDims = 3", "NDims = 3\nOrigin = 0 0 0", "its header does not say where in the world"),
        ("Spacing = 0.69999999999999996", "Spacing = 0", "its header does not say where in"),
    ],
)
def test_a_header_that_lies(tmp_path: Path, old: str, new: str, text: str) -> None:
    path = write(tmp_path / "x.mhd", np.zeros((2, 3, 4), np.int16), np.eye(3))
    header = path.read_text()
    assert old in header
    path.write_text(header.replace(old, new))
    with pytest.raises(MedrobustError, match=text):
        read_patch(path, Grid(ORIGIN, (1.0, 1.0, 1.0), (1, 1, 1)), 0)


def test_a_compressed_volume(tmp_path: Path) -> None:
    direction = DIRECTIONS["permuted"]
    plain = write(tmp_path / "x.mhd", linear(direction), direction)
    sitk.WriteImage(sitk.ReadImage(str(plain)), str(tmp_path / "z.mhd"), useCompression=True)
    grid = Grid(tuple(centre_of(direction)), (6.0, 8.0, 10.0), (4, 5, 6))
    assert np.array_equal(read_patch(tmp_path / "z.mhd", grid, 0), read_patch(plain, grid, 0))
    packed = tmp_path / "z.zraw"
    packed.write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(MedrobustError, match=r"^its volume cannot be read$"):
        read_patch(tmp_path / "z.mhd", grid, 0)


def test_no_header(tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"^there is no such file$"):
        check_header(tmp_path / "x.mhd")
    (tmp_path / "x.mhd").write_bytes(bytes(range(256)))
    with pytest.raises(MedrobustError, match=r"^not a MetaImage header$"):
        check_header(tmp_path / "x.mhd")


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch) -> None:
    import sys

    path = write(tmp_path / "x.mhd", np.zeros((2, 3, 4), np.int16), np.eye(3))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MedrobustError, match=r"need the extra ct: pip install 'medrobust\[ct\]'$"):
        read_patch(path, Grid(ORIGIN, (1.0, 1.0, 1.0), (1, 1, 1)), 0)
