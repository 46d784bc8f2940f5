"""What each attack took, from the sidecars of predictions and the receipts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medrobust.report import text
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import SUITES, attack_name

Key = tuple[str, str, str, str, str, str]
"""Store, split, checkpoint, attack, goal and attacked branch: one sweep over radii."""


def costs_table(runs: Sequence[Run]) -> Table | None:
    """Time and work of every attack, all its radii together; None where nothing was recorded."""
    groups = []
    for run in runs:
        rows = [_row(key, records) for key, records in _sweeps(run).items() if _seconds(records)]
        if rows:
            groups.append(Group(run.label, rows))
    if not groups:
        return None
    return Table(
        "What the attacks of each evaluation took. Passes: images that the attacked network was "
        "shown, forward alone or forward and back.",
        ["Run and attack", "Made on", "Radii", "Steps", "Restarts", "Queries", "Passes", "Time"],
        groups,
        words=(0,),
    )


def _sweeps(run: Run) -> dict[Key, list[dict[str, Any]]]:
    """The records of each sweep; predictions of other networks share those of the attack."""
    found: dict[Key, list[dict[str, Any]]] = {}
    for sidecar in _sidecars(run.path):
        attack = sidecar["attack"]
        if attack.get("name") in SUITES:
            names = (attack.get("goal"), attack.get("attacked_branch"))
            where = (sidecar.get(name) for name in ("store", "split", "checkpoint"))
            key = tuple(str(part or "") for part in (*where, attack["name"], *names))
            found.setdefault(key, []).append(attack)  # type: ignore[arg-type]
    return found


def _sidecars(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Every readable sidecar, its attack with what the receipt of the same name adds."""
    for file in sorted((folder / "predictions").glob("*.json")):
        sidecar = _content(file)
        if isinstance(sidecar.get("attack"), dict):
            receipt = _content(folder / "receipts" / file.name)
            cost = {name: receipt[name] for name in ("seconds", "passes") if name in receipt}
            yield {**sidecar, "attack": {**cost, **sidecar["attack"]}}


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _row(key: Key, records: Sequence[Mapping[str, Any]]) -> Row:
    _, split, checkpoint, name, goal, attacked = key
    shown = attack_name(name)
    note = ", ".join(filter(None, (goal if goal != "total" else "", split, checkpoint)))
    radii = {float(record.get("eps", 0)) for record in records}
    return Row(
        shown[0].upper() + shown[1:],
        [
            Cell(text.branch_name(attacked) or "only branch"),
            Cell(str(len(radii))),
            *(_number(records[0].get(what)) for what in ("steps", "restarts", "queries")),
            Cell(text.count(_most(records, "passes"))),
            Cell(text.duration(_seconds(records))),
        ],
        note,
    )


def _seconds(records: Sequence[Mapping[str, Any]]) -> float | None:
    return _most(records, "seconds")


def _most(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Every radius records the whole sweep, so that the largest is its cost."""
    return max((float(r[name]) for r in records if r.get(name) is not None), default=None)


def _number(value: Any) -> Cell:
    return Cell(text.DASH if value is None else f"{value:,}")
