"""Files that appear whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd

from medrobust.errors import LaterError, MedrobustError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write to; it becomes `path` when the block ends well.

    The sibling keeps the suffix of `path`. If the block fails, the sibling is removed and
    an old `path` is as it was. Missing parent folders are made.

    Raises `MedrobustError` when the disk or a quota is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path)
    try:
        with _named_when_full(path):
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary sibling folder to fill; it becomes `path` when the block ends well.

    If the block fails, the sibling is removed with all that is in it, and an old `path` is as
    it was. Missing parent folders are made.

    Raises `MedrobustError` when `path` exists and `overwrite` is false, and when the disk or a
    quota is full.
    """
    refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path)
    try:
        with _named_when_full(path):
            temporary.mkdir()
            yield temporary
            _replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def resumable_folder(path: Path, plan: str, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder that survives an interruption; its `result` becomes `path` in the end.

    What lies in it after a crash, an interruption or a full disk is there again at the next call
    with the same `path` and the same `plan`, a text that says what is being made; another plan
    starts with an empty folder. After a `MedrobustError` nothing is left of it, except after a
    `LaterError`. Missing parent folders are made.

    Raises `MedrobustError` when `path` exists and `overwrite` is false, when another process is
    at the same work, and when the disk or a quota is full.
    """
    refuse_existing(path, overwrite)
    work = path.with_name(f".{path.name}.partial")
    with _named_when_full(path, f"the same command will go on from here (kept in {work.name})"):
        work.mkdir(parents=True, exist_ok=True)
        with _locked(work):
            _follow(work, plan)
            try:
                yield work
            except LaterError:
                raise
            except MedrobustError:
                shutil.rmtree(work, ignore_errors=True)
                raise
            _replace_folder(work / "result", path)
            shutil.rmtree(work)


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise `MedrobustError` if a folder must not be written to `path`."""
    if path.exists() and not path.is_dir():
        raise MedrobustError(
            f"expected a folder or nothing at {path}, found a file: choose another"
        )
    if path.exists() and not overwrite:
        raise MedrobustError(
            f"{path} exists already: choose another place, remove it, or overwrite it (--overwrite)"
        )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` without its index; unknown values are empty, floats round-trip."""
    with write_atomically(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def file_name(finding: str) -> str:
    """A finding's name as a file name, without a suffix."""
    return "".join(letter if letter.isalnum() or letter in " -_." else "_" for letter in finding)


def sha256_of(path: Path, read: Callable[[int], None] = lambda count: None) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits.

    `read` is called with the number of bytes read since its last call.
    """
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            hasher.update(part)
            read(len(part))
    return hasher.hexdigest()


def remove_partial(folder: Path) -> None:
    """Remove what a killed process had begun to write in this folder."""
    for path in folder.glob(".*.partial*"):
        path.unlink()


def flush(file: IO[bytes]) -> None:
    """Make the disk hold what was written to an open file."""
    file.flush()
    os.fsync(file.fileno())


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _replace_folder(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    old = _sibling(path)
    path.rename(old)
    new.rename(path)
    shutil.rmtree(old)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a folder to this process, where the system has such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MedrobustError(
                f"another process is at work in {folder}: let it finish"
            ) from error
        yield
    finally:
        os.close(handle)


def _follow(work: Path, plan: str) -> None:
    """Empty a folder whose contents belong to another plan, or remove what was half-written."""
    there, result = work / "plan", work / "result"
    same = there.is_file() and there.read_text(encoding="utf-8") == plan
    if not same or not result.is_dir():
        for old in work.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        result.mkdir()
        write_text(there, plan)
    remove_partial(result)


@contextmanager
def _named_when_full(path: Path, fate: str = "nothing was left behind") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise MedrobustError(
            f"cannot write {path}: {os.strerror(error.errno)}; "
            f"free some space or choose another disk ({fate})"
        ) from error
