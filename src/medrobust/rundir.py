"""The folder of a run, `runs/<name>/<seed>/`: what lies where, and who may go on with it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medrobust.config import Config, dump_config, load_config
from medrobust.data.store import Store, open_store, verify_checksum
from medrobust.errors import MedrobustError
from medrobust.files import new_folder, remove_partial, write_json, write_text
from medrobust.software import commit, software

_FREE = ("evaluate", "data", "train.accelerator", "train.processes")
"""Settings that may differ when a run goes on: they don't change what is learnt."""


@dataclass(frozen=True)
class RunDir:
    """Where a run's files are."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """`{last,best,epoch-NNNN}.safetensors` and `.json`."""
        return self.path / "checkpoints"

    @property
    def predictions(self) -> Path:
        """`<stem>.csv` and `.json`."""
        return self.path / "predictions"

    @property
    def adversarial(self) -> Path:
        """`<stem>.npz`."""
        return self.path / "adversarial"

    @property
    def metrics(self) -> Path:
        """All numbers, a row each."""
        return self.path / "metrics.csv"

    @property
    def log(self) -> Path:
        """A line per epoch."""
        return self.path / "log.jsonl"

    @property
    def receipts(self) -> Path:
        """`<stem>.json`."""
        return self.path / "receipts"

    @property
    def flips(self) -> Path:
        """`<stem>.csv`: the smallest radius that flips each case."""
        return self.path / "flips"

    @property
    def trust(self) -> Path:
        """The checks of what can be believed."""
        return self.path / "trust.csv"

    @property
    def explain(self) -> Path:
        """Maps and their scores."""
        return self.path / "explain"

    @property
    def is_done(self) -> bool:
        """Whether training has finished."""
        return (self.path / "DONE").is_file()

    def config(self) -> Config:
        """The resolved settings.

        Raises:
            MedrobustError: not a run directory.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            raise MedrobustError(
                f"{self.path}: expected a run directory with config.yaml in it, such as "
                "runs/<name>/<seed>; make one with `medrobust train`"
            )
        return load_config(path)

    def provenance(self) -> dict[str, Any]:
        """Versions, device, store and command of the training."""
        try:
            found = json.loads((self.path / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MedrobustError(f"{self.path}/provenance.json can't be read ({error})") from error
        return dict(found)

    def training_store(self) -> Store:
        """The store of the training, unchanged since.

        Raises:
            MedrobustError: it is gone, was changed, or was never known (an imported run).
        """
        if not self.provenance()["store"]["checksum"]:
            raise MedrobustError(
                f"{self.path}: expected the training store, but this run was imported without "
                "one; name a store with --store, or import again with --store"
            )
        store = open_store(self.config().data.store)
        check_same_store(self, store)
        verify_checksum(store)
        return store


def run_directory(config: Config, root: Path) -> RunDir:
    """`root/<name>/<seed>`."""
    return RunDir(root / config.name / str(config.seed))


def find_runs(paths: Sequence[Path]) -> list[RunDir]:
    """The runs at these paths; a folder of runs stands for all of its seeds.

    Raises:
        MedrobustError: a path holds no run.
    """
    found = []
    for path in paths:
        if (path / "config.yaml").is_file():
            inside = [path]
        else:
            inside = sorted(child.parent for child in path.glob("[!.]*/config.yaml"))
        if not inside:
            raise MedrobustError(
                f"{path}: expected a run directory (with config.yaml in it) or a folder of "
                "them, found none; runs are made by `medrobust train`"
            )
        found += [RunDir(run) for run in inside]
    return found


def begin(run: RunDir, config: Config, store: Store, device: str) -> None:
    """Make the directory of a new run, or check that an old one may go on.

    Raises:
        MedrobustError: the directory holds a run of other settings or of another store.
    """
    verify_checksum(store)
    if (run.path / "config.yaml").is_file():
        _check_same_settings(run, config)
        check_same_store(run, store)
        _note_resumption(run, device)
        remove_partial(run.checkpoints)
        write_text(run.path / "config.yaml", dump_config(config))  # the store may have moved
        return
    if run.path.exists() and any(run.path.iterdir()):
        raise MedrobustError(
            f"{run.path}: expected an empty or no folder for a new run, found files that are "
            "no run's; choose another name"
        )
    with new_folder(run.path, overwrite=True) as folder:  # what is replaced is an empty folder
        (folder / "checkpoints").mkdir()
        write_json(folder / "provenance.json", provenance_of(config, store, device))
        write_text(folder / "config.yaml", dump_config(config))


def finish(run: RunDir, seconds: float) -> None:
    """Mark the training as done."""
    record = run.provenance() | {"finished": _now(), "seconds": round(seconds, 3)}
    write_json(run.path / "provenance.json", record)
    write_text(run.path / "DONE", f"{_now()}\n")


def store_name(run: RunDir, store: Store) -> str:
    """What a run's files and tables call a store: its name.

    Any other store than the training's has a part of its checksum behind it, since names are not
    unique.
    """
    if store.checksum == run.provenance()["store"]["checksum"]:
        return store.info.name
    return f"{store.info.name}-{store.checksum[:8]}"


def check_same_store(run: RunDir, store: Store) -> None:
    """Refuse a training store that is not the one the run was trained on.

    Raises:
        MedrobustError: the checksums differ.
    """
    trained_on = run.provenance()["store"]
    if trained_on["checksum"] != store.checksum:
        raise MedrobustError(
            f"{store.path}: expected the store this run was trained on "
            f"({trained_on['name']}, checksum {trained_on['checksum'][:12]}), found one with "
            f"checksum {store.checksum[:12]}; it was changed or made again. "
            "Restore it, or name another one with --store (where a command has it)"
        )


def settings_of(config: Config) -> dict[str, Any]:
    """The settings that change what is learnt, by their full names."""
    return {name: value for name, value in _flat(config).items() if not _is_free(name)}


def what_next(run: RunDir) -> str:
    """What to do when a training ended before its time."""
    try:
        epoch = json.loads((run.checkpoints / "last.json").read_text(encoding="utf-8"))["epoch"]
    except (OSError, ValueError, KeyError):
        return "give the same command again to start anew"
    return f"give the same command again to go on after epoch {epoch}"


def _check_same_settings(run: RunDir, config: Config) -> None:
    there, here = settings_of(run.config()), settings_of(config)
    differing = [name for name in here if there.get(name) != here[name]]
    if differing:
        told = "; ".join(f"{n} is {there.get(n)!r} there, {here[n]!r} here" for n in differing[:3])
        raise MedrobustError(
            f"{run.path} holds a run of another configuration: {told}. Choose another name or "
            "seed, or remove that folder"
        )


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in _FREE)


def _flat(config: Config) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            flat |= {f"{section}.{name}": inner for name, inner in value.items()}
        else:
            flat[section] = value
    return flat


def provenance_of(config: Config, store: Store | None, device: str) -> dict[str, Any]:
    """What `provenance.json` holds at the start; without a store its entries are empty."""
    versions = software()
    threads = versions.pop("threads")
    return {
        **versions,
        "device": device,
        "threads": threads,
        "store": {
            "name": store.info.name if store else "",
            "path": str(config.data.store) if store else "",
            "checksum": store.checksum if store else "",
        },
        "command": _command(),
        "started": _now(),
        "finished": None,
        "seconds": None,
        "resumed": [],
    }


def _note_resumption(run: RunDir, device: str) -> None:
    if run.is_done:
        return
    record = run.provenance()
    revision, dirty = commit()
    resumption = {"started": _now(), "commit": revision, "dirty": dirty, "device": device}
    record["resumed"].append(resumption | {"command": _command()})
    write_json(run.path / "provenance.json", record)


def _command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
