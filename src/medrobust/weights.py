"""A model's tensors by name, in and out of files; never by unpickling.

Shared tensors and the first branch's norms stand under the backbone's own names
(`layer1.0.conv1.weight`), what another branch has of its own under `<branch>/<name>`.
"""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from medrobust.dual import DualBN, is_sharing
from medrobust.errors import MedrobustError

_OWN = "backbone."
"""The classifier's prefix before the backbone's names; left out in files."""


def tensors_of(model: DualBN) -> dict[str, Tensor]:
    """Every parameter and buffer once, by the name it has in a file; not copied."""
    first, *others = model.branches
    named = _tensors(model, first)
    found = dict(named)
    for branch in others:
        for name, tensor in _tensors(model, branch).items():
            if tensor is not named[name]:
                found[f"{branch}/{name}"] = tensor
    return found


def load_tensors(model: DualBN, tensors: dict[str, Tensor], origin: str) -> None:
    """Copy the tensors into the model's own, which keeps the sharing between branches.

    Raises:
        MedrobustError: a name is missing or too many, a shape differs, or a value is not a
            number; nothing was copied.
    """
    mine = tensors_of(model)
    missing, surplus = sorted(mine.keys() - tensors.keys()), sorted(tensors.keys() - mine.keys())
    if missing or surplus:
        raise MedrobustError(
            f"{origin}: weights of another network; missing {_few(missing)}, "
            f"not expected {_few(surplus)}"
        )
    odd = [name for name in mine if mine[name].shape != tensors[name].shape]
    if odd:
        raise MedrobustError(
            f"{origin}: {odd[0]} has shape {tuple(tensors[odd[0]].shape)}, "
            f"expected {tuple(mine[odd[0]].shape)}"
        )
    _check_finite(tensors, origin)
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])
    if not is_sharing(model):
        raise MedrobustError(f"{origin}: the branches no longer share their weights")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a `.pth` read with weights-only loading.

    Raises:
        MedrobustError: the file is missing, unreadable, or holds more than tensors.
    """
    if not path.is_file():
        raise MedrobustError(f"weights: no file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return _state_dict(torch.load(path, map_location="cpu", weights_only=True), path)
    except MedrobustError:
        raise
    except Exception as error:  # whatever a foreign file brings the readers to raise
        raise _unreadable(path) from error


def initialise(model: DualBN, tensors: dict[str, Tensor], origin: str) -> list[str]:
    """Start from earlier weights, as far as they fit, and say what did not.

    A head of another size is left fresh, a 3-channel stem is summed to one channel (a grey image
    then gives what three equal channels gave), norms that only the new model has start as the
    first branch's.

    Raises:
        MedrobustError: anything else is missing or of another shape, or a value is not a
            number; nothing was copied.
    """
    _check_finite(tensors, origin)
    given = {_plain(name): tensor for name, tensor in tensors.items()}
    mine, notes, fitting = tensors_of(model), [], {}
    head = _head(mine)
    for name, tensor in mine.items():
        source = given.get(name, given.get(name.rpartition("/")[2]))
        if name.rpartition("/")[2].startswith("input_"):
            continue  # the new data's normalisation
        if source is not None and source.shape == tensor.shape:
            fitting[name] = source
        elif source is not None and _grey_stem(source, tensor):
            fitting[name] = source.sum(1, keepdim=True)
            notes.append(f"{name}: 3 input channels summed to one")
        elif name in head:
            notes.append(f"{name}: left fresh, the head has another size")
        else:
            raise MedrobustError(
                f"{origin}: {name} is "
                + ("missing" if source is None else f"of shape {tuple(source.shape)}")
                + f", expected {tuple(tensor.shape)}; is it the same network?"
            )
    with torch.no_grad():
        for name, source in fitting.items():
            mine[name].copy_(source)
    return notes


def part(tensors: dict[str, Tensor], wanted: str) -> dict[str, Tensor]:
    """The tensors below `ema/` or `optimiser/` in `last`, or with "" the model's own."""
    if wanted:
        prefix = f"{wanted}/"
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return {n: t for n, t in tensors.items() if not n.startswith(("ema/", "optimiser/"))}


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _tensors(model: DualBN, branch: str) -> dict[str, Tensor]:
    network = model.branch(branch)
    named = [*network.named_parameters(), *network.named_buffers()]
    return {name.removeprefix(_OWN): tensor for name, tensor in named}


def _check_finite(tensors: dict[str, Tensor], origin: str) -> None:
    odd = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if odd:
        raise MedrobustError(
            f"{origin}: expected finite weights, found NaN or infinity in {_few(sorted(odd))}; has "
            "that training diverged? Take an earlier checkpoint"
        )


def _state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    """The tensors in a checkpoint, which are often one level down."""
    for inner in ("state_dict", "model", "net"):
        if isinstance(loaded, dict) and isinstance(loaded.get(inner), dict):
            loaded = loaded[inner]
    if not isinstance(loaded, dict):
        raise _unreadable(path)
    found = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not found:
        raise _unreadable(path)
    return found


def _unreadable(path: Path) -> MedrobustError:
    return MedrobustError(
        f"{path}: expected tensors in a .safetensors file or in a .pth that holds nothing else; "
        "this one is damaged or holds other objects, which are never loaded"
    )


def _plain(name: str) -> str:
    """A foreign checkpoint's name without the wrappers' prefixes."""
    for prefix in ("module.", "model.", "net.", _OWN):
        name = name.removeprefix(prefix)
    return name


def _head(mine: dict[str, Tensor]) -> set[str]:
    """The last linear layer's weight and bias: the last matrix, and what follows it."""
    matrices = [name for name, tensor in mine.items() if tensor.ndim == 2 and "/" not in name]
    if not matrices:
        return set()
    return {matrices[-1], matrices[-1].removesuffix("weight") + "bias"}


def _grey_stem(source: Tensor, target: Tensor) -> bool:
    return (
        source.ndim == target.ndim >= 3
        and (source.shape[1], target.shape[1]) == (3, 1)
        and source.shape[0] == target.shape[0]
        and source.shape[2:] == target.shape[2:]
    )


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "nothing"
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
