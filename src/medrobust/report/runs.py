"""What was run, with which settings, and how to run it again."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medrobust.report import text
from medrobust.report.noninferiority import MARGIN
from medrobust.report.read import Run, count_parameters
from medrobust.report.tables import Cell, Group, Row, Table


@dataclass(frozen=True)
class Settings:
    """A run's `config.yaml`, to be folded away."""

    label: str
    yaml: str


def runs_table(runs: Sequence[Run]) -> Table:
    """One row per run."""
    return Table(
        "The runs of this report.",
        [
            "Run",
            "Regime",
            "Network",
            "Attack in training",
            "Parameters",
            "Epochs",
            "Selected epoch",
            "Time",
            "Device",
            "Commit",
        ],
        [Group("", [Row(run.name, _cells(run), note=f"seed {run.seed}") for run in runs])],
        words=(0, 1, 2, 7, 8),
    )


def settings(runs: Sequence[Run]) -> list[Settings]:
    """Every run's resolved configuration as YAML text."""
    return [Settings(run.label, _yaml(run.config)) for run in runs]


def commands(runs: Sequence[Run], margin: float = MARGIN) -> list[str]:
    """The recorded command of every run, then those of the later stages."""
    recorded = [shlex.join(map(str, run.provenance.get("command") or [])) for run in runs]
    paths = shlex.join(Path(*run.path.parts[-3:]).as_posix() for run in runs)
    chosen = "" if margin == MARGIN else f" --margin {margin:g}"
    later = [f"medrobust {stage} {paths}" for stage in ("evaluate", "explain")]
    return [
        *dict.fromkeys(filter(None, recorded)),
        *later,
        f"medrobust report {paths} --out report.html{chosen}",
    ]


def versions_table(runs: Sequence[Run]) -> Table:
    """Versions of everything that could change a number, a column per distinct set of runs."""
    found = [_versions(run.provenance) for run in runs]
    names = list(dict.fromkeys(name for one in found for name in one))
    rows = []
    for name in names:
        values = dict.fromkeys(one.get(name, text.DASH) for one in found)
        rows.append(Row(name, [Cell(", ".join(values))]))
    return Table(
        "Software and hardware; several values where the runs differ.",
        ["", "Version"],
        [Group("", rows)],
        words=(0,),
    )


def seconds(run: Run) -> float | None:
    """The training's wall time."""
    value = run.provenance.get("seconds")
    return float(value) if value is not None else None


def _cells(run: Run) -> list[Cell]:
    network = run.config.get("network") or {}
    width = network.get("width")
    selected = run.selected
    commit = str(run.provenance.get("commit") or "")[:8] or text.DASH
    dirty = "modified" if run.provenance.get("dirty") else ""
    return [
        Cell(run.regime),
        Cell(str(network.get("name", text.DASH)), f"width {width}" if width else ""),
        _attack(run),
        Cell(text.count(count_parameters(run.path))),
        Cell(str(len(run.epochs)) if run.epochs else text.DASH),
        Cell(str(selected.epoch) if selected else text.DASH),
        Cell(text.duration(seconds(run))),
        Cell(str(run.provenance.get("device", text.DASH))),
        Cell(commit, dirty),
    ]


def _attack(run: Run) -> Cell:
    attack = run.config.get("attack") or {}
    if run.regime == "standard" or not attack:
        return Cell("none")
    norm = str(attack.get("norm", ""))
    eps = f"ε = {text.epsilon(float(attack.get('eps', 0)), norm)}"
    if run.regime == "noise":
        return Cell("random noise", eps)
    name = str(attack.get("name", "")).upper()
    steps = attack.get("steps")
    return Cell(f"{name}, {text.plural(steps, 'step')}" if steps else name, eps)


def _versions(provenance: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "medrobust": provenance.get("medrobust"),
        "commit": provenance.get("commit"),
        "Python": provenance.get("python"),
        **(provenance.get("packages") or {}),
        "platform": provenance.get("platform"),
        "device": provenance.get("device"),
        "threads": provenance.get("threads"),
        "store checksum": (provenance.get("store") or {}).get("checksum"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
