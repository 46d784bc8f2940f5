"""`medrobust study create`: a study's folder from settings, runs with maps, and a store."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.files import new_folder, refuse_existing, sha256_of, write_json, write_text
from medrobust.progress import Count
from medrobust.rundir import RunDir
from medrobust.study import documents
from medrobust.study.answers import DATABASE
from medrobust.study.config import StudyConfig
from medrobust.study.draft import Draft, draft, showings
from medrobust.study.draw import draw, pictures_of
from medrobust.wording import plural

Track = Callable[[int, str], Count]
"""Called with (total, title); what it returns counts."""


def create_study(
    config: StudyConfig,
    runs: Sequence[RunDir],
    store: Store | None,
    out: Path,
    *,
    overwrite: bool = False,
    secret: bytes | None = None,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write the folder of a study; return what the user should know.

    The training store of the first run is taken where no other is given. `secret`, 32 random bytes
    if not given, makes the names of items and pictures; settings and seed make everything else.

    Raises:
        MedrobustError: before anything is written, for maps, runs, findings or images that are
            missing, and when `out` exists and `overwrite` is false, or has answers in it.
    """
    _refuse_answers(out)
    refuse_existing(out, overwrite)
    decided = draft(config, runs, store)
    secret = secret or secrets.token_bytes(32)
    with new_folder(out, overwrite) as folder:
        done = track(pictures_of(decided), f"{out}: pictures")
        draw(decided, folder / "pictures", secret, done)
        _write(decided, folder, secret)
    return list(_notes(decided))


def _refuse_answers(out: Path) -> None:
    if (out / DATABASE).exists():
        raise MedrobustError(
            f"{out} holds readers' answers, which are never overwritten: choose another place"
        )


def _write(decided: Draft, folder: Path, secret: bytes) -> None:
    sealed = folder / "sealed"
    sealed.mkdir(mode=0o700)
    write_json(sealed / "key.json", documents.key(decided, secret))
    os.chmod(sealed / "key.json", 0o600)
    write_json(folder / "items.json", documents.items(decided, secret))
    write_json(folder / "order.json", documents.order(decided, secret))
    told = documents.settings(decided, sha256_of(sealed / "key.json"))
    write_text(folder / "study.yaml", yaml.safe_dump(told, sort_keys=False, allow_unicode=True))


def _notes(decided: Draft) -> Iterator[str]:
    config = decided.config
    reading = next(iter(decided.readings.values()))
    total = len(showings(reading)) - len(reading.practice)
    readers = f"each of {len(config.readers)} readers" if config.readers[1:] else "the reader"
    yield (
        f"{readers} judges {plural(total, 'map')} in "
        f"{plural(config.blocks, 'block')}, "
        f"{config.repeated} of them for the second time, after {len(reading.practice)} for practice"
    )
    if len(config.readers) % len(config.conditions):
        yield (
            "conditions are balanced for every reader; over readers they are so with a multiple "
            f"of {len(config.conditions)} readers, not with {len(config.readers)}"
        )
    if len(decided.store.info.size) == 3:
        yield "volumes are shown by their middle slice"
    yield from _telling(config)


def _telling(config: StudyConfig) -> Iterator[str]:
    """Texts that tell readers what is compared."""
    told = " ".join([config.title, *(f"{q.text} {q.hint}" for q in config.questions)]).casefold()
    for condition in config.conditions:
        if condition.name.casefold() in told:
            yield (
                f"the title or a question has the name of condition {condition.name} in it: "
                "readers would know what is compared"
            )
