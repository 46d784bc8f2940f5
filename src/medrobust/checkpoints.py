"""Checkpoints: safetensors files that carry their own state, and a JSON copy for people.

State and tensors are one file, written whole or not at all, so that no crash can leave a pair
that does not belong together.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from medrobust.errors import MedrobustError
from medrobust.files import write_atomically, write_json
from medrobust.weights import digest


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what else there is to know (epoch, step, score, ...)."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Write `<name>.safetensors`, then its state once more as `<name>.json`.

    Raises:
        MedrobustError: the disk is full; an older checkpoint of that name is still there.
    """
    tensors = {n: tensor.detach().cpu().contiguous() for n, tensor in checkpoint.tensors.items()}
    state = checkpoint.state | {"digest": digest(tensors)}
    with write_atomically(folder / f"{name}.safetensors") as temporary:
        # written by Python, whose error tells a full disk apart from others
        temporary.write_bytes(to_bytes(tensors, metadata={"state": json.dumps(state)}))
    write_json(folder / f"{name}.json", state)


def exists(folder: Path, name: str) -> bool:
    """Whether there is a checkpoint of this name."""
    return (folder / f"{name}.safetensors").is_file()


def load(folder: Path, name: str) -> Checkpoint:
    """Read a checkpoint; nothing in it is ever executed.

    Raises:
        MedrobustError: it is missing or damaged.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        there = ", ".join(names(folder))
        hint = f"there are {there}" if there else "`medrobust train` writes it"
        raise MedrobustError(f"checkpoint: no file {path}; {hint}")
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            # Copies: the file is mapped, and must be free to be replaced by the next checkpoint.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # whatever a damaged file brings the reader to raise
        raise MedrobustError(f"{path} can't be read as a checkpoint ({error})") from error
    if digest(tensors) != state.get("digest"):
        raise MedrobustError(f"{path} is damaged: its tensors do not have the hash they were given")
    return Checkpoint(tensors, state)


def names(folder: Path) -> list[str]:
    """The checkpoints there are, by name."""
    return sorted(path.stem for path in folder.glob("[!.]*.safetensors"))
