"""`medrobust study …`, and the server as its own process."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rooms import Visitor, write_study
from test_study_create import runs, settings  # noqa: F401  (a fixture and its settings)

from medrobust.cli import main
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.rundir import RunDir
from medrobust.study import serve as serving
from medrobust.study.answers import Answers
from medrobust.study.events import Event
from medrobust.study.tokens import Tokens

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `medrobust study …` in this process: exit code, output, errors."""

    def call(*words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medrobust", "study", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capsys.readouterr()

    return call


def refusal(outcome: tuple[int, str, str]) -> str:
    code, out, err = outcome
    assert (code, out) == (1, "")
    return err.removeprefix("error: ").rstrip()


def test_create_takes_runs_as_shells_expand_them(
    command: Call,
    runs: list[RunDir],  # noqa: F811
    tiny_store: Store,
    tmp_path: Path,
) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(settings().model_dump(mode="json")))
    words = ["create", config, "--runs", *(run.path for run in runs), "--store", tiny_store.path]
    code, out, err = command(*words, "--out", tmp_path / "made")
    assert (code, out) == (0, f"{tmp_path / 'made'}\n")
    assert err.startswith("each of 3 readers judges 40 maps in 3 blocks, ")
    assert len(list((tmp_path / "made" / "pictures").iterdir())) == 56
    assert "exists already" in refusal(command(*words, "--out", tmp_path / "made"))


def test_links_are_told_once(command: Call, study: Path) -> None:
    code, out, err = command("links", study, "--url", "https://study.example.org/")
    assert code == 0
    made = dict(line.split("\t") for line in out.splitlines())
    assert list(made) == ["ann", "bob", "admin"]
    assert err == "these links are kept nowhere: send each to its reader now\n"
    with Tokens(study) as tokens:
        for name, link in made.items():
            address, _, token = link.partition("#")
            assert address == "https://study.example.org/"
            assert tokens.holder_of(token) == name
    assert refusal(command("links", study)) == (
        "links: they were made already, and are kept nowhere; make a new one of one reader with "
        "--reader NAME, which ends the old one"
    )
    again = command("links", study, "--reader", "bob")[1]
    assert re.fullmatch(r"bob\thttp://127\.0\.0\.1:8765/#[\w-]{43}\n", again)
    with Tokens(study) as tokens:
        assert tokens.holder_of(made["bob"].partition("#")[2]) is None
        assert tokens.holder_of(made["ann"].partition("#")[2]) == "ann"


def test_links_are_for_known_readers(command: Call, study: Path) -> None:
    assert refusal(command("links", study, "--reader", "eve")) == (
        "--reader: expected one of ann, bob, admin, found another"
    )
    assert refusal(command("revoke", study, "eve")) == (
        "reader: expected one with a link (no one), found another"
    )


def test_a_link_can_be_revoked(command: Call, study: Path) -> None:
    command("links", study)
    assert command("revoke", study, "ann") == (0, "", "")
    with Tokens(study) as tokens:
        assert tokens.holders() == ["admin", "bob"]


@pytest.mark.parametrize("url", ["study.example.org", "ftp://x", "https://x/y", "https://"])
def test_addresses_are_checked(command: Call, study: Path, url: str) -> None:
    assert refusal(command("links", study, "--url", url)) == (
        f"--url: expected an address such as https://study.example.org, found {url!r}"
    )


@pytest.mark.parametrize("name", ["links", "serve", "close", "verify", "export"])
def test_what_is_no_study_is_named(command: Call, tmp_path: Path, name: str) -> None:
    assert refusal(command(name, tmp_path)) == (
        f"expected a study in {tmp_path}, found no study.yaml: make one with `medrobust study "
        "create`"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_was_changed_is_not_served(command: Call, study: Path) -> None:
    picture = next((study / "pictures").iterdir())
    picture.unlink()
    assert refusal(command("serve", study)) == (
        f"{picture}: expected what `medrobust study create` wrote, found no such picture: put it "
        "back as it was, or make the study again"
    )
    items = study / "items.json"
    items.write_text(items.read_text().replace(picture.name, "../../../etc/passwd"))
    assert "items.json: expected what `medrobust study create` wrote, found " in refusal(
        command("serve", study)
    )
    items.write_text("[")
    assert "found 1 things that differ" in refusal(command("serve", study))


def test_a_port_that_is_taken_is_named(command: Call, study: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = command("serve", study, "--port", port)
    assert code == 1
    assert (
        f"error: expected to listen at 127.0.0.1, port {port}, found that this can't be done "
        "(Address already in use): choose another --port or --host\n"
    ) in err
    assert not (study / "access.sqlite").exists()  # no links were told that lead elsewhere


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "NEEDED", ("starlette", "no_such_package"))
    with pytest.raises(MedrobustError) as error:
        serving.check_packages()
    assert str(error.value) == (
        "serving a study needs no_such_package, which is not installed: "
        "pip install 'medrobust[study]'"
    )


def test_close_verify_and_export(command: Call, study: Path) -> None:
    with Answers.open(study) as answers:
        answers.append(Event("ann", "opened", "00000000-0000-4000-8000-000000000001"))
    code, out, _ = command("close", study)
    receipt = out.removeprefix("closed; receipt of all answers: ").rstrip()
    assert (code, receipt[:2]) == (0, "2-")
    (study / "sealed" / "key.json").unlink()
    code, out, _ = command("verify", study, "--receipt", receipt)
    assert code == 0
    assert f"ok           receipt   {receipt}: events 1 to 2 are those of this receipt" in out
    code, out, _ = command("verify", study, "--receipt", f"2-{'0' * 20}")
    assert code == 1
    assert "wrong        receipt" in out
    code, out, _ = command("export", study)
    assert out.splitlines() == [str(study / "export" / f"{n}.csv") for n in ("answers", "views")]


@contextmanager
def running(study: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A server, and the links that it told."""
    words = [sys.executable, "-m", "medrobust", "study", "serve", str(study), "--port", str(port)]
    process = subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr
    assert process.stdout
    try:
        while "is served at" not in (line := process.stderr.readline()):
            assert line, "the server ended"
        told = [] if not has_new_links(study) else [process.stdout.readline() for _ in range(3)]
        (study / "told").touch()
        yield process, dict(line.rstrip().split("\t") for line in told)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        process.stdout.close()


def has_new_links(study: Path) -> bool:
    return not (study / "told").exists()


def test_a_server_that_is_killed_loses_nothing(study: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    transport = httpx.HTTPTransport(retries=8)  # until it listens
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as client:
        ann = Visitor(client, "ann")
        for place in range(3):
            with running(study, port) as (process, links):
                if links:
                    assert ann.enter(links["ann"]).status_code == 303
                item = ann.going_on()
                ann.judge(item, useful=place)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
    with Answers.open(study) as answers:
        assert len(answers.latest("ann").done) == 3
        given = answers.latest("ann").answers.values()
        assert [one["useful"] for one in given] == [0, 1, 2]
