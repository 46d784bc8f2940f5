"""The text files of a study: what readers and server may know, and the sealed key.

The server needs `study.yaml`, `items.json` and `order.json`. What an item is - image, condition,
truth, a repetition - stands in `sealed/key.json` alone, which only the analysis opens.
"""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from medrobust import __version__
from medrobust.files import sha256_of
from medrobust.study.boxes import boxes_of
from medrobust.study.chance import shuffled
from medrobust.study.design import Reading, Showing
from medrobust.study.draft import Draft, showings
from medrobust.study.draw import deep_name, has_deep, image_name, map_name
from medrobust.study.pictures import opaque

VERSION = 1
"""Of the files' format."""


def item_name(secret: bytes, reader: str, position: int) -> str:
    """Of what a reader sees at a position of the sequence, practice included, from 1."""
    return opaque(secret, "item", reader, position)


def items(draft: Draft, secret: bytes) -> dict[str, Any]:
    """`items.json`: pictures and finding of every item, in the order of their names."""
    found = {}
    for reader, reading in draft.readings.items():
        for position, showing in enumerate(showings(reading), 1):
            found[item_name(secret, reader, position)] = {
                "finding": showing.case.finding,
                **_files(draft, secret, showing),
                "practice": position <= len(reading.practice),
            }
    return {"version": VERSION, "items": dict(sorted(found.items()))}


def order(draft: Draft, secret: bytes) -> dict[str, Any]:
    """`order.json`: every reader's items in sequence."""
    return {
        "version": VERSION,
        "readers": {
            reader: _ordered(secret, reader, reading) for reader, reading in draft.readings.items()
        },
    }


def settings(draft: Draft, key_sha256: str) -> dict[str, Any]:
    """`study.yaml`: what is asked, and how; `key_sha256` lets nobody change the key later."""
    config, size = draft.config, draft.store.info.size
    return {
        "version": VERSION,
        "title": config.title,
        "medrobust": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "readers": list(config.readers),
        "questions": [question.model_dump(mode="json") for question in config.questions],
        "blocks": config.blocks,
        "washout_days": config.design.washout_days,
        **config.session.model_dump(mode="json"),
        "picture": {"width": size[-1], "height": size[-2], "deep": has_deep(draft)},
        "key_sha256": key_sha256,
    }


def key(draft: Draft, secret: bytes) -> dict[str, Any]:
    """`sealed/key.json`: what every item is, and what the study was made from."""
    return {
        "version": VERSION,
        "secret": secret.hex(),
        "settings": draft.config.model_dump(mode="json"),
        "store": {
            "name": draft.store.info.name,
            "path": str(draft.store.path),
            "checksum": draft.store.checksum,
            "split": draft.config.split,
        },
        "conditions": [condition.name for condition in draft.config.conditions],
        "maps": _maps(draft),
        "items": _keyed(draft, secret),
    }


def _files(draft: Draft, secret: bytes, showing: Showing) -> dict[str, str | None]:
    image = showing.case.image_id
    return {
        "image": f"{image_name(secret, image)}.png",
        "deep": f"{deep_name(secret, image)}.png" if has_deep(draft) else None,
        "map": f"{map_name(secret, image, showing.condition)}.png",
    }


def _ordered(secret: bytes, reader: str, reading: Reading) -> dict[str, Any]:
    names = (item_name(secret, reader, position) for position in count(1))
    return {
        "practice": [next(names) for _ in reading.practice],
        "blocks": [[next(names) for _ in block] for block in reading.blocks],
    }


def _keyed(draft: Draft, secret: bytes) -> dict[str, Any]:
    cases, patients = _numbered(draft, "image_id"), _numbered(draft, "patient_id")
    boxes = {
        case.image_id: boxes_of(draft.store, draft.rows[case.image_id], case.finding)
        for case in (*draft.cases, *draft.practice)
    }
    keyed = {}
    for reader, reading in draft.readings.items():
        seen: dict[tuple[str, int], str] = {}
        of_blocks = [number for number, block in enumerate(reading.blocks, 1) for _ in block]
        blocks = [None] * len(reading.practice) + of_blocks
        for position, (block, showing) in enumerate(zip(blocks, showings(reading), strict=True), 1):
            case, name = showing.case, item_name(secret, reader, position)
            first = seen.setdefault((case.image_id, showing.condition), name)
            keyed[name] = {
                "reader": reader,
                "position": position,
                "block": block,
                "practice": position <= len(reading.practice),
                "case": cases[case.image_id],
                "patient": patients[case.patient_id],
                "image_id": case.image_id,
                "condition": draft.config.conditions[showing.condition].name,
                "finding": case.finding,
                "truth": int(case.present),
                "boxes": boxes[case.image_id],
                "repeat_of": first if showing.is_repeat else None,
            }
    return keyed


def _numbered(draft: Draft, kind: str) -> dict[str, str]:
    """`case-001` for image ids, `patient-001` for patients; the order says nothing of them."""
    names = {getattr(case, kind) for case in (*draft.cases, *draft.practice)}
    word = "case" if kind == "image_id" else "patient"
    mixed = shuffled(names, draft.config.seed, "number", kind)
    return {name: f"{word}-{number:03}" for number, name in enumerate(mixed, 1)}


def _maps(draft: Draft) -> list[dict[str, str]]:
    findings = dict.fromkeys(case.finding for case in draft.cases)
    return [
        {
            "condition": source.condition.name,
            "finding": finding,
            "path": str(source.path(finding)),
            "sha256": sha256_of(source.path(finding)),
        }
        for source in draft.sources
        for finding in findings
    ]
