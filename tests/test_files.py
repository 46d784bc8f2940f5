import errno
import hashlib
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from medrobust.errors import MedrobustError
from medrobust.files import (
    file_name,
    new_folder,
    resumable_folder,
    sha256_of,
    write_atomically,
    write_csv,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_json_and_csv_come_back_as_they_were(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "Straße\n")
    write_json(tmp_path / "c.json", {"x": [1, None], "é": 0.1})
    write_csv(tmp_path / "d.csv", pd.DataFrame({"x": [0.1, None], "y": ["007", "a,b"]}))
    assert (tmp_path / "a" / "b.txt").read_bytes() == "Straße\n".encode()
    assert (tmp_path / "c.json").read_text(encoding="utf-8") == (
        '{\n  "x": [\n    1,\n    null\n  ],\n  "é": 0.1\n}\n'
    )
    assert (tmp_path / "d.csv").read_bytes() == b'x,y\n0.1,007\n,"a,b"\n'
    assert names(tmp_path) == ["a", "c.json", "d.csv"]


def test_the_temporary_file_lies_beside_and_keeps_the_suffix(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "x.npz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
        temporary.write_bytes(b"1")


def fail(target: Path, error: BaseException) -> None:
    (target / "part" if target.is_dir() else target).write_text("half")
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no")])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    write_text(tmp_path / "x.txt", "old")
    with pytest.raises(type(error)), write_atomically(tmp_path / "x.txt") as temporary:
        fail(temporary, error)
    assert (tmp_path / "x.txt").read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_nan_in_json_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", float("nan"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("writer", [write_atomically, new_folder])
def test_a_full_disk_is_said_in_words(tmp_path: Path, number: int, writer) -> None:
    with (
        pytest.raises(MedrobustError, match=r"cannot write .*x: .*; free some space or choose"),
        writer(tmp_path / "x") as temporary,
    ):
        fail(temporary, OSError(number, "…"))
    assert names(tmp_path) == []


def test_other_errors_of_the_system_pass_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), new_folder(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "x") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "x").exists()
    assert names(tmp_path / "deep") == ["x"]
    assert names(tmp_path / "deep" / "x") == ["a"]


def test_an_existing_folder_is_refused_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.mkdir()
    (path / "old").write_text("1")
    with (
        pytest.raises(MedrobustError, match="exists already: choose another place, remove it, or"),
        new_folder(path),
    ):
        pass
    with pytest.raises(ValueError, match="half way"), new_folder(path, overwrite=True) as folder:
        fail(folder, ValueError("half way"))
    assert names(path) == ["old"]
    with new_folder(path, overwrite=True) as folder:
        (folder / "new").write_text("2")
    assert names(path) == ["new"]
    assert names(tmp_path) == ["x"]


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with (
        pytest.raises(MedrobustError, match=r"expected a folder or nothing at .*, found a file"),
        new_folder(tmp_path / "x", overwrite=True),
    ):
        pass
    assert (tmp_path / "x").read_text() == "mine"


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_names_that_are_no_file_names() -> None:
    assert file_name("Pleural thickening_2.b-c") == "Pleural thickening_2.b-c"
    assert file_name('a?b*c"d<e|f') == "a_b_c_d_e_f"


class TestResumableFolder:
    """What survives an interruption, and what does not."""

    def test_it_becomes_the_folder(self, tmp_path: Path) -> None:
        with resumable_folder(tmp_path / "x", "plan") as work:
            (work / "result" / "a").write_text("1")
            assert not (tmp_path / "x").exists()
        assert (tmp_path / "x" / "a").read_text() == "1"
        assert [path.name for path in tmp_path.iterdir()] == ["x"]

    def test_an_interruption_keeps_it_for_the_same_plan_only(self, tmp_path: Path) -> None:
        for plan, there in (("one", False), ("one", True), ("two", False)):
            with suppress(KeyboardInterrupt), resumable_folder(tmp_path / "x", plan) as work:
                assert (work / "result" / "a").exists() is there
                (work / "result" / "a").write_text("1")
                (work / "result" / ".b.1234.partial.csv").write_text("half")
                raise KeyboardInterrupt
        with resumable_folder(tmp_path / "x", "two") as work:
            assert [path.name for path in (work / "result").iterdir()] == ["a"]

    def test_an_error_for_people_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(MedrobustError), resumable_folder(tmp_path / "x", "plan"):
            raise MedrobustError("too many rejects")
        assert list(tmp_path.iterdir()) == []

    def test_killed_after_the_result_was_in_place(self, tmp_path: Path) -> None:
        with resumable_folder(tmp_path / "x", "plan") as work:
            (work / "result" / "a").write_text("1")
        left = tmp_path / ".x.partial"
        left.mkdir()
        (left / "plan").write_text("plan")
        (left / "journal").write_text("of what is in place")
        with resumable_folder(tmp_path / "x", "plan", overwrite=True) as work:
            assert sorted(path.name for path in work.iterdir()) == ["plan", "result"]
            (work / "result" / "a").write_text("2")
        assert (tmp_path / "x" / "a").read_text() == "2"
