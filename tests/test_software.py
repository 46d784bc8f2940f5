"""Which software gave a number."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from medrobust import software


def test_versions_are_those_in_use() -> None:
    import torch

    found = software.software()
    assert found["packages"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert set(found) == {
        *("medrobust", "commit", "dirty", "packages", "python", "platform", "threads"),
    }


class TestCommit:
    """The version of the code that a run remembers."""

    def test_of_a_copy_without_history(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEDROBUST_COMMIT", "abc123")
        assert software.commit() == ("abc123", None)

    def test_of_an_installed_package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("MEDROBUST_COMMIT", raising=False)
        monkeypatch.setattr(software, "__file__", str(tmp_path / "a" / "b" / "software.py"))
        assert software.commit() == (None, None)

    def test_of_a_checkout(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def git(*words: str) -> str:
            options = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
            command = ["git", "-C", str(tmp_path), *options, *words]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        monkeypatch.delenv("MEDROBUST_COMMIT", raising=False)
        source = tmp_path / "src" / "medrobust" / "software.py"
        source.parent.mkdir(parents=True)
        source.touch()
        git("init", "--quiet")
        git("add", ".")
        git("commit", "--quiet", "--message", "first")
        monkeypatch.setattr(software, "__file__", str(source))
        commit = git("rev-parse", "HEAD").strip()
        assert software.commit() == (commit, False)
        source.write_text("changed")
        assert software.commit() == (commit, True)

    def test_without_git(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def none(*_: Any, **__: Any) -> None:
            raise FileNotFoundError("git")

        monkeypatch.delenv("MEDROBUST_COMMIT", raising=False)
        (tmp_path / ".git").mkdir()
        monkeypatch.setattr(
            software, "__file__", str(tmp_path / "src" / "medrobust" / "software.py")
        )
        monkeypatch.setattr(software.subprocess, "run", none)
        assert software.commit() == (None, None)
