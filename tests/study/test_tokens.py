"""Tokens and sessions: who may come in, what is kept of it, and how it ends."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from medrobust.errors import MedrobustError
from medrobust.study import tokens as tokens_module
from medrobust.study.events import ADMIN, EventError
from medrobust.study.sessions import Lifetime, Sessions, form_token, is_form_token
from medrobust.study.tokens import Tokens, digest_of, new_secret

NOON = 1_750_000_000.0


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    with Tokens(tmp_path) as opened:
        yield opened


@pytest.fixture
def sessions(tmp_path: Path, tokens: Tokens) -> Iterator[Sessions]:
    with Sessions(tmp_path, Lifetime(idle=100, total=1000)) as opened:
        yield opened


def test_secrets_are_256_bits_and_need_no_escaping() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(
        len(secret) == 43 and secret.replace("-", "").replace("_", "").isalnum() for secret in made
    )


def test_a_token_is_its_holders(tokens: Tokens) -> None:
    issued = {holder: tokens.issue(holder) for holder in ("r1", "r2", ADMIN)}
    for holder, token in issued.items():
        assert tokens.holder_of(token) == holder
    assert tokens.holders() == [ADMIN, "r1", "r2"]


@pytest.mark.parametrize("change", ["", "x", "short", "upper", "long", "other", "odd", "digest"])
def test_any_other_token_is_no_ones(tokens: Tokens, change: str) -> None:
    token = tokens.issue("r1")
    wrong = {
        **{"": "", "x": f"{token}x", "short": token[:-1], "upper": token.swapcase()},
        **{"long": token * 1000, "other": new_secret(), "odd": "\ud800é'; --"},
        **{"digest": digest_of(token)},
    }
    assert tokens.holder_of(wrong[change]) is None


def test_all_tokens_are_compared_in_constant_time(tokens: Tokens) -> None:
    issued = [tokens.issue(holder) for holder in ("r1", "r2", "r3")]
    compare = tokens_module.hmac.compare_digest
    for token in (*issued, "guess"):
        with patch.object(tokens_module.hmac, "compare_digest", side_effect=compare) as compared:
            tokens.holder_of(token)
        assert compared.call_count == 3


def test_a_new_token_ends_the_old_one(tokens: Tokens) -> None:
    old, new = tokens.issue("r1"), tokens.issue("r1")
    assert (tokens.holder_of(old), tokens.holder_of(new)) == (None, "r1")


def test_a_revoked_token_works_no_longer(tmp_path: Path, tokens: Tokens) -> None:
    first, second = tokens.issue("r1"), tokens.issue("r2")
    with Tokens(tmp_path) as another_process:
        another_process.revoke("r1")
    assert (tokens.holder_of(first), tokens.holder_of(second)) == (None, "r2")
    with pytest.raises(
        MedrobustError, match=r"^reader: expected one with a link \(r2\), found another$"
    ):
        tokens.revoke("r1")


@pytest.mark.parametrize("name", ["", "../x", "a b"])
def test_a_holder_has_a_readers_name(tokens: Tokens, name: str) -> None:
    with pytest.raises(EventError, match=r"^reader: expected 1 to 64 letters, digits"):
        tokens.issue(name)


def test_no_secret_is_on_the_disk(tmp_path: Path, tokens: Tokens, sessions: Sessions) -> None:
    secrets = [tokens.issue("r1"), sessions.open("r1", NOON)]
    tokens.close()
    sessions.close()
    for path in tmp_path.iterdir():
        for secret in secrets:
            assert secret.encode() not in path.read_bytes()
    with closing(sqlite3.connect(tmp_path / "access.sqlite")) as connection:
        assert connection.execute("SELECT digest FROM tokens").fetchall() == [
            (digest_of(secrets[0]),)
        ]
    assert (tmp_path / "access.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_session_is_its_holders_also_after_a_restart(
    tmp_path: Path, tokens: Tokens, sessions: Sessions
) -> None:
    for holder in ("r1", "r2"):
        tokens.issue(holder)
    opened = {holder: sessions.open(holder, NOON) for holder in ("r1", "r2")}
    with Sessions(tmp_path) as again:
        for holder, session in opened.items():
            assert sessions.holder_of(session, NOON + 1) == holder
            assert again.holder_of(session, NOON + 1) == holder
    for guess in ("", new_secret(), digest_of(opened["r1"]), "\ud800"):
        assert sessions.holder_of(guess, NOON + 1) is None


def test_a_session_ends_when_it_is_idle(tokens: Tokens, sessions: Sessions) -> None:
    tokens.issue("r1")
    session = sessions.open("r1", NOON)
    for later in (90, 180, 270):
        assert sessions.holder_of(session, NOON + later) == "r1"
    assert sessions.holder_of(session, NOON + 371) is None


def test_a_session_ends_in_any_case(tokens: Tokens, sessions: Sessions) -> None:
    tokens.issue("r1")
    session = sessions.open("r1", NOON)
    for later in range(90, 1000, 90):
        assert sessions.holder_of(session, NOON + later) == "r1"
    assert sessions.holder_of(session, NOON + 1001) is None


def test_a_clock_set_back_makes_no_session_live_longer(tokens: Tokens, sessions: Sessions) -> None:
    tokens.issue("r1")
    session = sessions.open("r1", NOON)
    assert sessions.holder_of(session, NOON - 50) == "r1"
    assert sessions.holder_of(session, NOON - 1e6) is None


@pytest.mark.parametrize("how", ["revoke", "issue"])
def test_a_session_ends_with_its_token(
    tmp_path: Path, tokens: Tokens, sessions: Sessions, how: str
) -> None:
    for holder in ("r1", "r2"):
        tokens.issue(holder)
    first, second = sessions.open("r1", NOON), sessions.open("r2", NOON)
    getattr(tokens, how)("r1")
    assert sessions.holder_of(first, NOON) is None
    assert sessions.holder_of(second, NOON) == "r2"


def test_a_session_that_was_left_is_over(tokens: Tokens, sessions: Sessions) -> None:
    tokens.issue("r1")
    first, second = sessions.open("r1", NOON), sessions.open("r1", NOON)
    sessions.end(first)
    assert sessions.holder_of(first, NOON) is None
    assert sessions.holder_of(second, NOON) == "r1"


def test_no_session_without_a_token(tokens: Tokens, sessions: Sessions) -> None:
    tokens.issue("r1")
    tokens.revoke("r1")
    with pytest.raises(
        MedrobustError, match=r"^expected a reader with a link, found a link that was revoked$"
    ):
        sessions.open("r1", NOON)


def test_sessions_that_are_over_are_not_kept(
    tmp_path: Path, tokens: Tokens, sessions: Sessions
) -> None:
    tokens.issue("r1")
    for number in range(5):
        sessions.open("r1", NOON + 200 * number)
    with closing(sqlite3.connect(tmp_path / "access.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def test_a_form_token_is_of_one_session() -> None:
    first, second = new_secret(), new_secret()
    assert is_form_token(first, form_token(first))
    for wrong in ("", form_token(second), first, "é\ud800"):
        assert not is_form_token(first, wrong)
    assert first not in form_token(first)
