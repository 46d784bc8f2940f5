"""The options that every data set's `prepare` command has."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from medrobust.cli.console import pairs, warn
from medrobust.errors import MedrobustError

if TYPE_CHECKING:
    from medrobust.data.selection import Selection


@dataclass(frozen=True)
class StoreOptions:
    """What a store is to be, whatever the data set."""

    out: Annotated[Path, typer.Option(help="The store to write: a new folder.")]
    size: Annotated[
        str | None,
        typer.Option(
            help="Pixels per side, or 16x64x64 (slices, rows, columns); own size if not given."
        ),
    ] = None
    bits: Annotated[int, typer.Option(help="8 or 16 bits per stored pixel.")] = 8
    keep_aspect: Annotated[
        bool, typer.Option("--keep-aspect", help="Add a border, don't stretch.")
    ] = False
    finding: Annotated[
        list[str] | None, typer.Option(help="Keep this finding or class; repeat. All if not given.")
    ] = None
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="A label from any column: female=sex:F, old=age>=65, ap_edema=Edema&view:AP."
        ),
    ] = None
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Labels exclude each other.")] = (
        False
    )
    uncertain: Annotated[
        list[str] | None,
        typer.Option(help="Uncertain labels: ignore, zeros or ones; or Edema=ones; repeat."),
    ] = None
    view: Annotated[
        list[str] | None, typer.Option(help="Keep this view: frontal, lateral, PA, AP; repeat.")
    ] = None
    fraction: Annotated[float, typer.Option(help="Keep this share of the patients.")] = 1.0
    balance: Annotated[
        bool, typer.Option("--balance", help="Thin train out to as many images of each class.")
    ] = False
    own_split: Annotated[
        bool, typer.Option("--own-split", help="Divide patients here, whatever the data set says.")
    ] = False
    splits: Annotated[
        str, typer.Option(help="Shares of patients in train, val, test where divided here.")
    ] = "0.7,0.1,0.2"
    seed: Annotated[int, typer.Option(help="Of all that is drawn here.")] = 0
    max_rejects: Annotated[float, typer.Option(help="Largest share of unusable images.")] = 0.01
    duplicates: Annotated[
        str | None,
        typer.Option(
            help="Identical images in different splits: stop (where divided here), "
            "report (a data set's own split) or drop-from-train."
        ),
    ] = None
    pseudonymise: Annotated[
        Path | None,
        typer.Option(
            help="Hash ids and file names with the secret in this file (made if absent; keep it)."
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read; one per core if not given, 0: this one."),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older store.")] = False
    name: Annotated[
        str | None, typer.Option(help="What reports call the data; its own name if not given.")
    ] = None

    @property
    def processes(self) -> int:
        """How many processes read."""
        return _cores() if self.workers is None else self.workers

    def arguments(self) -> dict[str, Any]:
        """What `prepare` is called with.

        Raises:
            MedrobustError: an option cannot be read.
        """
        from medrobust.data.splits import parse_fractions

        if self.duplicates not in (None, "stop", "report", "drop-from-train"):
            raise MedrobustError(
                f"--duplicates: expected stop, report or drop-from-train, found {self.duplicates!r}"
            )
        if self.bits not in (8, 16):
            raise MedrobustError(f"--bits: expected 8 or 16, found {self.bits}")
        return {
            "size": parse_size(self.size),
            "bits": self.bits,
            "keep_aspect": self.keep_aspect,
            "splits": parse_fractions(self.splits),
            "seed": self.seed,
            "max_rejects": self.max_rejects,
            "duplicates": self.duplicates,
            "selection": self._selection(),
            "salt": self._salt(),
            "workers": self.processes,
            "overwrite": self.overwrite,
            "name": self.name,
        }

    def _salt(self) -> bytes | None:
        from medrobust.data.pseudonyms import read_salt

        if self.pseudonymise is None:
            return None
        if not self.pseudonymise.exists():
            warn([f"made the secret {self.pseudonymise}: keep it, and apart from the store"])
        return read_salt(self.pseudonymise)

    def _selection(self) -> "Selection":
        from medrobust.data.selection import Selection

        uncertain, uncertain_of = uncertain_policies(self.uncertain)
        return Selection(
            findings=tuple(self.finding) if self.finding else None,
            uncertain=uncertain,
            uncertain_of=uncertain_of,
            views=tuple(self.view) if self.view else None,
            fraction=self.fraction,
            balance=self.balance,
            labels=pairs(self.label, "--label"),
            exclusive=True if self.exclusive else None,
            own_split=self.own_split,
        )


def with_store_options(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter `options: StoreOptions` by the options themselves.

    Those named in `without` are left out: they mean nothing for the data set, or something else.
    """

    def expand(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command)
        names = [field.name for field in fields(StoreOptions) if field.name not in without]

        @wraps(command)
        def expanded(**given: Any) -> None:
            common = {name: given.pop(name) for name in names}
            if "workers" in without:  # nothing to be afraid of, and nothing to gain
                common["workers"] = 0
            command(**given, options=StoreOptions(**common))

        kept = [p for p in own.parameters.values() if p.name != "options"]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept]
        parameters += [_parameter(name) for name in names]
        expanded.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return expanded

    return expand


def parse_size(text: str | None) -> int | tuple[int, ...] | None:
    """`64`, or `16x64x64` for each axis.

    Raises:
        MedrobustError: something else.
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if not all(side.isdecimal() for side in sides) or len(sides) > 3:
        raise MedrobustError(f"--size: expected 64 or 16x64x64, found {text!r}")
    return int(sides[0]) if len(sides) == 1 else tuple(int(side) for side in sides)


def uncertain_policies(given: list[str] | None) -> tuple[str, dict[str, str]]:
    """The policy for all findings, and those of single ones."""
    plain = [text for text in given or () if "=" not in text]
    if len(plain) > 1:
        raise MedrobustError(f"--uncertain: expected one policy for all, found {', '.join(plain)}")
    single = pairs([text for text in given or () if "=" in text], "--uncertain")
    return plain[0] if plain else "ignore", single


def _cores() -> int:
    return min(
        8, os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count() or 1
    )


def _parameter(name: str) -> inspect.Parameter:
    default = StoreOptions.__dataclass_fields__[name].default
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if name == "out" else default,
        annotation=get_type_hints(StoreOptions, include_extras=True)[name],
    )
