"""What hostile work costs: one item each."""

import ctypes
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from medrobust.data.isolation import Failure, Limits, isolated_map
from medrobust.errors import MedrobustError


def answer(item: int, bad: int = -1, how: str = "") -> int:
    if item == bad and how == "crash":
        ctypes.string_at(0)
    if item == bad and how == "exit":
        os._exit(0)
    if item == bad and how == "sleep":
        time.sleep(60)
    if item == bad and how == "memory":
        return len(bytearray(2**30))
    if item == bad and how == "refuse":
        raise MedrobustError("the disk is gone")
    if item == bad and how == "bug":
        raise KeyError("bug")
    return item * item


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_answers_come_in_order(workers: int) -> None:
    found = isolated_map(answer, range(50), workers=workers)
    assert list(found) == [item * item for item in range(50)]


@pytest.mark.parametrize("count", [0, 1])
def test_few_items(count: int) -> None:
    assert list(isolated_map(answer, range(count), workers=2)) == [0] * count


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("crash", "the reader crashed"),
        ("exit", "the reader crashed"),
        ("sleep", "it took longer than 0.5 s to read"),
        ("memory", "it needs more than 0.25 GiB of memory to read"),
    ],
)
def test_a_hostile_item_costs_one_item(how: str, reason: str) -> None:
    if how == "memory" and sys.platform != "linux":
        pytest.skip("memory is limited on Linux only")
    limits = Limits(seconds=0.5, memory=2**28)
    work = partial(answer, bad=7, how=how)
    found = list(isolated_map(work, range(20), workers=2, limits=limits))
    assert found[7] == Failure(reason)
    assert found[:7] + found[8:] == [item * item for item in range(20) if item != 7]


@pytest.mark.parametrize(("how", "kind"), [("refuse", MedrobustError), ("bug", KeyError)])
def test_an_exception_is_raised_here(how: str, kind: type[Exception]) -> None:
    work = partial(answer, bad=3, how=how)
    found = isolated_map(work, range(20), workers=2)
    with pytest.raises(kind):
        list(found)


def test_items_are_drawn_only_a_little_ahead() -> None:
    drawn = []

    def items():
        for item in range(1000):
            drawn.append(item)
            yield item

    found = isolated_map(answer, items(), workers=2)
    for _ in range(10):
        next(found)
    found.close()
    assert len(drawn) <= 10 + 16


def test_workers_end_with_whoever_started_them(tmp_path: Path) -> None:
    code = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from functools import partial
import multiprocessing
from medrobust.data.isolation import isolated_map
from test_isolation import answer
if __name__ == "__main__":
    found = isolated_map(answer, iter(int, 1), workers=2)
    next(found)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    script = tmp_path / "endless.py"
    script.write_text(code)
    command = [sys.executable, str(script), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(map(_is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_alive, pids))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ProcessLookupError):
        return False


def test_a_script_without_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
from medrobust.data.isolation import isolated_map
from medrobust.errors import MedrobustError
try:
    print(list(isolated_map(abs, [1], workers=1)))
except MedrobustError as error:
    print(error)
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (
        "a worker process could not start: call this under `if __name__ == '__main__':`, "
        "or use 0 workers"
    )
