"""Saliency maps that `medrobust explain` wrote, read without the library that made them."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrobust.data.store import Store
from medrobust.data.vocabulary import same_finding
from medrobust.errors import MedrobustError
from medrobust.explain.maps import mapped_ids, maps_folder, maps_path, read_maps
from medrobust.rundir import RunDir, store_name
from medrobust.study.config import Condition
from medrobust.yaml_settings import nearest_name

Maps = Mapping[str, NDArray[np.float32]]
"""Image id -> (H, W) or (D, H, W)."""


@dataclass(frozen=True)
class Source:
    """Where the maps of a condition are."""

    condition: Condition
    run: RunDir
    folder: Path
    """`explain/maps/<store>/<split>/<branch>/<method>` of the run."""

    def path(self, finding: str) -> Path:
        """The file of a finding, which the run may call by another of its names."""
        exact = maps_path(self.folder, finding)
        there = sorted(self.folder.glob("*.npz"))
        named = (path for path in there if same_finding(path.stem, finding))
        return exact if exact.is_file() else next(named, exact)

    def ids(self, finding: str) -> set[str]:
        """The images that have a map.

        Raises:
            MedrobustError: the file can't be read.
        """
        return mapped_ids(self.path(finding))

    def maps(self, finding: str, wanted: Collection[str]) -> Maps:
        """The maps of these images.

        Raises:
            MedrobustError: the file can't be read.
        """
        return read_maps(self.path(finding), wanted)


def sources(
    conditions: Sequence[Condition], runs: Sequence[RunDir], store: Store, split: str
) -> list[Source]:
    """Where the maps of these conditions are, or should be.

    Raises:
        MedrobustError: a condition names none of the runs, or several.
    """
    found = []
    for condition in conditions:
        run = _named(condition, runs)
        where = (store_name(run, store), split, condition.branch, condition.method)
        found.append(Source(condition, run, maps_folder(run.explain, *where)))
    return found


def refuse_missing(
    found: Sequence[Source], findings: Sequence[str], split: str, store: Path | None
) -> None:
    """Check that all maps are there; `store` is the one to name in a command.

    Raises:
        MedrobustError: a branch that its run does not have; a method that `explain` does not
            have; or missing files, with the commands that make them, one for each run.
    """
    missing: dict[Path, list[tuple[Source, str]]] = {}
    for source in found:
        for finding in findings:
            if not source.path(finding).is_file():
                _refuse_branch(source)
                _refuse_method(source, finding)
                missing.setdefault(source.run.path, []).append((source, finding))
    if missing:
        makes = [_command(run, lacking, split, store) for run, lacking in missing.items()]
        commands = "` and `".join(makes)
        count = sum(map(len, missing.values()))
        raise MedrobustError(
            f"maps: {count} of {len(found) * len(findings)} files are missing, such as "
            f"{_example(missing)}; make them with `{commands}`"
        )


def _named(condition: Condition, runs: Sequence[RunDir]) -> RunDir:
    names = {f"{run.config().name}/{run.config().seed}": run for run in runs}
    fitting = [
        run for name, run in names.items() if condition.run in (name, name.rpartition("/")[0])
    ]
    if len(fitting) == 1:
        return fitting[0]
    problem = "none of them" if not fitting else "several seeds of it: name one"
    raise MedrobustError(
        f"condition {condition.name}: expected run to be one of {', '.join(names)}, found "
        f"{condition.run!r}, {problem}"
    )


def _refuse_branch(source: Source) -> None:
    branches = sorted(path.name for path in source.folder.parent.parent.glob("*/"))
    if branches and source.condition.branch not in branches:
        raise MedrobustError(
            f"condition {source.condition.name}: expected branch to be one of "
            f"{', '.join(branches)}, found {source.condition.branch!r}"
        )


def _refuse_method(source: Source, finding: str) -> None:
    """Maps of other methods than those of `explain` can be there, but not be made."""
    from medrobust.explain.methods import METHODS  # takes seconds: only where maps are missing

    method = source.condition.method
    if method in METHODS:
        return
    mapped = (replace(source, folder=folder) for folder in source.folder.parent.glob("*/"))
    others = sorted(one.folder.name for one in mapped if one.path(finding).is_file())
    known = list(dict.fromkeys([*METHODS, *others]))
    near = nearest_name(method, known)
    raise MedrobustError(
        f"condition {source.condition.name}: expected method to be one of {', '.join(known)}, "
        f"found {method!r}" + (f"; did you mean {near}?" if near else "")
    )


def _command(
    run: Path, lacking: Sequence[tuple[Source, str]], split: str, store: Path | None
) -> str:
    methods = ",".join(sorted({source.condition.method for source, _ in lacking}))
    findings = dict.fromkeys(finding for _, finding in lacking)
    words = ["medrobust", "explain", str(run)]
    words += ["--store", str(store)] if store else []
    words += ["--split", split, "--methods", methods, "--all-images"]
    for finding in findings:
        words += ["--finding", finding]
    return shlex.join(words)


def _example(missing: Mapping[Path, Sequence[tuple[Source, str]]]) -> Path:
    source, finding = next(iter(missing.values()))[0]
    return source.path(finding)
