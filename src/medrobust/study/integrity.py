"""Check that the answers of a study are those that were given.

What this proves, and what it can't:

- Whoever changes, removes, inserts or moves events and does not write the rest of the chain
  again is found out by the chain alone.
- Removing the last events leaves a whole, shorter chain. `answers.head` tells, unless it was cut
  as well.
- Whoever can write all files of the study can write another chain and another `answers.head`. A
  receipt tells: the code that a reader gets at the end, or that of the last event on the admin's
  page, kept where that person can't reach it. It proves every event up to its own.
- Nothing tells of events added at the end by someone with access to the files, of answers that
  never reached the server, or of a clock that was wrong: times are what the server's clock said.
- The questions, items and their order are bound to the first event, and through `study.yaml` the
  sealed key; the pictures are not. Who a reader is, behind a link, nobody can prove.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import yaml

from medrobust.errors import MedrobustError
from medrobust.files import sha256_of
from medrobust.findings import Finding
from medrobust.study.answers import DATABASE, SCHEMA, design_of, read_events
from medrobust.study.chain import Link, faults, genesis
from medrobust.study.database import connect_to_read, explained, schema_of
from medrobust.study.events import ADMIN
from medrobust.study.heads import HEAD, Head, read_code, read_heads
from medrobust.wording import plural

KEY = "sealed/key.json"
MOST_NOTES = 20
"""Of a check, so that a file full of faults can still be read about."""


def verify(folder: Path, receipts: Sequence[str] = ()) -> list[Finding]:
    """What was checked of a study's answers, and how it turned out; nothing is written.

    Checks are `key`, `database`, `chain`, `rules`, `head` and `receipt`, of a file or a receipt.

    Args:
        folder: the study; it may be served meanwhile.
        receipts: codes that were kept elsewhere, `12-0123456789abcdef0123`.

    Raises:
        MedrobustError: there is no study in the folder, or no database, or a receipt is none.
    """
    start, kept = genesis(design_of(folder)), [read_code(code) for code in receipts]
    heads, torn = read_heads(folder / HEAD)  # before the events, which only grow
    try:
        links = read_events(folder)
    except MedrobustError as error:
        if not (folder / DATABASE).is_file() and not heads and not kept:
            raise
        return [Finding("database", DATABASE, "wrong", str(error))]
    findings = [_key(folder), *_judged("database", DATABASE, _database(folder))]
    findings += _judged("chain", DATABASE, faults(links, start), _length(links))
    findings += _judged("rules", DATABASE, _rules(links))
    findings += _anchored(links, heads, torn)
    for head in kept:
        findings += _judged("receipt", head.code, _missed(links, [head]), _proven(head))
    return findings


def _judged(check: str, what: str, faults: Iterable[str], fine: str = "") -> list[Finding]:
    notes = list(faults)
    found = [Finding(check, what, "wrong", note) for note in notes[:MOST_NOTES]]
    if len(notes) > MOST_NOTES:
        found.append(Finding(check, what, "wrong", f"and {len(notes) - MOST_NOTES} more"))
    return found or [Finding(check, what, "ok", fine)]


def _key(folder: Path) -> Finding:
    """Whether the sealed key is the one that `study.yaml` was made with."""
    path = folder / KEY
    if not path.is_file():
        return Finding("key", KEY, "not checked", "it is not in this folder")
    try:
        told = yaml.safe_load((folder / "study.yaml").read_bytes())
    except yaml.YAMLError:
        told = None
    if isinstance(told, dict) and told.get("key_sha256") == sha256_of(path):
        return Finding("key", KEY, "ok")
    return Finding("key", KEY, "wrong", "its hash is not the one in study.yaml: it was exchanged")


def _database(folder: Path) -> Iterator[str]:
    """What SQLite finds wrong, and whether events could be altered through it."""
    path = folder / DATABASE
    with closing(connect_to_read(path)) as connection:
        try:
            with explained(path):
                notes = [str(note) for (note,) in connection.execute("PRAGMA integrity_check")]
                schema = schema_of(connection)
        except MedrobustError as error:
            yield str(error)
            return
    yield from (note for note in notes if note != "ok")
    if schema != set(SCHEMA):
        yield "its tables or the triggers that keep events from being changed are not as made"


def _rules(links: Sequence[Link]) -> Iterator[str]:
    """What could not have been saved, in a chain that may be whole."""
    closed, shown = 0, set()
    for link in links:
        if closed:
            yield f"event {link.sequence} was added after the study was closed by event {closed}"
        if link.kind == "closed" and link.reader == ADMIN:
            closed = link.sequence
        if link.kind == "shown":
            shown.add((link.reader, link.item))
        elif link.item and (link.reader, link.item) not in shown:
            yield f"event {link.sequence} is about an item that was not shown to its reader"


def _anchored(links: Sequence[Link], heads: Sequence[Head], torn: int) -> list[Finding]:
    if links and not heads:
        note = "it is missing or empty: only the chain says that the last events are there"
        return [Finding("head", HEAD, "wrong", note)]
    reached = max((head.sequence for head in heads), default=0)
    beyond = max(0, len(links) - reached)
    fine = plural(len(heads), "head agrees", "heads agree") + (
        f"; later events: {beyond}" if beyond else ""
    )
    found = _judged("head", HEAD, _missed(links, heads), fine)
    if torn:
        note = f"{torn} of its lines can't be read, as after a power failure"
        found.append(Finding("head", HEAD, "not checked", note))
    return found


def _missed(links: Sequence[Link], heads: Sequence[Head]) -> Iterator[str]:
    """The heads that the chain doesn't have."""
    hashes = {link.sequence: str(link.hash) for link in links}
    last = max(hashes, default=0)
    lost = [head.sequence for head in heads if head.sequence > last]
    if lost:
        yield f"the end was removed: event {max(lost)} was saved, the last here is event {last}"
    for head in heads:
        if head.sequence <= last and not hashes.get(head.sequence, "").startswith(head.hash):
            yield f"event {head.sequence} is not the one that was saved: the chain was rewritten"


def _length(links: Sequence[Link]) -> str:
    if not links:
        return "no events yet"
    return f"{plural(len(links), 'event')}, the last is {_code(links)}"


def _code(links: Sequence[Link]) -> str:
    return Head(links[-1].sequence, links[-1].hash).code


def _proven(head: Head) -> str:
    last = head.sequence
    reached = "event 1 is that" if last == 1 else f"events 1 to {last} are those"
    return f"{reached} of this receipt, if the chain is whole"
