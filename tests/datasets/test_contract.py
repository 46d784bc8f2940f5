"""Every data set passes the contract; a new one is a line in `trees.TREES`."""

from pathlib import Path

import pytest
from contract import (
    check_card,
    check_index,
    check_pictures,
    check_rejects,
    check_store,
    fingerprint,
)
from trees import TREES, Tree

FILES = [name for name, tree in TREES.items() if tree.files]


@pytest.fixture
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Tree, Path]:
    """A data set's tree, written."""
    name = request.param
    if name == "dicom":
        pytest.importorskip("pydicom")
    if name.startswith("luna16"):
        pytest.importorskip("SimpleITK")
    root = tmp_path / "raw"
    root.mkdir()
    TREES[name].write(root)
    return TREES[name], root


@pytest.mark.parametrize("tree", TREES, indirect=True)
def test_a_data_set_keeps_the_contract(tree: tuple[Tree, Path], tmp_path: Path) -> None:
    made, root = tree
    before = fingerprint(root)
    source = made.open(root)
    check_card(source)
    table = check_index(source, made.open(root))
    check_pictures(source, table)
    check_store(source, table, tmp_path)
    assert fingerprint(root) == before


@pytest.mark.parametrize("how", ["missing", "empty", "text", "truncated"])
@pytest.mark.parametrize("tree", FILES, indirect=True)
def test_a_file_that_cannot_be_used(tree: tuple[Tree, Path], tmp_path: Path, how: str) -> None:
    made, root = tree
    path = sorted(root.glob(made.files))[3]
    content = path.read_bytes()
    path.unlink()
    if how != "missing":
        spoilt = {"empty": b"", "text": b"not an image", "truncated": content[: len(content) // 2]}
        path.write_bytes(spoilt[how])
    check_rejects(made.open(root), path.name, tmp_path / "store")
